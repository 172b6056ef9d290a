"""What experts hold at the newest bars of a window, decided on the days on which they decide in the whole history.

An expert decides once in so many sessions, counted from the first bar of a history. In a window that begins at a
multiple of all these numbers it decides on the same days, and it looks back for a year, so that a window of a year and
a bit holds all that it goes by. Of intraday bars that would be tens of thousands.

Letters: A assets.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.schedule import MONTH, WEEK, YEAR, sessions_in
from ploutos_jax.market.experts.table import PREFIX, table
from ploutos_jax.market.panel import Market


class ExpertColumns:
    """The columns of experts among the features of an agent.

    Args:
        feature_names: of the agent.
        calendar: of the bars.

    Raises:
        ValueError: if there are experts, and the bars are intraday ones.
    """

    def __init__(self, feature_names: Sequence[str], calendar: Calendar) -> None:
        self.names = tuple(name for name in feature_names if name.startswith(PREFIX))
        self._calendar = calendar
        if self.names and calendar.is_intraday:
            raise ValueError(
                f"The agent sees {self.names[0]}, weights of a strategy that looks back for a year of sessions; of"
                " intraday bars a paper account does not keep that many. A backtest plays it; of daily bars so does a"
                " paper account."
            )
        year, month, week = sessions_in(calendar, YEAR, MONTH, WEEK)
        self._reach, self._cycle = year + month, math.lcm(month, week)

    @property
    def least_bars(self) -> int:
        """How long a window has to be; 0 without experts."""
        return self._reach + self._cycle + 1 if self.names else 0

    def of(self, market: Market, count: int) -> Float[Array, "bars A experts"]:
        """Return the weights of the experts; what holds in the whole history holds in the last rows.

        Args:
            market: of the last bars.
            count: bars of the history up to the newest one.
        """
        num_bars = market.num_bars
        least = count - 1 - self._reach
        begin = num_bars - count + max(least - least % self._cycle, 0)
        # What lies before is a path of its own, so that arrays keep their size.
        ends = np.where(np.arange(num_bars) < begin, begin - 1, num_bars - 1).astype(np.int32)
        names = tuple(name.removeprefix(PREFIX) for name in self.names)
        blank = jnp.zeros((num_bars, 0, 0))
        arrays = market.replace(labels=None, sector=None, features=blank, feature_names=(), path_end=jnp.asarray(ends))
        return _weights(arrays, names, self._calendar)


@partial(jax.jit, static_argnames=("names", "calendar"))
def _weights(market: Market, names: tuple[str, ...], calendar: Calendar) -> Float[Array, "bars A experts"]:
    return jnp.moveaxis(table(market, names, calendar), 1, -1)
