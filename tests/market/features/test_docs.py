"""docs/features.md against the code."""

import inspect
from pathlib import Path

import pytest
import ta
import talib

from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.features.docs import FAMILIES, describe_features

PAGE = Path(__file__).resolve().parents[3] / "docs" / "features.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == describe_features(), (
        "run: python -m ploutos_jax.market.features.docs docs/features.md"
    )


def test_the_page_has_every_feature():
    listed = [feature.name for features in FAMILIES.values() for feature in features]
    assert sorted(listed) == sorted(feature.name for feature in FEATURES)
    page = describe_features()
    for feature in FEATURES:
        assert f"\n| `{feature.name}` | " in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert all(line.replace("\\|", "").count("|") in (4, 7) for line in rows)


@pytest.mark.parametrize("feature", FEATURES, ids=[feature.name for feature in FEATURES])
def test_what_it_is_compared_with_exists(feature):
    library, _, names = feature.oracle.partition(" ")
    modules = (ta.momentum, ta.trend, ta.volatility, ta.volume)
    known = {
        "TA-Lib": set(talib.get_functions()),
        "ta": {name for module in modules for name, _ in inspect.getmembers(module)},
        "pandas": {""},
        "NumPy": {""},
    }
    assert set(names.split(", ")) <= known[library]
