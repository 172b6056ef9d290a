"""Synthetic markets: a random key becomes a panel that moves as the S&P 500 does, whole on the device.

Three regimes, a market factor with jumps and asymmetric volatility, eleven sectors, and returns of each asset's own
(`synthetic_model`); a path through each day, volume and spreads (`synthetic_bars`); numbers that are all leaves
(`synthetic_params`). How far its statistics are those of the real thing is measured in benchmarks/SYNTHETIC.md.

What a day brings says nothing of the next one but how much it will move: there is no pattern to find. What can be
learned here is exposure by regime and volatility, control of risk, and the saving of costs. With an `edge` there is one
pattern, of known size.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from ploutos_jax.market.hints import HINT
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.synthetic.edge import check_edge, draw_edge, edge_law, edge_note
from ploutos_jax.market.synthetic.intraday import Bars, bars_in_day, draw_path_bars
from ploutos_jax.market.synthetic.labels import LAST_YEAR, exchange_days, session_times, synthetic_labels
from ploutos_jax.market.synthetic.params import SyntheticParams
from ploutos_jax.market.synthetic.returns import Days, draw_days, draw_numbers

PRESETS: dict[str, int | None] = {"sp500-daily": None, "sp500-1m": 1, "sp500-5m": 5, "sp500-60m": 60}
"""Minutes of a bar by preset, None for a day. All hold the S&P 500's numbers; intraday ones its sessions, too."""


def synthetic_panel(
    key: PRNGKeyArray,
    num_assets: int = 30,
    num_bars: int = 2520,
    params: SyntheticParams | None = None,
    *,
    num_paths: int = 1,
    preset: str = "sp500-daily",
    jitter: float = 0.0,
    edge: float | None = None,
) -> Panel:
    """Draw a panel of one or more paths of the same market.

    Args:
        key: consumed; the same key gives the same panel, and path i of it whatever `num_paths` is.
        num_assets: A, assets dealt out over the 11 GICS sectors in turn.
        num_bars: bars of each path.
        params: numbers of the generator.
        num_paths: P paths lie end to end along T, with other betas, prices and moves on each; see `Panel.path_end`.
        preset: `sp500-daily`, or `sp500-1m`, `sp500-5m`, `sp500-60m` for bars of so many minutes in sessions from
            9:30 to 16:00 in New York. An unfinished last session is possible.
        jitter: volatilities, jump rates, durations of regimes and assets' volatilities of each path are multiplied by
            numbers drawn from 1 − jitter to 1 + jitter.
        edge: in [0, 1]; with it there is something to find, known to the digit: a signal `hint` tells a part of the
            next day's return, see `edge`. 0 gives the signal and nothing that it tells, the bars those of None.

    Returns:
        A `Panel` of float arrays on the device, `T = P · num_bars`, all bars tradable, with `spread_scale`, made-up
        tickers, sectors, and dates from 2010-01-04 on: one path begins on the day after the one before it ended. Days
        are business days without the holidays of the NYSE; `path_end` is None for one path.

    Raises:
        ValueError: if a size is below 1, the preset is unknown, jitter lies outside [0, 1), the edge outside [0, 1] or
            on intraday bars, or the dates of all paths reach beyond the year 2199.
    """
    _check(num_assets, num_bars, num_paths, preset, jitter, edge)
    days, minutes = bar_days(num_bars, num_paths, preset)
    if (days[1:] < days[:-1]).any():
        raise ValueError(
            f"{num_paths} paths of {num_bars} bars reach beyond the year {LAST_YEAR}; take fewer or shorter ones, or"
            " market.synthetic.multi_path.draw_market, whose markets have no dates."
        )
    panel = draw_panel(key, params, num_assets, num_bars, num_paths=num_paths, preset=preset, jitter=jitter, edge=edge)
    times = days if PRESETS[preset] is None else session_times(days, minutes)
    labels = synthetic_labels(num_assets, times, bars_in_day(PRESETS[preset]))
    if edge is not None:
        law = edge_law(key, params, jitter, edge, num_assets=num_assets, num_bars=num_bars, num_paths=num_paths)
        labels = dataclasses.replace(labels, notes=(edge_note(edge),), hint=law)
    return panel.replace(labels=labels)


def draw_panel(
    key: PRNGKeyArray,
    params: SyntheticParams | None,
    num_assets: int,
    num_bars: int,
    *,
    num_paths: int = 1,
    preset: str = "sp500-daily",
    jitter: float = 0.0,
    edge: float | None = None,
) -> Panel:
    """Return the panel of `synthetic_panel` without labels; pure, hence free to use inside `jit`.

    Raises:
        ValueError: as `synthetic_panel`, but for dates: past the year 2199 the calendar restarts with a path.
    """
    _check(num_assets, num_bars, num_paths, preset, jitter, edge)
    numbers = SyntheticParams() if params is None else params
    sizes = {"num_assets": num_assets, "num_bars": num_bars, "num_paths": num_paths}
    hint, told = (None, None) if edge is None else draw_edge(key, numbers, jitter, edge, **sizes)
    # Of an edge of 0 not even the program is another: its bars are those of no edge to the last bit.
    bars = draw_bars_of_paths(key, numbers, jitter, told if edge else None, **sizes, bar_minutes=PRESETS[preset])
    days, _ = bar_days(num_bars, num_paths, preset)
    bars = jax.tree.map(lambda x: x.reshape(-1, num_assets), bars)
    return Panel(
        **bars._asdict(),
        tradable=jnp.ones(bars.close.shape, bool),
        sessions=jnp.asarray(days.astype(np.int64), jnp.int32),
        signals={} if hint is None else {HINT: hint.reshape(-1, num_assets)},
        path_end=None if num_paths == 1 else last_rows(num_bars, num_paths),
    )


@partial(jax.jit, static_argnames=("num_assets", "num_bars", "num_paths", "bar_minutes"))
def draw_bars_of_paths(
    key: PRNGKeyArray,
    params: SyntheticParams,
    jitter: Float[Array, ""] | float,
    told: Float[Array, "P T A"] | None = None,
    *,
    num_assets: int,
    num_bars: int,
    num_paths: int,
    bar_minutes: int | None,
) -> Bars:
    """Return the bars `[P, T, A]` of P paths; path i depends on the key and i only, and on what is told of it."""

    def draw(path: Array, told: Array | None) -> Bars:
        return draw_path(jax.random.fold_in(key, path), params, jitter, num_assets, num_bars, bar_minutes, told)[1]

    return jax.vmap(draw)(jnp.arange(num_paths), told)


def draw_path(
    key: PRNGKeyArray,
    params: SyntheticParams,
    jitter: Float[Array, ""] | float,
    num_assets: int,
    num_bars: int,
    bar_minutes: int | None,
    told: Float[Array, "D A"] | None = None,
) -> tuple[Days, Bars]:
    """Return one path: what moves it, and its bars `[T, A]`; `told` is what a hint adds to daily log returns."""
    own, assets, day_key, bar_key = draw_numbers(key, params, jitter, num_assets)
    days = draw_days(day_key, own, assets, -(-num_bars // bars_in_day(bar_minutes)))
    bars = draw_path_bars(bar_key, own, assets, days, bar_minutes, told)
    return days, jax.tree.map(lambda x: x[:num_bars], bars)


def last_rows(num_bars: int, num_paths: int) -> Int[np.ndarray, " T"]:
    """Return `[P · num_bars]` int32, the last row of each row's path."""
    return np.repeat(np.arange(1, num_paths + 1, dtype=np.int32) * num_bars - 1, num_bars)


def bar_days(num_bars: int, num_paths: int, preset: str) -> tuple[Shaped[np.ndarray, " T"], Int[np.ndarray, " T"]]:
    """Return the day of each bar of all paths, datetime64[D], and the minute of its session in which it starts.

    A path goes on with the day after the last one of the path before; where the calendar ends, one restarts it.
    """
    count, calendar = bars_in_day(PRESETS[preset]), exchange_days()
    row = np.arange(num_bars)
    num_days = -(-num_bars // count)
    if num_days > calendar.size:
        raise ValueError(f"A path of {num_days} days is longer than the calendar of {calendar.size} days; take fewer.")
    start = np.arange(num_paths) % (calendar.size // num_days) * num_days
    days = calendar[start[:, None] + row // count]
    return days.ravel(), np.tile(row % count * (PRESETS[preset] or 0), num_paths)


def _check(
    num_assets: int, num_bars: int, num_paths: int, preset: str, jitter: float, edge: float | None = None
) -> None:
    if min(num_assets, num_bars, num_paths) < 1:
        raise ValueError(
            "A synthetic panel needs at least 1 asset and 1 bar on each of at least 1 path,"
            f" not {num_assets}, {num_bars} and {num_paths}."
        )
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; known are {', '.join(PRESETS)}.")
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter={jitter} must lie in [0, 1): numbers are multiplied by 1 - jitter to 1 + jitter.")
    if edge is not None:
        check_edge(edge)
        if PRESETS[preset] is not None:
            raise ValueError(f"edge={edge} is for daily bars; preset={preset!r} has no hint of a day's return.")
