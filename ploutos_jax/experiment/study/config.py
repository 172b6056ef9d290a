"""Settings of a sweep."""

import dataclasses
from pathlib import Path
from typing import Literal

from ploutos_jax.env.bounds import Bound, check_bounds, check_kinds, share, whole

TABLE, PICTURE, SETTINGS = "sweep.csv", "sweep.png", "sweep.yaml"
"""Files of a sweep's folder."""
TRIAL_PREFIX = "trial-"
"""Begin of the names of a study's run folders."""

SWEEP_BOUNDS = {
    "trials": whole(1, 1_000_000),
    "choose": share(below=True),
    "embargo": whole(0, 10_000_000),
    "grace": share(),
    "reduction": whole(2, 100),
    "sampler_seed": whole(0, 2**31 - 1),
    "cores": whole(1, 100_000),
    "gpus": Bound(0, 1000),
    "at_once": whole(1, 1_000_000),
}
"""Numbers of `SweepConfig`."""


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Try many settings, and choose among them on bars apart from the test.

    Attributes:
        over: what is tried: NAME=A,B,C for values, NAME=LOW:HIGH or NAME=LOW:HIGH:log for a range; any setting of
            training, several with --over for each.
        trials: how many settings a study tries (extra `sweep`: Ray Tune and Optuna); without it every combination of
            the values, in one program where all are numbers that the program reads. In [1, 1e6].
        sampler: how a study picks them.
        scheduler: `asha` ends trials early that are behind the others after the same steps.
        grace: share of its run that each trial is given before. In [0, 1].
        reduction: of so many trials one goes on at each milestone. In [2, 100].
        sampler_seed: of the sampler. In [0, 2,147,483,647].
        choose: share of the training bars, the last of them, that settings are chosen on. In [0, 1).
        embargo: bars left out between training and choosing, one more than that, and between choosing and the test. In
            [0, 1e7].
        cores: CPU cores of each trial of a study; how many run at once follows from cores and measured memory. In [1,
            100,000].
        gpus: share of a GPU that each gets, such as 0.25; 0 for the CPU. In [0, 1,000].
        at_once: at most so many points side by side. In [1, 1e6].
        checkpoint: run folder or exported policy: instead of training, play this agent at every combination of costs
            and rules, on the bars after its training.
    """

    over: tuple[str, ...]
    trials: int | None = None
    sampler: Literal["tpe", "random", "qmc"] = "tpe"
    scheduler: Literal["asha", "none"] = "asha"
    grace: float = 0.25
    reduction: int = 3
    sampler_seed: int = 0
    choose: float = 0.2
    embargo: int = 10
    cores: int = 1
    gpus: float = 0.0
    at_once: int | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        check_kinds(self, SWEEP_BOUNDS)
        check_bounds(self, SWEEP_BOUNDS)


def default_output(*, resume: bool) -> str:
    """Return the next free `checkpoints/sweep-N`; to resume, the newest that is there.

    Raises:
        ValueError: if there is none to resume.
    """
    home, name = Path("checkpoints"), "sweep-"
    numbers = [int(path.name[len(name) :]) for path in home.glob(f"{name}*") if path.name[len(name) :].isdecimal()]
    if resume and not numbers:
        raise ValueError(f"There is no sweep to resume in {home}; name its folder with --output.")
    return str(home / f"{name}{max(numbers, default=0) + (not resume)}")
