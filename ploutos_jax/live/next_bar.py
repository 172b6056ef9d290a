"""The bar after the last one of a panel, which nobody knows: a flat one at the last closes, to size orders by.

Letters: T bars, A assets.
"""

import dataclasses

import jax
import numpy as np

from ploutos_jax.market.panel import Panel

_WEEKDAYS = 300
"""Trading days in a year above which a market has no weekend."""


def with_next_bar(panel: Panel, reach: float = 0.0) -> Panel:
    """Return the panel with one more bar, at the last close of every asset that has one in the last bar.

    Nothing is known of the bar: its prices are the last closes, its volume the last volume, its cost scales and the
    universe those of the last bar, without events and signals. Features of the rows before do not see it.

    Args:
        panel: one path of bars.
        reach: how far high and low lie from the close, as a fraction of it: limit orders as near as that fill.

    Raises:
        ValueError: if the panel holds several paths.
    """
    if panel.path_end is not None and len(np.unique(np.asarray(panel.path_end))) > 1:
        raise ValueError("The panel holds several paths, and no bar follows all of them; take one path.")
    close = np.asarray(panel.close)[-1:]
    last = {name: np.asarray(x)[-1:] for name in ("volume", "tradable") if (x := getattr(panel, name)) is not None}
    optional = {
        name: None if (x := getattr(panel, name)) is None else np.asarray(x)[-1:]
        for name in ("spread_scale", "impact_scale", "buyable")
    }
    time, session = next_time(panel)
    bar = panel.replace(
        open=close,
        high=close * (1 + reach),
        low=close * (1 - reach),
        close=close,
        **last,
        **optional,
        sessions=np.array([session], np.asarray(panel.sessions).dtype),
        dividend=None if panel.dividend is None else np.zeros_like(close),
        split=None if panel.split is None else np.ones_like(close),
        signals={name: np.full_like(close, np.nan) for name in panel.signals},
        path_end=None,
        labels=None,
    )
    joined = jax.tree.map(
        lambda *x: np.concatenate([np.asarray(part) for part in x]), panel.replace(path_end=None), bar
    )
    labels = panel.labels
    if labels is not None:
        times = np.append(labels.times, time)
        # What was found from the bars stays as it is; the law of a made market knows no further bar.
        labels = dataclasses.replace(
            labels, times=times, calendar=panel.calendar, instruments=panel.instruments, hint=None
        )
    return joined.replace(labels=labels)


def next_time(panel: Panel) -> tuple[np.datetime64, int]:
    """Return when the next bar is, and its session: the next trading day, or the next bar of an intraday session.

    Holidays are not known. A session is over after as many bars as a full one has.
    """
    times, sessions = panel.times, np.asarray(panel.sessions).astype(np.int64)
    calendar, session = panel.calendar, int(sessions[-1])
    step = np.median(np.diff(times[-60:]).astype(np.int64)).astype("timedelta64[ns]") if len(times) > 1 else None
    if calendar.is_intraday:
        step = np.timedelta64(1, "m") if step is None else step
        if int((sessions == session).sum()) < (calendar.bars_per_session or 1):
            return times[-1] + step, session
        following = _next_day(session, calendar.days_per_year)
        first = times[np.argmax(sessions == session)]
        return first + np.timedelta64(following - session, "D"), following
    if calendar.period != "day" and step is not None:
        return times[-1] + step, session + int(step / np.timedelta64(1, "D"))
    following = _next_day(session, calendar.days_per_year)
    return times[-1] + np.timedelta64(following - session, "D"), following


def _next_day(session: int, days_per_year: float) -> int:
    day = np.datetime64(session, "D")
    after = day + 1 if days_per_year > _WEEKDAYS else np.busday_offset(day + 1, 0, roll="forward")
    return int(after.astype(np.int64))
