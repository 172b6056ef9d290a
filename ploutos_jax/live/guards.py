"""Guards: what keeps a paper account from doing what was decided. They change actions, never the account's books.

Letters: A assets.
"""

import dataclasses
import enum
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.bounds import Bound, check_bounds
from ploutos_jax.env.broker.account import orders_none
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import SELL

GUARD_BOUNDS = {
    "max_daily_loss": Bound(0, 1, above=True),
    "max_position": Bound(0, 100, above=True),
    "max_order_cash": Bound(0, 1e12, above=True),
    "stale_bars": Bound(0, 1e6, above=True),
}
"""Numbers of `Guards`."""
_EMPTY_LEVEL = 1


class Guard(enum.StrEnum):
    """What made an action another one, or stopped the account."""

    DAILY_LOSS = "daily loss"
    POSITION = "position"
    ORDER = "order value"
    STALE = "stale data"
    KILL = "kill switch"
    RUIN = "ruin"


@dataclasses.dataclass(frozen=True)
class Guards:
    """Limits of a paper account; None is off.

    Attributes:
        max_daily_loss: loss since the close of the session before, a fraction of equity then, from which on nothing is
            bought until the next session. In (0, 1].
        max_position: value of a position over equity beyond which an order must not lead. In (0, 100].
        max_order_cash: dollars that an order may be worth. In (0, 1e12].
        stale_bars: bars after its close from which on a bar is too old to be acted on. In (0, 1,000,000].
        kill_file: file whose presence stops the account.
        flatten: whether all positions are sold at the kill switch and at the daily loss.
    """

    max_daily_loss: float | None = None
    max_position: float | None = None
    max_order_cash: float | None = None
    stale_bars: float | None = 2.0
    kill_file: str | None = None
    flatten: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, GUARD_BOUNDS)

    def is_killed(self) -> bool:
        """Return whether the kill file is there."""
        return self.kill_file is not None and Path(self.kill_file).exists()


class Estimate(NamedTuple):
    """What an action is expected to do at the last closes, `[A]` each.

    Attributes:
        traded: dollars bought (above 0) or sold (below 0) by the agent's order.
        weight: value of the position after it over equity.
    """

    traded: np.ndarray
    weight: np.ndarray


def hold_all(config: EnvConfig, num_assets: int) -> np.ndarray:
    """Return the action that orders nothing."""
    return np.asarray(orders_none(config, num_assets, jnp.float32))


def sell_all(config: EnvConfig, num_assets: int) -> np.ndarray:
    """Return the action that sells every position."""
    none = hold_all(config, num_assets)
    value = {"discrete": SELL, "levels": _EMPTY_LEVEL}.get(config.action, 0)
    return np.full_like(none, value)


class Judged(NamedTuple):
    """An action after the guards, and which of them changed it, with the places of the assets."""

    action: np.ndarray
    tripped: tuple[tuple[Guard, tuple[int, ...]], ...]


def judge_action(
    guards: Guards, config: EnvConfig, action: np.ndarray, expected: Estimate, *, daily_loss: float, stale: bool
) -> Judged:
    """Return an action without what the guards forbid.

    Args:
        guards: limits.
        config: says what kind of action it is.
        action: `[A]`, or `[A, 2]` of bands.
        expected: what it would do.
        daily_loss: since the close of the session before, fraction of equity then.
        stale: whether the bar is too old to be acted on.
    """
    num_assets = len(expected.traded)
    none = hold_all(config, num_assets)
    tripped: list[tuple[Guard, tuple[int, ...]]] = []
    if stale:
        return Judged(none, ((Guard.STALE, tuple(range(num_assets))),))
    if guards.max_daily_loss is not None and daily_loss >= guards.max_daily_loss:
        if guards.flatten:
            return Judged(sell_all(config, num_assets), ((Guard.DAILY_LOSS, tuple(range(num_assets))),))
        action = _without(action, none, expected.traded > 0, Guard.DAILY_LOSS, tripped)
    if guards.max_order_cash is not None:
        too_large = np.abs(expected.traded) > guards.max_order_cash
        action = _without(action, none, too_large, Guard.ORDER, tripped)
    if guards.max_position is not None:
        beyond = (expected.traded > 0) & (expected.weight > guards.max_position)
        action = _without(action, none, beyond, Guard.POSITION, tripped)
    return Judged(action, tuple(tripped))


def _without(
    action: np.ndarray,
    none: np.ndarray,
    where: np.ndarray,
    guard: Guard,
    tripped: list[tuple[Guard, tuple[int, ...]]],
) -> np.ndarray:
    if not where.any():
        return action
    tripped.append((guard, tuple(np.flatnonzero(where).tolist())))
    return np.where(where.reshape(where.shape + (1,) * (action.ndim - 1)), none, action).astype(action.dtype)
