"""Drift: whether the bars of now are like those of training, and costs what was expected.

Letters: A assets, F features.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ploutos_jax.agents.agent import Agent
from ploutos_jax.evaluate.reference import Reference, shares_of

WINDOW = 250
"""Bars that are compared."""
_SHIFT = 2.0
"""Spreads of training by which the mean of a feature has to move."""
_RATIO = 2.0
"""Factor by which the size of returns, or costs, have to differ."""
_ACTIONS = 0.5
"""Total variation distance of how often each action is taken."""


class Drift(NamedTuple):
    """One thing that is not as it was.

    Attributes:
        what: `feature`, `returns`, `actions` or `costs`.
        name: of the feature, else empty.
        now, before: mean in spreads of training and 0; deviation of returns; largest change of a share and 0; cost in
            basis points of the value traded.
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
        self._choices = agent.env_config.is_choice
        self._features: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._returns: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._actions: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._costs: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._told: set[tuple[str, str]] = set()

    def follow(
        self,
        features: Float[np.ndarray, "A F"],
        tradable: Bool[np.ndarray, " A"],
        returns: Float[np.ndarray, " A"],
        action: np.ndarray,
        cost: float,
        traded: float,
    ) -> list[Drift]:
        """Take a bar in; return what has drifted since it was last told, none before `WINDOW` bars.

        Args:
            features: of the bar.
            tradable: which assets have one.
            returns: log returns, NaN where not known.
            action: of the agent.
            cost, traded: dollars, in the bar.
        """
        if tradable.any():
            self._features.append(features[tradable].mean(axis=0))
        self._returns.append(returns[np.isfinite(returns)])
        self._actions.append(action)
        self._costs.append((cost, traded))
        if len(self._actions) < WINDOW:
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
        if self._choices and self._reference.actions:
            now_taken, then = shares_of(np.stack(self._actions)), self._reference.actions
            away = [now_taken.get(name, 0.0) - then.get(name, 0.0) for name in {*now_taken, *then}]
            if sum(map(abs, away)) / 2 > _ACTIONS:
                found.append(Drift("actions", "", max(map(abs, away)), 0.0))
        cost, traded = np.sum(self._costs, axis=0)
        if self._reference.cost_bps and traded > 0 and 1e4 * cost / traded > _RATIO * self._reference.cost_bps:
            found.append(Drift("costs", "", 1e4 * cost / traded, self._reference.cost_bps))
        return found


def describe_drift(drift: Drift) -> str:
    """Return a drift in words."""
    if drift.what == "feature":
        return f"the mean of {drift.name} is {drift.now:+.1f} spreads from where it was in training"
    if drift.what == "returns":
        return f"returns of a bar deviate by {drift.now:.3%}, those of training by {drift.before:.3%}"
    if drift.what == "actions":
        return f"the share of an action has changed by {drift.now:.0%} since training"
    return f"trading costs {drift.now:.1f} bps of the value traded, and {drift.before:.1f} were expected"
