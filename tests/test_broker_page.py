"""The page on the broker names tests that exist and settings that the configuration has."""

import dataclasses
import re
from pathlib import Path

from ploutos_jax.env.config import EnvConfig

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "broker.md").read_text(encoding="utf-8")


def test_tests_named_on_the_page_exist():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 20
    assert sorted(name for name in named if f"def {name}(" not in sources) == []


def test_every_rule_of_the_configuration_is_on_the_page():
    rewards = {"reward", "reward_eta", "reward_volatility", "reward_scaling", "action", "episode_length", "ruin_pct"}
    names = {field.name for field in dataclasses.fields(EnvConfig)} - rewards
    words = set(re.findall(r"\w+", PAGE))
    assert sorted(names - words) == []
