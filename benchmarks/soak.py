"""Hours of random play with every rule on, under what must always hold; and memory over many trainings.

python benchmarks/soak.py                       an hour of steps, then 30 trainings
python benchmarks/soak.py --minutes 5 --trainings 5
python benchmarks/soak.py --json FILE           figures for a machine as well

Ends with code 1 where something did not hold, and says what, in which environment and step.
"""

import dataclasses
import gc
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ploutos_jax.cli.terminal import exit_codes  # noqa: E402
from ploutos_jax.env.config import EnvConfig  # noqa: E402
from ploutos_jax.env.trading import TradingEnv  # noqa: E402
from ploutos_jax.env.types import Array, EnvParams, EnvState, Info  # noqa: E402
from ploutos_jax.market.features.build import build_market  # noqa: E402
from ploutos_jax.market.panel import Market  # noqa: E402
from ploutos_jax.market.synthetic.generate import synthetic_panel  # noqa: E402
from ploutos_jax.policy.actor_critic import PolicyConfig  # noqa: E402
from ploutos_jax.train.config import TrainConfig  # noqa: E402
from ploutos_jax.train.loop import train  # noqa: E402
from ploutos_jax.train.run.resources import host_memory_bytes  # noqa: E402

NUM_ASSETS, NUM_BARS, NUM_ENVS, STEPS_PER_CALL = 8, 1000, 128, 64
MONEY = 2e-4
"""Share of equity by which a sum of float32 may be off."""

ALL_RULES: dict[str, Any] = {
    "episode_length": 200,
    "sizing": "volatility",
    "max_sector_pct": 0.6,
    "drawdown_scaling": 0.8,
    "min_order_cash": 5.0,
    "lot_size": 0.1,
    "max_participation": 0.1,
    "remainder": "carry",
    "min_holding_bars": 2,
    "decide_every": 2,
    "holding_binds_stops": True,
    "max_trades_per_day": 12,
    "slippage_atr": 0.02,
    "slippage_volatility": 0.02,
    "slippage_noise": 0.2,
    "impact": 1.0,
    "fees": "alpaca",
    "commission_per_order": 0.1,
    "stop_loss": 0.05,
    "take_profit": 0.10,
    "trailing_stop": 0.10,
    "break_even": 0.05,
    "stop_loss_atr": 6.0,
    "take_profit_atr": 12.0,
    "trailing_atr": 8.0,
    "max_holding_bars": 60,
    "strict_targets": True,
    "drawdown_halt": 0.6,
    "settlement_days": 2,
    "cash_rate": 0.04,
    "day_trade_rule": "pdt_2001",
    "day_trade_mode": "both",
    "reward": "log_return, 0.1*differential_sharpe, drawdown_increment, sortino_bonus, -0.01*turnover",
}
"""Every rule of `EnvConfig` that can be on beside the others."""

INVARIANTS = (
    "equity is cash and positions",
    "equity moves by what assets, interest and rounding brought",
    "cash moves by what fills, fees, interest and rounding took",
    "every number is finite",
    "no position is short",
    "cash is not negative",
    "positions are whole lots",
    "costs only grow",
)


@dataclasses.dataclass(frozen=True)
class Soak:
    """How long.

    Attributes:
        minutes: of random play.
        trainings: small trainings in one process, after that.
        seed: of actions and starts.
        json: file for the figures.
    """

    minutes: float = 60.0
    trainings: int = 30
    seed: int = 0
    json: str | None = None


def soak(wanted: Soak) -> dict[str, Any]:
    """Play and train; return figures, and under `broken` what did not hold."""
    panel = synthetic_panel(jax.random.key(7), num_assets=NUM_ASSETS, num_bars=NUM_BARS)
    market = build_market(panel, "minimal")
    return play(wanted, market) | trainings(wanted.trainings, market)


def play(wanted: Soak, market: Market) -> dict[str, Any]:
    """Take random steps until the minutes are over or something does not hold."""
    env = TradingEnv(EnvConfig(**ALL_RULES))
    params = env.default_params(market)
    advance = jax.jit(partial(_advance, env))
    keys = jax.random.split(jax.random.key(wanted.seed), NUM_ENVS)
    _, states = jax.vmap(env.reset_staggered, in_axes=(0, None))(keys, params)
    counts, episodes, calls = np.zeros(len(INVARIANTS), np.int64), 0, 0
    states, broken, ended = advance(states, params, keys, jnp.uint32(0))  # compiles
    began, before = time.monotonic(), None
    while True:
        counts += np.asarray(broken, np.int64)
        episodes, calls = episodes + int(ended), calls + 1
        # The first calls take what they keep.
        before = host_memory_bytes() if calls <= 3 else before
        if counts.any() or time.monotonic() - began >= 60 * wanted.minutes:
            break
        states, broken, ended = advance(states, params, keys, jnp.uint32(calls * STEPS_PER_CALL))
    steps = calls * STEPS_PER_CALL * NUM_ENVS
    return {
        "minutes": round((time.monotonic() - began) / 60, 2),
        "steps": steps,
        "episodes": episodes,
        "checks": steps * len(INVARIANTS),
        "broken": {name: int(count) for name, count in zip(INVARIANTS, counts, strict=True) if count},
        "memory_at_start": before,
        "memory_at_end": host_memory_bytes(),
    }


def _advance(
    env: TradingEnv, states: EnvState, params: EnvParams, keys: Array, first: Array
) -> tuple[EnvState, Array, Array]:
    """Step every account, and return how often each invariant was broken and how many episodes ended."""

    def one(key: Array, before: EnvState) -> tuple[EnvState, Array, Array]:
        action = jax.random.randint(jax.random.fold_in(key, 0), (NUM_ASSETS,), 0, 3)
        _, after, reward, terminated, truncated, info = env.step_env(key, before, action, params)
        _, started = env.reset(jax.random.fold_in(key, 2), params)
        done = terminated | truncated
        following = jax.tree.map(lambda new, old: jnp.where(done, new, old), started, after)
        return following, _broken(params, before, after, reward, info), done

    def step(states: EnvState, number: Array) -> tuple[EnvState, tuple[Array, Array]]:
        of_step = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        states, broken, done = jax.vmap(one)(of_step, states)
        return states, (broken.sum(axis=0), done.sum())

    states, (broken, ended) = jax.lax.scan(step, states, first + jnp.arange(STEPS_PER_CALL, dtype=jnp.uint32))
    return states, broken.sum(axis=0), ended.sum()


def _broken(params: EnvParams, before: EnvState, after: EnvState, reward: Array, info: Info) -> Array:
    """Return for one account which invariants a step has broken."""
    cash, cash_before = (state.cash + state.cash_low for state in (after, before))
    scale = jnp.maximum(before.equity, after.equity)
    positions = (after.shares * jnp.where(after.shares != 0, params.market.close[after.t], 0)).sum()
    paid = sum((fill.shares * fill.price + fill.fee_cash).sum() for fill in info["fills"])
    others = info["interest"] - info["fee_rounding"]
    lots = after.shares / params.lot_size
    finite = [
        jnp.isfinite(leaf).all()
        for leaf in jax.tree.leaves((after, reward, info))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.stack(
        [
            jnp.abs(cash + positions - after.equity) > MONEY * scale,
            jnp.abs(after.equity - before.equity - info["profit"].sum() - others) > MONEY * scale,
            jnp.abs(cash - cash_before + paid - others) > MONEY * scale,
            ~jnp.stack(finite).all(),
            (after.shares < 0).any(),
            cash < -MONEY * scale,
            (jnp.abs(lots - jnp.round(lots)) > 1e-3 * jnp.maximum(1, lots / 100)).any(),
            after.cost + after.cost_low < before.cost + before.cost_low,
        ]
    )


def trainings(count: int, market: Market) -> dict[str, Any]:
    """Train a small agent again and again in this process, with a run folder each; return the memory after each."""
    config = TrainConfig(
        num_envs=16,
        rollout_length=16,
        total_timesteps=2048,
        num_epochs=2,
        policy=PolicyConfig(hidden=(16, 16), width=8),
    )
    after: list[int | None] = []
    for number in range(count):
        with tempfile.TemporaryDirectory() as place:
            seeded = dataclasses.replace(config, seed=number)
            train(seeded, market, TradingEnv(EnvConfig(episode_length=100)), output=Path(place) / "run")
        gc.collect()
        after.append(host_memory_bytes())
    return {"trainings": count, "memory_after_trainings": after}


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = tyro.cli(Soak, args=args)
    figures = soak(wanted)
    if wanted.json is not None:
        Path(wanted.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    return int(bool(figures["broken"]))


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
