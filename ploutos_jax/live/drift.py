"""Drift: whether the bars of now are like those of training, and costs what was expected.

Letters: A assets, F features.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ploutos_jax.agents.agent import Agent
from ploutos_jax.evaluate.reference import Reference, tenths_of

WINDOW = 250
"""Bars that are compared."""
_SHIFT = 2.0
"""Spreads of training by which the mean of a feature has to move."""
_RATIO = 2.0
"""Factor by which the size of returns, or costs, have to differ."""
_SELDOM, _OFTEN = 0.01, 0.5
"""A share of equity is new where it was invested in fewer bars than the first before, and now in more than the second:
positions last, so that 250 bars alone are never spread as those of years."""
_TRADING, _CHANCE = 4.0, 10
"""Factor by which bars with orders have to be more or fewer than expected, and as many besides, which chance may do."""


class Drift(NamedTuple):
    """One thing that is not as it was.

    Attributes:
        what: `feature`, `returns`, `actions` or `costs`.
        name: of the feature; of actions `invested` or `trading`; else empty.
        now, before: mean in spreads of training and 0; deviation of returns; share of bars with positions that were
            seldom so large or small, or with orders; cost in basis points of the value traded.
    """

    what: str
    name: str
    now: float
    before: float


class DriftMonitor:
    """Compares the last `WINDOW` bars with training; each drift is told once, and again after it has passed.

    Args:
        agent: whose scaling says where the features of training lay.
        reference: what training was like.
    """

    def __init__(self, agent: Agent, reference: Reference) -> None:
        scaling = agent.params.scaling.features
        self._names = agent.feature_names
        self._centre = self._spread = None
        if scaling is not None:
            # An ensemble has one scaling for each member.
            self._centre = np.asarray(scaling.centre).reshape(-1, len(self._names)).mean(axis=0)
            self._spread = np.asarray(scaling.spread).reshape(-1, len(self._names)).mean(axis=0)
        self._reference = reference
        self._features: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._returns: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._acts: deque[tuple[float, bool]] = deque(maxlen=WINDOW)
        self._costs: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._told: set[tuple[str, str]] = set()

    def follow(
        self,
        features: Float[np.ndarray, "A F"],
        tradable: Bool[np.ndarray, " A"],
        returns: Float[np.ndarray, " A"],
        invested: float,
        ordered: bool,
        cost: float,
        traded: float,
    ) -> list[Drift]:
        """Take a bar in; return what has drifted since it was last told, none before `WINDOW` bars.

        Args:
            features: of the bar.
            tradable: which assets have one.
            returns: log returns, NaN where not known.
            invested: share of equity after its close, what actions have led to.
            ordered: whether an order of the agent filled in it.
            cost, traded: dollars, in the bar.
        """
        if tradable.any():
            self._features.append(features[tradable].mean(axis=0))
        self._returns.append(returns[np.isfinite(returns)])
        self._acts.append((invested, ordered))
        self._costs.append((cost, traded))
        if len(self._acts) < WINDOW:
            return []
        found = self._find()
        fresh = [one for one in found if one[:2] not in self._told]
        self._told = {one[:2] for one in found}
        return fresh

    def _find(self) -> list[Drift]:
        found = []
        if self._centre is not None and self._spread is not None and self._features:
            mean = np.mean(self._features, axis=0)
            away = (mean - self._centre) / np.where(self._spread > 0, self._spread, 1)
            found += [Drift("feature", self._names[f], float(away[f]), 0.0) for f in np.flatnonzero(abs(away) > _SHIFT)]
        moves, before = np.concatenate(self._returns), self._reference.deviation
        if before > 0 and moves.size and not 1 / _RATIO < (now := float(moves.std())) / before < _RATIO:
            found.append(Drift("returns", "", now, before))
        found += self._find_in_acts()
        cost, traded = np.sum(self._costs, axis=0)
        if self._reference.cost_bps and traded > 0 and 1e4 * cost / traded > _RATIO * self._reference.cost_bps:
            found.append(Drift("costs", "", 1e4 * cost / traded, self._reference.cost_bps))
        return found

    def _find_in_acts(self) -> list[Drift]:
        invested, ordered = np.array(self._acts).T
        found, known = [], self._reference.invested
        new = {place: share for place, share in tenths_of(invested).items() if known.get(place, 0.0) < _SELDOM}
        if known and sum(new.values()) > _OFTEN:
            before = sum(known.get(place, 0.0) for place in new)
            found.append(Drift("actions", "invested", sum(new.values()), before))
        trading = self._reference.trading
        if trading is not None:
            number, expected = float(ordered.sum()), WINDOW * trading
            if number > _TRADING * expected + _CHANCE or number < expected / _TRADING - _CHANCE:
                found.append(Drift("actions", "trading", number / WINDOW, trading))
        return found


def describe_drift(drift: Drift) -> str:
    """Return a drift in words."""
    if drift.what == "feature":
        return f"the mean of {drift.name} is {drift.now:+.1f} spreads from where it was in training"
    if drift.what == "returns":
        return f"returns of a bar deviate by {drift.now:.3%}, those of training by {drift.before:.3%}"
    if drift.what == "actions" and drift.name == "invested":
        return (
            f"in {drift.now:.0%} of bars a share of equity is invested that was so in {drift.before:.1%} of those that"
            " the agent was scored on"
        )
    if drift.what == "actions":
        return (
            f"orders fill in {drift.now:.1%} of bars, and in {drift.before:.1%} of those that the agent was scored on"
        )
    return f"trading costs {drift.now:.1f} bps of the value traded, and {drift.before:.1f} were expected"
