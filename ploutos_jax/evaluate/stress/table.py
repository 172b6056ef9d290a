"""Stress test: what becomes of an agent where each scenario of `market/stress/` strikes the span it is scored on.

Every draw of a scenario is one more path of the same market, and all of them are played in one program. The draw i has
the same random numbers with and without its shock, so that differences between the two are the shock's alone.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from rich.table import Table

from ploutos_jax.agents.acting import market_policy
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.inference.survival import median_time
from ploutos_jax.evaluate.ledger import simple_returns
from ploutos_jax.evaluate.metrics.summary import cvar_95, max_drawdown, total_return
from ploutos_jax.evaluate.stress.execution_quality import ExecutionQuality, measure_execution
from ploutos_jax.evaluate.stress.paths import StressPath, choose_path
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.stress.apply import SCENARIOS, Shock, stress
from ploutos_jax.market.stress.scenarios import OVERLAYS

NO_SHOCK = "none"
"""The row of the span as it was."""

SURVIVES = 0.5
"""Share of the money at the start that equity must never fall below."""

_HISTORY = 512
"""Bars before the span that indicators are computed from."""

_MOST_BYTES = 512 * 2**20


def stress_table(
    agent: Agent,
    panel: Panel,
    config: EnvConfig | None = None,
    *,
    start: Any = None,
    end: Any = None,
    scenarios: Sequence[str] = SCENARIOS,
    draws: int = 32,
    severity: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return one row of figures for each scenario, and one for the span as it was.

    A shock begins in the first half of the span, so that there is time to recover. Actions are greedy. Columns:

    - `draws`; `survival_rate`: share of draws whose equity never falls below half of what it was at the start.
    - `return_change`, `cvar_change`, `drawdown_change`: mean difference to the same draw without the shock in total
      return, in the mean of the 5 % lowest returns, and in the largest drawdown; below 0 is worse.
    - `worst_drawdown`: of all draws.
    - `recovery_bars`: bars from the lowest equity after the shock until that before it is regained, median by Kaplan
      and Meier, infinite where more than half do not within the span; `censored_share`: those that do not.
    - `filled_share`: dollars filled over dollars ordered, of what the account could pay for, in assets that trade where
      there is no shock.
    - `stops_beyond_atr_share`: stop exits that filled more than one average true range below the stop.
    - `shortfall_bps`: what orders and stops lost against the market price at the time of the order, or the stop, fees
      included, per dollar traded.

    Args:
        agent: what decides.
        panel: bars; those before the span let indicators warm up.
        config: rules and costs; those of the training without it.
        start, end: the span, as in `backtest`.
        scenarios: names of `SCENARIOS`.
        draws: shocks for each scenario.
        severity: of all shocks, 0 to 1; drawn for each without it.
        seed: of everything random.

    Raises:
        ValueError: if a scenario is unknown, there are no draws, or the span is shorter than eight bars or on several
            paths.
    """
    return stress_test(
        agent, panel, config, start=start, end=end, scenarios=scenarios, draws=draws, severity=severity, seed=seed
    ).table


class StressTest(NamedTuple):
    """What `stress_table` tells, and of each scenario the draws to look at."""

    table: pd.DataFrame
    paths: tuple[StressPath, ...]


def stress_test(
    agent: Agent,
    panel: Panel,
    config: EnvConfig | None = None,
    *,
    start: Any = None,
    end: Any = None,
    scenarios: Sequence[str] = SCENARIOS,
    draws: int = 32,
    severity: float | None = None,
    seed: int = 0,
) -> StressTest:
    """Return the figures of `stress_table`, which explains the arguments, and accounts to draw beside them.

    Raises:
        ValueError: as `stress_table`.
    """
    rows = panel.find_rows(start, end)
    if draws < 1:
        raise ValueError(f"draws={draws} must be at least 1.")
    if rows.stop - rows.start < 8:
        raise ValueError(f"The span holds {rows.stop - rows.start} bars; a stress test needs at least eight.")
    check_scenarios(scenarios)
    first = max(_path_start(panel, rows), rows.start - _HISTORY)
    stretch = panel.window(first, rows.stop).replace(path_end=None)
    base = _Test(agent, stretch, config or agent.env_config, rows.start - first, seed)
    usual = base.play(base.market(), draws)
    table, paths, times = {NO_SHOCK: _row(usual, usual, None)}, [], panel.times[rows]
    for scenario in scenarios:
        outcomes, shocks = base.stressed(scenario, draws, severity)
        table[scenario] = _row(outcomes, usual, shocks)
        first, last = np.asarray(shocks.first), np.asarray(shocks.last)
        paths.append(choose_path(scenario, times, outcomes.equity, usual.equity, first, last))
    return StressTest(pd.DataFrame.from_dict(table, orient="index").rename_axis("scenario"), tuple(paths))


def check_scenarios(scenarios: Sequence[str]) -> None:
    """Make sure that there are scenarios of these names.

    Raises:
        ValueError: naming the one that there is not, the nearest, and all.
    """
    for name in scenarios:
        if name not in SCENARIOS:
            near = difflib.get_close_matches(name, SCENARIOS, n=1, cutoff=0.0)
            raise ValueError(f"Unknown scenario {name!r}; did you mean {near[0]!r}? There are {', '.join(SCENARIOS)}.")


def _path_start(panel: Panel, rows: slice) -> int:
    """Return the first row of the one path that the rows lie on."""
    if panel.path_end is None:
        return 0
    ends = np.asarray(panel.path_end)
    if ends[rows.start] != ends[rows.stop - 1]:
        raise ValueError(
            "The span lies on several paths, whose ends would look like shocks; "
            f"choose start and end within one, such as rows {rows.start} to {ends[rows.start] + 1}."
        )
    return int(np.searchsorted(ends, ends[rows.start]))


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What came of some draws.

    Attributes:
        equity: `[N+1, draws]` by bar of the span.
        execution: sums over the span, `[draws]` each.
    """

    equity: Float[np.ndarray, "rows draws"]
    execution: ExecutionQuality


@dataclasses.dataclass(frozen=True)
class _Test:
    """One agent on one stretch of bars; `offset` is the row of the stretch at which the span begins."""

    agent: Agent
    panel: Panel
    config: EnvConfig
    offset: int
    seed: int

    @property
    def length(self) -> int:
        return self.panel.num_bars

    @property
    def num_steps(self) -> int:
        return self.length - 1 - self.offset

    def stressed(self, scenario: str, draws: int, severity: float | None) -> tuple[Outcomes, Shock]:
        """Return what came of all draws of a scenario, and the shocks with rows of the span."""
        per_draw = 4 * self.length * self.panel.num_assets * len(self.agent.feature_names)
        at_once = max(1, min(draws, _MOST_BYTES // per_draw))
        parts, shocks = [], []
        for at in range(0, draws, at_once):
            # The last batch is as large as the others, so that it is the same program.
            panel, shock = self.shocked(scenario, at, at_once, severity)
            kept = min(at_once, draws - at)
            cap = OVERLAYS[scenario].participation
            part = self.play(self.market(panel), at_once, first_draw=at, participation=cap)
            parts.append(jax.tree.map(lambda x, n=kept: np.asarray(x)[..., :n], (part.equity, part.execution)))
            rows = np.arange(at_once) * self.length + self.offset
            shock = shock.replace(first=np.asarray(shock.first) - rows, last=np.asarray(shock.last) - rows)
            shocks.append(jax.tree.map(lambda x, n=kept: np.asarray(x)[:n], shock))
        equity, execution = jax.tree.map(lambda *x: np.concatenate(x, axis=-1), *parts)
        return Outcomes(equity, execution), jax.tree.map(lambda *x: np.concatenate(x), *shocks)

    def shocked(self, scenario: str, first: int, count: int, severity: float | None) -> tuple[Panel, Shock]:
        """Return copies of the stretch end to end, each with a shock of its own that begins in the span's first half.

        Shocks of another scenario have the same keys.
        """
        copies = jax.tree.map(lambda x: np.tile(np.asarray(x), (count,) + (1,) * (x.ndim - 1)), self.panel)
        labels = self.panel.labels
        if labels is not None:
            # Dates must ascend; the sessions, which rules go by, are those of the span.
            times = labels.times[0] + np.arange(count * self.length) * np.timedelta64(1, "D")
            labels = dataclasses.replace(labels, times=times, calendar=self.panel.calendar, hint=None)
        half = self.offset + 1 + max(1, self.num_steps // 2)
        key = jax.random.fold_in(jax.random.key(self.seed), first)
        shocked, shock = stress(
            key, copies.replace(labels=labels), scenario, severity, between=(self.offset + 1, half), num_paths=count
        )
        return shocked, shock if count > 1 else jax.tree.map(lambda x: jnp.asarray(x)[None], shock)

    def market(self, panel: Panel | None = None) -> Market:
        """Return the market of a shocked panel, or of the stretch as it was."""
        panel = self.panel if panel is None else panel
        ends = np.arange(panel.num_bars) // self.length * self.length + self.length - 1
        return build_market(panel, list(self.agent.feature_names), path_end=ends)

    def play(self, market: Market, draws: int, first_draw: int = 0, participation: float | None = None) -> Outcomes:
        """Play draws, each on its path of the market, or all on its only one.

        `participation` caps what fills of a bar's volume where the rules have no cap of their own.
        """
        config = dataclasses.replace(self.config, episode_length=self.num_steps)
        if participation is not None and config.max_participation is None:
            config = dataclasses.replace(config, max_participation=participation)
        env = TradingEnv(config, itemised=True)
        params = env.default_params(self.agent.with_own_sectors(market))
        path = np.arange(draws) if market.num_bars > self.length else np.zeros(draws, int)
        starts = jnp.asarray(path * self.length + self.offset, jnp.int32)
        ids = jnp.arange(first_draw, first_draw + draws)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(self.seed), ids)
        usually = jnp.asarray(np.asarray(self.panel.tradable))
        network, agent = self.agent.network, self.agent.params
        equity, execution = _play(env, network, self.num_steps, agent, params, starts, keys, usually)
        cash = np.full((1, draws), self.config.initial_cash)
        return Outcomes(np.concatenate([cash, np.asarray(equity, np.float64)]), jax.tree.map(np.asarray, execution))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _play(
    env: TradingEnv,
    network: Network,
    num_steps: int,
    agent: AgentParams,
    params: EnvParams,
    starts: jax.Array,
    keys: jax.Array,
    usually: jax.Array,
) -> tuple[jax.Array, ExecutionQuality]:
    """Return equity `[num_steps, draws]` and how orders were executed.

    Args:
        starts: `[draws]` rows at whose close the first decision is made.
        keys: `[draws]`.
        usually: `[bars, A]` bool, what trades on a path without a shock.
    """
    policy = market_policy(network, agent, params.market)
    observation, state = jax.vmap(lambda row: env.reset_at(row, row + num_steps, params))(starts)
    runner = Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))

    measure = jax.vmap(partial(measure_execution, env.config, params, usually))

    def record(step: Step) -> tuple[jax.Array, ExecutionQuality]:
        return step.info["equity"], measure(step.action, step.info["order_moment"], step.info["fills"])

    _, _, (equity, execution) = rollout(env, params, policy, runner, num_steps, record, auto_reset=False)
    return equity, jax.tree.map(lambda x: x.sum(axis=0), execution)


def _row(outcomes: Outcomes, usual: Outcomes, shocks: Shock | None) -> dict[str, float]:
    """Return the figures of a scenario, given the same draws without it."""
    equity, without = outcomes.equity, usual.equity
    sums = {name: float(np.sum(value)) for name, value in vars(outcomes.execution).items()}

    def change(figure: Any) -> float:
        pairs = [
            (figure(simple_returns(a)), figure(simple_returns(b))) for a, b in zip(equity.T, without.T, strict=True)
        ]
        return float(np.mean([a - b for a, b in pairs]))

    bars, regained = np.zeros(0), np.zeros(0, bool)
    if shocks is not None:
        times = [
            recovery(one, int(first), int(last))
            for one, first, last in zip(equity.T, shocks.first, shocks.last, strict=True)
        ]
        bars, regained = np.array([t for t, _ in times]), np.array([seen for _, seen in times])
    return {
        "draws": equity.shape[1],
        "survival_rate": float(np.mean(equity.min(axis=0) >= SURVIVES * equity[0])),
        "return_change": change(total_return),
        "cvar_change": change(cvar_95),
        "drawdown_change": change(max_drawdown),
        "worst_drawdown": min(max_drawdown(simple_returns(one)) for one in equity.T),
        "recovery_bars": median_time(bars, regained),
        "censored_share": float(np.mean(~regained)) if len(regained) else float("nan"),
        "filled_share": _share(sums["filled_cash"], sums["ordered_cash"]),
        "stops_beyond_atr_share": _share(sums["stops_beyond_atr"], sums["stops"]),
        "shortfall_bps": 1e4 * _share(sums["shortfall_cash"], sums["traded_cash"]),
    }


def recovery(equity: Float[np.ndarray, " rows"], first: int, last: int) -> tuple[int, bool]:
    """Return how many bars equity took from its lowest point after a shock to what it was before, and whether it did.

    Args:
        equity: `[N+1]` by bar.
        first, last: rows of the shock; the row before `first` is what has to be regained.

    Returns:
        `(0, True)` where the shock did not push it below; bars to the end and False where it is not regained.
    """
    before = equity[first - 1]
    low = first + int(np.argmin(equity[first : last + 1]))
    if equity[low] >= before:
        return 0, True
    later = np.flatnonzero(equity[low:] >= before)
    regained = low + int(later[0]) if later.size else len(equity) - 1
    low += int(np.argmin(equity[low : regained + 1]))
    return regained - low, bool(later.size)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def terminal_table(table: pd.DataFrame) -> Table:
    """Return a stress table for the terminal."""
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    shown.add_column("Scenario", no_wrap=True, vertical="bottom")
    for label, _, _ in _TERMINAL_COLUMNS:
        shown.add_column(label, justify="right", no_wrap=True, vertical="bottom")
    for name, row in table.iterrows():
        cells = ["–" if np.isnan(row[column]) else text.format(row[column]) for _, column, text in _TERMINAL_COLUMNS]
        shown.add_row(str(name).replace("_", " "), *(cell.replace("-", "−").replace("inf", "never") for cell in cells))
    return shown


_TERMINAL_COLUMNS = (
    ("Sur-\nvival", "survival_rate", "{:.0%}"),
    ("Return", "return_change", "{:+.1%}"),
    ("CVaR", "cvar_change", "{:+.2%}"),
    ("Draw-\ndown", "drawdown_change", "{:+.1%}"),
    ("Worst\ndrawdown", "worst_drawdown", "{:.1%}"),
    ("Recovery\nin bars", "recovery_bars", "{:.0f}"),
    ("Not re-\ncovered", "censored_share", "{:.0%}"),
    ("Filled", "filled_share", "{:.1%}"),
    ("Stops >\n1 ATR off", "stops_beyond_atr_share", "{:.1%}"),
    ("Short-\nfall bps", "shortfall_bps", "{:.1f}"),
)
"""Heading, column and form; the first three changes are against the span without a shock."""
