"""Alerts: trainings on fixed made markets, compared with what was recorded of them, within their measured noise.

A market that is made has a rule that knows its law, so that quality has a scale: the share of what that rule is
promised. The same trainings with other seeds say how much of a change is noise.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.datasets.training import read_training
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import HINT_ORACLE
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import backtest, baselines
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.experiment.study.trial import peak_bytes
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.loop import train_seeds

CASES: Mapping[str, tuple[str, ...]] = {
    "planted": ("--data", "planted:4:0.2", "--num-envs", "32", "--rollout-length", "32", "--total-timesteps", "60000"),
    "edge": ("--data", "synthetic:8", "--edge", "0.1", "--num-envs", "32", "--total-timesteps", "60000"),
}
"""Fixed made markets, and settings of short trainings on them."""
QUALITY = ("share_of_oracle", "sharpe")
"""Figures of which less is worse."""
MEMORY = "peak_megabytes"

_DEVIATIONS = 4.0
"""Standard errors of the difference of two means beyond which a figure has changed: by chance once in 16,000 times."""
_LEAST = {"share_of_oracle": 0.02, "sharpe": 0.05, MEMORY: 0.25}
"""Change that is always allowed, since machines round otherwise and noise itself is measured with few seeds: of the
share and the Sharpe ratio in their own units, of memory as a fraction."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """What was measured of one figure.

    Attributes:
        mean: over seeds.
        deviation: standard deviation over seeds, `ddof=1`.
        number: of seeds.
    """

    mean: float
    deviation: float
    number: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Return the figure of some values, one for each seed; at least two."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)), len(values))


Measured = dict[str, dict[str, Figure]]
"""Figures by case."""


@dataclasses.dataclass(frozen=True)
class Deviation:
    """One figure against its baseline.

    Attributes:
        case, figure: what it is.
        before, now: the two.
        allowed: how far they may be apart.
        failed: whether it is worse by more than that.
        better: whether it is better by more than that, so that the baseline should be recorded anew.
    """

    case: str
    figure: str
    before: Figure
    now: Figure
    allowed: float
    failed: bool
    better: bool

    def __str__(self) -> str:
        verdict = "WORSE" if self.failed else "better" if self.better else "as recorded"
        return (
            f"{self.case:>8} {self.figure:<16} recorded {self.before.mean:9.3f} ± {self.before.deviation:.3f}, now"
            f" {self.now.mean:9.3f} ± {self.now.deviation:.3f}; allowed {self.allowed:.3f}: {verdict}"
        )


def measure(cases: Sequence[str] = tuple(CASES), seeds: int = 4) -> Measured:
    """Train the cases, side by side for each seed, and return their figures on bars held out.

    Args:
        cases: of `CASES`.
        seeds: of each, at least 2.
    """
    found: Measured = {}
    for name in cases:
        settings = parse_settings([*CASES[name], "--num-seeds", str(seeds)])
        data, env = read_training(settings.data), TradingEnv(settings.env)
        agents = train_seeds(settings.train, data.market, env)
        span = data.held_out
        assert span is not None
        oracle = baselines(data.history, settings.env, span.times[0], span.times[-1])[HINT_ORACLE]
        best = expected_edge_of(oracle, span, fill=settings.env.fill).net
        ledgers = [backtest(agent, agent.led_by(span, data.history)) for agent in agents]
        shares = [expected_edge_of(ledger, span, fill=settings.env.fill).net / best for ledger in ledgers]
        sharpes = [_number(summarize(ledger)["sharpe"]) for ledger in ledgers]
        found[name] = {"share_of_oracle": Figure.of(shares), "sharpe": Figure.of(sharpes)}
        # One process has one peak: of all cases so far, the same each time as they come in the same order.
        found[name][MEMORY] = Figure(peak_bytes() / 2**20, 0.0, 1)
    return found


def compare(before: Measured, now: Measured) -> list[Deviation]:
    """Return every figure that both have against its baseline.

    A figure has changed where the means differ by more than four standard errors of their difference, both noises
    taken in, and by more than a small amount that is always allowed.
    """
    rows = []
    for case in (name for name in before if name in now):
        for name in (figure for figure in before[case] if figure in now[case]):
            then, here = before[case][name], now[case][name]
            error = math.sqrt(then.deviation**2 / then.number + here.deviation**2 / here.number)
            least = _LEAST[name] * (then.mean if name == MEMORY else 1.0)
            allowed = max(_DEVIATIONS * error, least)
            worse = (here.mean - then.mean) if name == MEMORY else (then.mean - here.mean)
            # Figures that are no numbers are no better than what was.
            rows.append(Deviation(case, name, then, here, allowed, not worse <= allowed, worse < -allowed))
    return rows


def write_baseline(file: Path, measured: Measured, about: Mapping[str, Any]) -> None:
    """Write figures as JSON, with what they were measured on."""
    content = {
        case: {name: dataclasses.asdict(one) for name, one in figures.items()} for case, figures in measured.items()
    }
    file.write_text(json.dumps({"about": dict(about), "figures": content}, indent=2) + "\n", encoding="utf-8")


def read_baseline(file: Path) -> Measured:
    """Return the figures of a baseline.

    Raises:
        ValueError: if the file is none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))["figures"]
        return {case: {name: Figure(**one) for name, one in figures.items()} for case, figures in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no baseline ({type(error).__name__}: {error}); record one with --record, or name another."
        ) from None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
