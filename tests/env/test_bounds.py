"""Every number of every settings class has bounds: stated in its docstring, tested at both ends, finite within."""

import dataclasses
import math
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.cli.download import DOWNLOAD_BOUNDS, DownloadSettings
from ploutos_jax.cli.evaluate import EVALUATION_BOUNDS, Evaluation
from ploutos_jax.datasets.config import DATA_BOUNDS, LONG_BOUNDS, DataConfig
from ploutos_jax.env.bounds import ENV_BOUNDS, Bound, shown, whole
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rewards import resolve_reward
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.experiment.validation.config import VALIDATION_BOUNDS, ValidationConfig
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.runs.settings import RUN_BOUNDS, RunSettings, parse_settings
from ploutos_jax.train.config import POLICY_BOUNDS, TRAIN_BOUNDS, TrainConfig

NOT_MERELY_NUMBERS = {"reward", "fees"}
"""Settings with numbers inside of text or objects; their own tests bound those."""


def of_policy(**changes):
    return TrainConfig(policy=PolicyConfig(**changes))


def of_data(**changes):
    # A number of tickers is asked for of a file alone.
    data = {"data": "bars.csv"} if "liquid" in changes else {}
    # And for each path of drawn ones.
    data |= {"data": "bootstrap:bars.csv"} if "path_tickers" in changes else {}
    return DataConfig(**data | changes)


CLASSES = {
    EnvConfig: (EnvConfig, ENV_BOUNDS),
    TrainConfig: (TrainConfig, TRAIN_BOUNDS),
    PolicyConfig: (of_policy, POLICY_BOUNDS),
    DataConfig: (of_data, DATA_BOUNDS | LONG_BOUNDS),
    RunSettings: (RunSettings, RUN_BOUNDS),
    ValidationConfig: (ValidationConfig, VALIDATION_BOUNDS),
    Evaluation: (lambda **changes: Evaluation(output="report", **changes), EVALUATION_BOUNDS),
    DownloadSettings: (lambda **changes: DownloadSettings("A", "a.parquet", **changes), DOWNLOAD_BOUNDS),
}
BESIDE: dict[str, dict[str, typing.Any]] = {
    # What has to fit to an extreme number, so that the number alone is judged.
    "num_envs": {"num_minibatches": 1, "rollout_length": 1},
    "rollout_length": {"num_minibatches": 1},
    "num_minibatches": {"num_envs": 1_000_000, "rollout_length": 1},
    "batch_size": {"num_envs": 1, "rollout_length": 1},
    "total_timesteps": {"num_envs": 1_000_000, "rollout_length": 10, "num_minibatches": 1},
    "spread_bps": {"slippage_bps": 0.0},
    "slippage_bps": {"spread_bps": 0.0},
    "commission_bps": {"spread_bps": 0.0, "slippage_bps": 0.0},
    "paths": {"data": "synthetic:2"},
    "mix": {"algorithm": "mixed"},
    "device_bars": {"data": "bars.parquet"},
}
UNREACHED = {("batch_size", "high")}
"""No rollout has as many samples."""


def names_of(kind: typing.Any) -> set[str]:
    """Return the fields that may hold numbers, by their annotations."""

    def holds_numbers(hint: typing.Any) -> bool:
        return hint in (int, float) or any(map(holds_numbers, typing.get_args(hint)))

    hints = typing.get_type_hints(kind)
    return {field.name for field in dataclasses.fields(kind) if holds_numbers(hints[field.name])} - NOT_MERELY_NUMBERS


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_number_has_bounds(kind):
    assert names_of(kind) == set(CLASSES[kind][1])


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not PolicyConfig], ids=lambda kind: kind.__name__)
def test_bounds_are_stated_in_the_help(kind):
    text = " ".join(str(kind.__doc__).split())
    for name, bound in CLASSES[kind][1].items():
        said = text[text.index(f" {name}: ") :]
        stated = re.search(r" In ([\[(][^\])]*[\])])\.", said)
        assert stated and stated.group(1) == str(bound), name


def ends_of(bound: Bound) -> dict[str, tuple[float, float]]:
    """Return for each end the last number that is allowed and the first that is not."""
    if bound.whole:
        return {"low": (int(bound.low), int(bound.low) - 1), "high": (int(bound.high), int(bound.high) + 1)}
    within = np.nextafter(bound.low, math.inf), np.nextafter(bound.high, -math.inf)
    beyond = np.nextafter(bound.low, -math.inf), np.nextafter(bound.high, math.inf)
    low = (within[0], bound.low) if bound.above else (bound.low, beyond[0])
    high = (within[1], bound.high) if bound.below else (bound.high, beyond[1])
    return {"low": (float(low[0]), float(low[1])), "high": (float(high[0]), float(high[1]))}


CASES = [
    pytest.param(kind, name, end, id=f"{kind.__name__}.{name} {end}")
    for kind, (_, bounds) in CLASSES.items()
    for name in bounds
    for end in ("low", "high")
]


@pytest.mark.parametrize(("kind", "name", "end"), CASES)
def test_numbers_are_taken_up_to_both_ends(kind, name, end):
    make, bounds = CLASSES[kind]
    within, beyond = ends_of(bounds[name])[end]
    several = name == "hidden"
    if (name, end) not in UNREACHED:
        make(**{name: (within,) if several else within}, **BESIDE.get(name, {}))
    for wrong in (beyond, math.nan, math.inf, -math.inf, 2**40 * (1 if end == "high" else -1) ** 2 * 10**30):
        with pytest.raises(ValueError, match=rf"(?s)^(?=.*{name}).{{1,400}}$"):
            make(**{name: (wrong,) if several else wrong}, **BESIDE.get(name, {}))


@pytest.mark.parametrize("kind", [EnvConfig, TrainConfig, DataConfig, RunSettings], ids=lambda kind: kind.__name__)
def test_what_is_no_number_is_refused(kind):
    make, bounds = CLASSES[kind]
    for name in bounds:
        for wrong in ("many", True, [[1]], b"1"):
            with pytest.raises(ValueError, match=name):
                make(**{name: wrong})


def test_reward_weights_have_bounds():
    for weight in (-1e6, 1e6):
        assert resolve_reward(f"{weight}*turnover")[0][1] == weight
    for wrong in ("1.1e6", "-1e39", "1" + "0" * 5000):
        with pytest.raises(ValueError, match=r"(?s)^reward=.{1,300}in \[-1e6, 1e6\]\.$"):
            resolve_reward(f"{wrong}*turnover")


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_lie_within(preset):
    settings = parse_settings(["--preset", preset])
    for one, bounds in ((settings.env, ENV_BOUNDS), (settings.train, TRAIN_BOUNDS), (settings.data, DATA_BOUNDS)):
        for name, bound in bounds.items():
            value = getattr(one, name)
            assert value in (None, "auto") or bound.holds(value), name


ALL_RULES: dict[str, typing.Any] = {
    "sizing": "volatility",
    "drawdown_scaling": 0.5,
    "no_trade_band": 0.01,
    "lot_size": 0.01,
    "max_participation": 0.5,
    "remainder": "carry",
    "min_holding_bars": 2,
    "max_trades_per_day": 50,
    "slippage_atr": 0.01,
    "slippage_volatility": 0.01,
    "slippage_noise": 0.1,
    "impact": 1.0,
    "trailing_stop": 0.5,
    "break_even": 0.5,
    "stop_loss_atr": 50.0,
    "take_profit_atr": 50.0,
    "trailing_atr": 50.0,
    "max_holding_bars": 20,
    "drawdown_halt": 0.9,
    "settlement_days": 1,
    "cash_rate": 0.05,
    "day_trade_rule": "pdt_2001",
    "max_sector_pct": 0.5,
    "reward": "differential_sharpe, 0.1*differential_downside, five_term, sortino_bonus, -0.1*turnover",
}
"""Every rule that has a number is on, so that one compiled program serves every number: they are its arguments."""
SHAPES = {"episode_length", "settlement_days"}
"""Numbers that are part of the program."""


@pytest.fixture(scope="module")
def played():
    """A function from changed numbers to whether equity, cash and reward stay finite over some bars."""
    market = build_market(synthetic_panel(jax.random.key(0), num_assets=3, num_bars=80), "minimal")
    base = EnvConfig(episode_length=40, **ALL_RULES)
    env = TradingEnv(base)

    @jax.jit
    def play(params):
        _, state = env.reset(jax.random.key(1), params)

        def step(state, at):
            action = jnp.full(3, 1 + (at % 5 == 4), jnp.int32)
            _, state, reward, _, _, info = env.step(jax.random.fold_in(jax.random.key(2), at), state, action, params)
            return state, jnp.stack([reward, info["equity"], info["cash"]])

        return jax.lax.scan(step, state, jnp.arange(30))[1]

    def finite(**changes):
        config = dataclasses.replace(base, **changes)
        return bool(jnp.isfinite(play(TradingEnv(config).default_params(market))).all())

    assert finite()
    return finite


@pytest.mark.thorough
@pytest.mark.parametrize("end", ["low", "high"])
def test_accounts_stay_finite_at_both_ends(played, end):
    failed = []
    for name in sorted(set(ENV_BOUNDS) - SHAPES):
        value = ends_of(ENV_BOUNDS[name])[end][0]
        if not played(**{name: value}, **BESIDE.get(name, {})):
            failed.append((name, value))
    assert failed == []


def test_values_are_shown_in_short():
    assert shown(10**5000) == "a number of about 5001 digits"
    assert len(shown("x" * 10**6)) < 80 and len(shown([["x" * 100] * 100] * 100)) <= 200
    assert shown(ValueError("one\ntwo")) == "one two"
    assert str(whole(1, 2_000_000)) == "[1, 2e6]" and str(Bound(0, 1, above=True, below=True)) == "(0, 1)"
