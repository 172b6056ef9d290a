"""What all planted markets share: their calendar and labels, and bars around a return that is promised."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.synthetic.brownian_bridge import draw_bars
from ploutos_jax.market.synthetic.labels import FIRST_DATE, LAST_YEAR

PLANTED_NOTE = f"The signal {HINT!r} looks ahead on purpose: it tells the next bar's return, as no real column can."

NUM_BARS = 5040
"""Twenty years of days: of the share kept for scoring, too much is left for luck to decide."""

FIRST_PRICE = 100.0
MOST_BARS = int(np.busday_count(FIRST_DATE, f"{LAST_YEAR + 1}-01-01"))
"""Of one path: business days until dates are no longer read as dates."""
_VOLUME_SHARES = 1e8
_MOST_FALL = -0.9


def is_planted(source: Panel | Market) -> bool:
    """Return whether bars come from a maker of this folder; a user's file may have a column of the same name."""
    labels = source.labels
    return labels is not None and labels.hint is not None and labels.hint.kind != "edge"


def check_numbers(
    num_assets: int, num_bars: int, strength: float, num_noise: int, volatility: float, tail: float
) -> None:
    """Raise ValueError for sizes and numbers of which no planted market can be made."""
    if num_assets < 1 or num_bars < 1:
        raise ValueError(f"A planted panel needs at least 1 asset and 1 bar, not {num_assets} and {num_bars}.")
    if num_bars > MOST_BARS:
        raise ValueError(
            f"num_bars={num_bars}: daily bars from {FIRST_DATE} on reach the end of {LAST_YEAR} with {MOST_BARS:,}."
            " Take fewer, and more assets."
        )
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength} must lie in [0, 1]: it is the correlation of hint and next return.")
    if num_noise < 0:
        raise ValueError(f"num_noise={num_noise} must not be negative; 0 leaves the hint alone.")
    if not volatility > 0 or not tail > 2:
        raise ValueError(f"volatility={volatility} must be above 0 and tail={tail} above 2.")


def around_promise(
    key: PRNGKeyArray, promised: Float[Array, "T A"], deviation: Float[Array, "T A"], tail: float
) -> tuple[Float[Array, "T A"], ...]:
    """Draw open, high, low and close `[T, A]` whose simple returns are, on average, what is promised.

    With n standard normal, `v = deviation² · (tail/2 − 1) / Gamma(tail/2)` the log return of a bar is

        log(1 + promised) + √v · n − v / 2

    √v·n is Student-t, and E exp(√v·n − v/2) = 1 whatever v: the simple return has the mean `promised` exactly. A bar
    opens where the one before closed.

    Args:
        key: consumed.
        promised: expected simple return of each bar; a fall of more than nine tenths becomes one of nine tenths.
        deviation: standard deviation of √v·n.
        tail: degrees of freedom, above 2.
    """
    variance_key, move_key, middle_key, bridge_key = jax.random.split(key, 4)
    shape = promised.shape
    variance = deviation**2 * (tail / 2 - 1) / jax.random.gamma(variance_key, tail / 2, shape)
    inside = (
        jnp.log1p(jnp.maximum(promised, _MOST_FALL))
        + jnp.sqrt(variance) * jax.random.normal(move_key, shape)
        - variance / 2
    )
    first = jnp.full(shape[1], FIRST_PRICE, promised.dtype)
    bars = draw_bars(middle_key, bridge_key, first, jnp.zeros_like(promised), inside, variance)
    opens, high, low, close = (jnp.asarray(prices) for prices in bars)
    # Rounding must not come between a close and the open after it, which are one price.
    opens = opens.at[1:].set(close[:-1])
    return opens, jnp.maximum(high, opens), jnp.minimum(low, opens), close


def to_panel(bars: tuple[Array, ...], signals: Mapping[str, Array]) -> Panel:
    """Return the panel of open, high, low and close `[T, A]` and of signals, without labels."""
    opens, high, low, close = bars
    return Panel(
        open=opens,
        high=high,
        low=low,
        close=close,
        volume=jnp.full(close.shape, _VOLUME_SHARES, close.dtype),
        tradable=jnp.ones(close.shape, bool),
        sessions=jnp.asarray(business_days(close.shape[0]).astype(np.int64), jnp.int32),
        signals=dict(signals),
    )


def noise_names(num_noise: int) -> tuple[str, ...]:
    """Return the names of signals that tell nothing."""
    return tuple(f"noise_{i}" for i in range(num_noise))


def business_days(num_bars: int) -> np.ndarray:
    """Return datetime64[D] from 2010-01-04 on, weekends left out; of many paths, they begin anew after 2199."""
    return np.busday_offset(FIRST_DATE, np.arange(num_bars) % MOST_BARS, roll="forward")


def planted_labels(num_bars: int, law: HintLaw, note: str = PLANTED_NOTE) -> Labels:
    """Return symbols `P001` …, business days, a note that says what the market is, and its law."""
    num_assets = law.volatility.shape[1]
    return Labels(
        symbols=tuple(f"P{i + 1:03d}" for i in range(num_assets)),
        sectors=(UNKNOWN_SECTOR,) * num_assets,
        times=business_days(num_bars).astype("datetime64[ns]"),
        notes=(note,),
        calendar=Calendar(bars_per_session=1.0),
        hint=law,
    )
