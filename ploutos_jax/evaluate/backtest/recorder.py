"""What a backtest records of each step on the device, and how that becomes a ledger on the host."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ploutos_jax.agents.provenance import UNKNOWN, Provenance
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Step
from ploutos_jax.env.types import REASON_NAMES, Costs, EnvParams, Fill
from ploutos_jax.evaluate.ledger import FEE_PREFIX, FILL_COLUMNS, PART_COLUMNS, Ledger, Role
from ploutos_jax.market.panel import Market

Records = dict[str, Any]

ACCOUNT = ("equity", "cash", "turnover", "cost", "fee_rounding", "interest")
"""Figures of `info` that become columns of a ledger."""


def record_account(params: EnvParams, step: Step) -> Records:
    """Return the account of E environments after a step and its fills; what no ledger reads is not computed.

    Args:
        params: numbers and market.
        step: of an environment that itemises; without, the parts of a fee are not known.
    """
    close = params.market.close[step.state.t]
    gross = jnp.abs(step.state.shares * close).sum(axis=-1)
    # What the day's rounding needs is, itemised, in the costs too.
    fills = tuple(fill.replace(fee_cash_by_kind=()) for fill in step.info["fills"])
    return {"gross_exposure": gross, "fills": fills, **{name: step.info[name] for name in ACCOUNT}}


def to_ledger(
    name: str,
    span: Market,
    config: EnvConfig,
    records: Records,
    env: int = 0,
    *,
    role: Role = "agent",
    provenance: Provenance = UNKNOWN,
) -> Ledger:
    """Return the host's view of one environment's records `[N, E, ...]`.

    Args:
        name: of the ledger.
        span: the N + 1 bars played.
        config: rules and costs.
        records: from `record_account`.
        env: which environment.
        role, provenance: of the ledger.
    """
    one = jax.tree.map(lambda x: np.asarray(x[:, env]), records)

    def column(field: str, first: float) -> np.ndarray:
        return np.concatenate([[first], one[field].astype(np.float64)])

    return Ledger(
        name=name,
        times=span.times,
        equity=column("equity", config.initial_cash),
        cash=column("cash", config.initial_cash),
        gross_exposure=column("gross_exposure", 0.0),
        turnover=column("turnover", 0.0),
        cost=column("cost", 0.0),
        initial_cash=config.initial_cash,
        fills=fill_table(one["fills"], config, span),
        symbols=span.symbols,
        close=np.asarray(span.close, np.float64),
        open=np.asarray(span.open),
        high=np.asarray(span.high),
        low=np.asarray(span.low),
        split=None if span.split is None else np.asarray(span.split, np.float64),
        fee_rounding=column("fee_rounding", 0.0),
        interest=column("interest", 0.0),
        role=role,
        provenance=provenance,
        calendar=span.calendar,
        sessions=np.asarray(span.sessions),
    )


def fill_table(fills: tuple[Fill, ...], config: EnvConfig, span: Market) -> pd.DataFrame:
    """Return one row per fill, in order of execution, with the parts of its cost; `fills` holds `[N, A]` arrays."""
    stages = jax.tree.map(lambda *x: np.stack(x, axis=1), *fills)
    step, stage, asset = np.nonzero(stages.shares)
    # Step i trades bar i + 1; orders at the close that was observed fill before it.
    bar = step + 1 - ((stage < 2) if config.fill == "same_close" else 0)

    def pick(field: np.ndarray | None) -> np.ndarray:
        if field is None:
            return np.zeros(len(step))
        one_for_all = field.ndim == 2
        return (field[step, stage] if one_for_all else field[step, stage, asset]).astype(np.float64)

    signed = pick(stages.shares)
    shares, price, reference, fee = np.abs(signed), pick(stages.price), pick(stages.reference), pick(stages.fee_cash)
    away = {name: pick(getattr(stages, name)) for name in ("spread", "slippage", "impact")}
    table = {
        "bar": bar,
        "date": span.times[bar],
        "ticker": np.asarray(span.symbols, dtype=object)[asset],
        "side": np.where(signed > 0, "buy", "sell"),
        "shares": shares,
        "price": price,
        "reference_price": reference,
        "fee": fee,
        "reason": np.asarray(REASON_NAMES, dtype=object)[stages.reason[step, stage, asset]],
    }
    parts = _in_proportion(away, np.abs(price - reference) * shares, "spread")
    parts |= _in_proportion(_fee_parts(stages.costs, config, pick), fee, "commission")
    kinds = [name for name in parts if name.startswith(FEE_PREFIX)]
    return pd.DataFrame({name: (table | parts)[name] for name in (*FILL_COLUMNS, *PART_COLUMNS, *kinds)})


def _fee_parts(costs: Costs, config: EnvConfig, pick: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
    """Return what commission and each kind of the schedule charged on fills, `[num_fills]` dollars, by its column.

    Args:
        costs: as the broker itemised them, by step and moment.
        config: names the kinds.
        pick: takes the fills out of an array of all assets.
    """
    parts = {"commission": pick(costs.commission_cash)}
    for kind, charged in zip(config.schedule.kinds, costs.fees_cash, strict=True):
        name = FEE_PREFIX + kind.name.lower()
        parts[name] = parts.get(name, 0.0) + pick(charged)
    return parts


def _in_proportion(parts: dict[str, np.ndarray], total: np.ndarray, rest: str) -> dict[str, np.ndarray]:
    """Return the parts scaled to add up to a total: float32, and floors and caps, make them differ from it.

    A total without parts goes to the part named `rest`.
    """
    whole = np.sum(list(parts.values()), axis=0)
    factor = np.where(whole > 0, total / np.where(whole > 0, whole, 1.0), 0.0)
    scaled = {name: part * factor for name, part in parts.items()}
    return scaled | {rest: scaled[rest] + np.where(whole > 0, 0.0, total)}
