"""Presets: the numbers of the older systems, the page that documents them, and a program for each."""

import dataclasses
import re
from pathlib import Path

import jax
import pytest
import yaml

from ploutos_jax.agents.scaling import fit_features
from ploutos_jax.env.observation import fields_of
from ploutos_jax.market.features.catalog import FEATURE_SETS
from ploutos_jax.runs.overrides import ALIASES, _homes
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.runs.settings import RunSettings, parse_settings
from tests.scripts.command_line import call
from tests.train.worlds import make_learner, random_market

PAGE = Path(__file__).resolve().parents[2] / "docs" / "presets.md"
OLDER = ("ploutos", "ploutos-v3", "sentio")
VARIANTS = ("sentio-maskable", "sentio-enhanced")


def leaves(tree):
    flat = {}
    for name, value in tree.items():
        flat.update(leaves(value) if isinstance(value, dict) else {name: value})
    return flat


def documented(preset):
    """Return setting -> value of the table under a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {preset}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.MULTILINE))


def read(text, like):
    if isinstance(like, tuple):
        return tuple(int(number) for number in text.split(","))
    return text if isinstance(like, str) else yaml.safe_load(text.replace("None", "null"))


@pytest.mark.parametrize("preset", OLDER)
def test_the_page_says_what_the_preset_holds(preset):
    held = leaves(PRESETS[preset])
    table = documented(preset)
    assert table.keys() == held.keys()
    assert {name: read(text, held[name]) for name, text in table.items()} == held


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_arrive_whole(preset):
    settings = parse_settings(["--preset", preset])
    arrived = leaves(dataclasses.asdict(settings))
    assert {name: arrived[name] for name in leaves(PRESETS[preset])} == leaves(PRESETS[preset])
    rest = leaves(dataclasses.asdict(RunSettings()))
    untouched = rest.keys() - leaves(PRESETS[preset]).keys() - {"preset", "num_minibatches"}
    assert all(arrived[name] == rest[name] for name in untouched)


def test_the_numbers_of_the_older_systems():
    ploutos, v3, sentio = (parse_settings(["--preset", name]) for name in OLDER)
    train = ploutos.train
    assert (train.timesteps_per_update, train.num_minibatches) == (32 * 2048, 32)
    assert (train.num_epochs, train.learning_rate, train.learning_rate_schedule) == (10, 1e-4, "linear")
    assert (train.gamma, train.gae_lambda, train.clip_range, train.max_grad_norm) == (0.99, 0.95, 0.2, 0.5)
    assert (train.total_timesteps, train.seed) == (50_000_000, 42)
    assert (ploutos.env.stop_loss, ploutos.env.take_profit) == (0.02, 0.04)
    assert len(FEATURE_SETS[ploutos.data.features]) == 85
    train = v3.train
    assert (train.total_timesteps, train.num_minibatches) == (10_000_000, 8)
    assert (train.steps_per_rollout, train.batch_size, train.num_epochs) == (4096, 8192, 20)
    assert (train.learning_rate, train.gamma, train.gae_lambda) == (5e-5, 0.995, 0.98)
    assert (train.clip_range, train.entropy_coef, train.target_kl) == (0.2, 0.01, 0.015)
    assert train.policy.hidden == (1024, 512, 256)
    assert (v3.env.buy_pct, v3.env.max_position_pct, v3.env.spread_bps) == (0.2, 0.25, 2)
    assert (v3.env.max_trades_per_day, v3.env.min_holding_bars, train.num_envs) == (4, 5, 16)
    # It states no stops: those of the defaults are not its own.
    assert (v3.env.stop_loss, v3.env.take_profit, train.max_grad_norm) == (None, None, 0.5)
    assert v3.env.slippage_atr and v3.env.impact and v3.env.reward == "five_term"
    assert (sentio.env.episode_length, sentio.train.learning_rate) == (1000, 3e-4)
    assert sentio.train.policy.hidden == (256, 256, 128) and sentio.train.policy.dropout > 0
    # Twelve of the market, two masks, and three each of asset and account.
    assert len(FEATURE_SETS[sentio.data.features]) + 2 + sum(map(len, fields_of(sentio.env.observation))) == 20
    assert sentio.until_converged and not parse_settings(["--preset", "sentio", "--episodes", "9"]).until_converged
    assert [rate for _, rate, _ in sentio.env.schedule.kinds[0].rows] == [0.001]


def test_the_page_says_what_the_variants_of_sentio_change():
    base = leaves(PRESETS["sentio"])
    for preset in VARIANTS:
        held = leaves(PRESETS[preset])
        changed = {name: value for name, value in held.items() if name not in base or base[name] != value}
        table = documented(preset)
        assert {name: read(text, held[name]) for name, text in table.items()} == changed


@pytest.mark.parametrize("preset", [*OLDER, *VARIANTS])
def test_the_program_of_a_preset_can_be_built_at_its_full_size(preset):
    settings = parse_settings(["--preset", preset])
    market = random_market(num_bars=settings.env.episode_length + 460, num_assets=1 if "sentio" in preset else 3)
    market = market.replace(**{name: market.close * 0 + 0.01 for name in ("atr", "volatility", "adv")})
    learner, params, hyper = make_learner(settings.train, market, settings.env)
    scaling = fit_features(market.features, market.tradable)
    state = jax.eval_shape(lambda key, params: learner.init(key, params, scaling), jax.random.key(0), params)
    after, metrics = jax.eval_shape(learner.update, state, params, hyper)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["approx_kl"].shape == ()


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_small_run_of_each_preset(preset, tmp_path):
    small = ["--num-envs", "4", "--rollout-length", "16", "--batch-size", "32", "--total-timesteps", "128", "--quiet"]
    small += ["--hidden", "16", "8", "--num-epochs", "2", "--output", "run"]
    if "sentio" not in preset:
        small += ["--data", "synthetic:2"]
    outcome = call("train", ["--preset", preset, *small], tmp_path)
    assert outcome.code == 0, outcome.err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    held = leaves(PRESETS[preset])
    kept = {name: value for name, value in held.items() if name in leaves(written)} | {"preset": preset}
    changed = {"num_envs", "rollout_length", "batch_size", "total_timesteps", "hidden", "num_epochs", "data"}
    changed |= {"until_converged"}
    assert all(leaves(written)[name] == value for name, value in kept.items() if name not in changed)


def test_other_names_are_those_of_settings():
    assert set(ALIASES.values()) <= set(_homes(RunSettings()))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], {"edge": 0.05, "advantage": "position", "forecast": "only", "rollout_length": 32}),
        (["--data", "bars.csv"], {"edge": None, "forecast": "only"}),
        (["--data=planted"], {"edge": None}),
        (["--data", "bootstrap:bars.csv"], {"edge": None, "forecast": "none"}),
        (["--stress-prob", "0.2"], {"edge": None, "forecast": "none"}),
        (["--action", "discrete"], {"advantage": "gae", "edge": 0.05}),
        (["--order-type", "limit"], {"advantage": "gae"}),
        (["--credit", "joint"], {"advantage": "gae"}),
        (["--num-envs", "4096"], {"rollout_length": None, "num_envs": 4096}),
        (["--edge", "0"], {"edge": 0.0}),
    ],
)
def test_the_default_gives_way_to_what_rules_it_out(words, found):
    arrived = leaves(dataclasses.asdict(parse_settings(words)))
    assert {name: arrived[name] for name in found} == found


def test_what_was_chosen_is_refused_and_not_given_up(tmp_path):
    with pytest.raises((ValueError, SystemExit)):
        parse_settings(["--data", "bars.csv", "--edge", "0.1"])
