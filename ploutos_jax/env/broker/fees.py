"""Fees: dated schedules of regulators and brokers, resolved on the host into one rate per bar, and their arithmetic."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ploutos_jax.env.bounds import shown
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.labels import read_date

CENT = 0.01
EXCHANGE = "exchange"
"""Fees that each exchange says it charges, which are commissions; see `broker.instruments`."""


@dataclasses.dataclass(frozen=True)
class FeeKind:
    """One fee of a schedule.

    Attributes:
        name: such as "SEC".
        unit: what a rate multiplies: `notional` dollars or `share`.
        sides: `sell` or `both`.
        rows: (first day as YYYY-MM-DD, rate, cap in dollars per fill or None), days ascending. The first rate holds
            before its day too.
    """

    name: str
    unit: Literal["notional", "share"]
    sides: Literal["sell", "both"]
    rows: tuple[tuple[str, float, float | None], ...]

    def __post_init__(self) -> None:
        if self.unit not in ("notional", "share") or self.sides not in ("sell", "both"):
            raise ValueError(f"Fee {self.name!r}: unit is 'notional' or 'share', sides 'sell' or 'both'; got {self}.")
        if not self.rows:
            raise ValueError(f"Fee {self.name!r} has no rate.")
        days = [read_date(day, f"Fee {self.name!r}: day").astype("datetime64[D]") for day, _, _ in self.rows]
        if any(later <= earlier for earlier, later in itertools.pairwise(days)):
            raise ValueError(f"Fee {self.name!r}: the days of its rates must ascend, found {[str(d) for d in days]}.")
        for day, rate, cap in self.rows:
            if not 0 <= rate < np.inf or not (cap is None or 0 <= cap < np.inf):
                raise ValueError(f"Fee {self.name!r} from {day}: rate {rate} and cap {cap} must not be negative.")

    def resolve(self, sessions: Int[np.ndarray, " T"]) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
        """Return rate and cap (inf without one) at `[T]` days since 1970-01-01."""
        days = np.array([np.datetime64(day, "D").astype(np.int64) for day, _, _ in self.rows])
        place = np.maximum(np.searchsorted(days, sessions, side="right") - 1, 0)
        rates = np.array([rate for _, rate, _ in self.rows])
        caps = np.array([np.inf if cap is None else cap for _, _, cap in self.rows])
        return rates[place], caps[place]


@dataclasses.dataclass(frozen=True)
class FeeSchedule:
    """The fees that apply together, and how they are rounded; see `docs/broker.md`."""

    kinds: tuple[FeeKind, ...] = ()
    rounding: Literal["none", "fill", "day"] = "none"

    def __post_init__(self) -> None:
        if self.rounding not in ("none", "fill", "day"):
            raise ValueError(f"A fee schedule has rounding={self.rounding!r}; use 'none', 'fill' or 'day'.")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "FeeSchedule":
        """Return the schedule whose `dataclasses.asdict` has been through JSON or YAML."""
        kinds = tuple(FeeKind(**{**kind, "rows": tuple(map(tuple, kind["rows"]))}) for kind in plain["kinds"])
        return cls(kinds=kinds, rounding=plain["rounding"])

    def frozen(self, day: str) -> "FeeSchedule":
        """Return the schedule of one day, at all times."""
        session = np.array([np.datetime64(day, "D").astype(np.int64)])
        kinds = []
        for kind in self.kinds:
            (rate,), (cap,) = kind.resolve(session)
            kinds.append(
                dataclasses.replace(kind, rows=((day, float(rate), float(cap) if np.isfinite(cap) else None),))
            )
        return dataclasses.replace(self, kinds=tuple(kinds))

    def resolve(self, sessions: Int[np.ndarray, " T"]) -> tuple[Float[np.ndarray, "J T"], Float[np.ndarray, "J T"]]:
        """Return rates and caps `[J, T]` of the J kinds at `[T]` sessions."""
        resolved = [kind.resolve(np.asarray(sessions)) for kind in self.kinds]
        shape = (len(self.kinds), len(sessions))
        rates, caps = (np.array([pair[i] for pair in resolved], np.float64).reshape(shape) for i in (0, 1))
        return rates, caps


SEC = FeeKind(
    "SEC",
    unit="notional",
    sides="sell",
    rows=(
        ("2017-07-04", 23.10e-6, None),
        ("2018-05-22", 13.00e-6, None),
        ("2019-04-16", 20.70e-6, None),
        ("2020-02-18", 22.10e-6, None),
        ("2021-02-25", 5.10e-6, None),
        ("2022-05-14", 22.90e-6, None),
        ("2023-02-27", 8.00e-6, None),
        ("2024-05-22", 27.80e-6, None),
        ("2025-05-14", 0.0, None),
        ("2026-04-04", 20.60e-6, None),
    ),
)
"""Section 31 fee of the SEC on sales, per dollar. Source: SEC fee rate advisories of these dates."""

TAF = FeeKind(
    "TAF",
    unit="share",
    sides="sell",
    rows=(
        ("2012-07-01", 0.000119, 5.95),
        ("2022-01-01", 0.000130, 6.49),
        ("2023-01-01", 0.000145, 7.27),
        ("2024-01-01", 0.000166, 8.30),
        ("2026-01-01", 0.000195, 9.79),
        ("2026-10-01", 0.0, 0.0),
        ("2027-01-01", 0.000195, 9.79),
    ),
)
"""Trading activity fee of FINRA on sales, per share, with a cap per trade. Source: FINRA By-Laws Schedule A, section 1,
and SR-FINRA-2026-020 and -021."""

CAT = FeeKind(
    "CAT",
    unit="share",
    sides="both",
    rows=(
        ("2020-01-01", 0.0, None),
        ("2024-09-01", 0.000046, None),
        ("2025-01-01", 0.000053, None),
        ("2025-07-01", 0.0000265, None),
        ("2025-12-01", 0.0, None),
        ("2026-05-01", 0.000003, None),
    ),
)
"""Consolidated audit trail fee, per share of both sides; below 0.02 bps of a $50 stock at all times. Source: broker fee
schedules of these dates."""

ALPACA = FeeSchedule(kinds=(SEC, TAF, CAT), rounding="day")
"""No commission; SEC, TAF and CAT as of each bar's date, each rounded up to the cent per day. Source: Alpaca,
"Regulatory Fees"."""

CONSERVATIVE = FeeSchedule(
    kinds=(
        dataclasses.replace(SEC, rows=(("2012-07-01", 27.80e-6, None),)),
        dataclasses.replace(TAF, rows=(("2012-07-01", 0.000195, 9.79),)),
        dataclasses.replace(CAT, rows=(("2012-07-01", 0.000053, None),)),
    ),
    rounding="day",
)
"""The dearest rate of each fee since 2017, at all times: a history with fees of zero hides a cost that comes back."""

DOC_COMPAT = FeeSchedule(
    kinds=(
        FeeKind("SEC", "notional", "sell", (("2012-07-01", 0.00221e-2, None),)),
        FeeKind("TAF", "notional", "sell", (("2012-07-01", 0.0145e-2, None),)),
    )
)
"""The fees as Ploutos V3 wrote them: 0.00221 % and 0.0145 % of sold notional. The second reads FINRA's dollars per
share as a share of the value, too much by a factor of the share price."""

PERCENT = FeeSchedule(kinds=(FeeKind("commission", "notional", "both", (("2012-07-01", 0.001, None),)),))
"""0.1 % of notional on both sides."""

PRESETS = {
    "none": FeeSchedule(),
    "alpaca": ALPACA,
    "conservative": CONSERVATIVE,
    "doc_compat": DOC_COMPAT,
    "percent": PERCENT,
}


def resolve_schedule(fees: str | FeeSchedule) -> FeeSchedule:
    """Return the schedule of a name, or of a name and a day such as `alpaca@2024-05-22`, or the schedule itself.

    Raises:
        ValueError: if the name is unknown or the day is none.
    """
    if isinstance(fees, FeeSchedule):
        return fees
    name, _, day = str(fees).partition("@")
    if fees == EXCHANGE:
        return FeeSchedule()
    if fees == "auto":  # rates and kinds as of US equities; whom they are charged is for the instrument to say
        return ALPACA
    if name not in PRESETS:
        raise ValueError(
            f"fees={shown(fees)} is unknown; use auto, {', '.join(PRESETS)}, exchange, one with a day such as"
            " 'alpaca@2024-05-22', or a FeeSchedule."
        )
    if not _:
        return PRESETS[name]
    try:
        if len(day) != 10:
            raise ValueError
        return PRESETS[name].frozen(day)
    except ValueError:
        raise ValueError(f"fees={shown(fees)}: {shown(day)} is not a date; write it as YYYY-MM-DD.") from None


def round_up(cash: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return dollars rounded up to the cent; a millionth of a cent above one is rounding error, not a fee."""
    return jnp.ceil(cash * 100 - 1e-6) / 100


def commission_cash(notional: Float[Array, " A"], shares: Float[Array, " A"], params: EnvParams) -> Float[Array, " A"]:
    """Return the broker's commission on fills of `[A]` dollars and shares, in dollars; 0 where nothing fills."""
    by_size = notional * params.commission + shares * params.commission_per_share_cash
    fee = by_size + params.commission_per_order_cash
    # Not a maximum, whose derivative where both are 0 is half of what the first more of commission costs.
    fee = jnp.where(fee < params.commission_min_cash, params.commission_min_cash, fee)
    return jnp.where(shares > 0, fee, 0)


def schedule_cash(
    notional: Float[Array, " A"],
    shares: Float[Array, " A"],
    rates: Float[Array | np.ndarray, " J"],
    caps: Float[Array | np.ndarray, " J"],
    schedule: FeeSchedule,
    *,
    is_sale: bool,
    in_proportion: bool = False,
) -> list[Float[Array, " A"] | None]:
    """Return what each kind of the schedule charges on fills, `[A]` dollars; None for a kind that spares this side.

    Args:
        notional: `[A]` dollars traded, not negative.
        shares: `[A]` shares traded, not negative.
        rates, caps: `[J]` of the bar.
        schedule: the J kinds.
        is_sale: the side of the fills.
        in_proportion: leave out caps and rounding, which do not shrink with an order.
    """
    charged: list[Float[Array, " A"] | None] = []
    for place, kind in enumerate(schedule.kinds):
        if kind.sides == "sell" and not is_sale:
            charged.append(None)
            continue
        fee = (notional if kind.unit == "notional" else shares) * rates[place]
        if not in_proportion and any(cap is not None for _, _, cap in kind.rows):
            fee = jnp.minimum(fee, caps[place])
        charged.append(round_up(fee) if schedule.rounding == "fill" and not in_proportion else fee)
    return charged
