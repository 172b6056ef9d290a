"""A study over processes and machines: Ray Tune runs the trials, Optuna proposes them, ASHA ends the hopeless early.

Ray and Optuna come with the extra `sweep` and are loaded here alone. Each trial is a run folder; Ray's own record of
the study lies in `ray/` beside them, and a study whose head was killed goes on from it: finished trials stay, others
go on from their newest checkpoint.
"""

import contextlib
import dataclasses
import importlib
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ploutos_jax.experiment.study.space import Choice, Space
from ploutos_jax.experiment.study.trial import SCORE, STEPS, at_point, measure_trial, name_of, run_trial
from ploutos_jax.runs.settings import RunSettings

_RAY_FOLDER = "ray"
_ONE_CORE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
_MANNERS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
"""Nothing is sent home, and the terminal is the study's."""
_MEMORY_USED = 0.8
"""Share of the free memory that trials may take together."""


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """How the points of a study are chosen and run.

    Attributes:
        trials: how many settings to try.
        sampler: `tpe`, `random`, `qmc` or `grid` of Optuna.
        scheduler: `asha` ends trials that are behind at a milestone; `none` lets each run to its end.
        grace: share of a run that every trial is given before it may be ended.
        reduction: of so many trials at a milestone one goes on.
        seed: of the sampler.
        cores: of each trial; how many run at once follows from the cores and the memory that there are.
        gpus: share of a GPU that each trial gets; 0 for trials on the CPU.
        at_once: at most so many trials side by side; as many as fit without it.
    """

    trials: int
    sampler: Literal["tpe", "random", "qmc", "grid"] = "tpe"
    scheduler: Literal["asha", "none"] = "asha"
    grace: float = 0.25
    reduction: int = 3
    seed: int = 0
    cores: int = 1
    gpus: float = 0.0
    at_once: int | None = None


def load_ray() -> tuple[Any, Any]:
    """Return the modules `ray` and `ray.tune`.

    Raises:
        ValueError: if the extra is not installed.
    """
    for name, value in _MANNERS.items():
        os.environ.setdefault(name, value)
    # Ray starts its processes anew from programs of their own; nothing of JAX goes on in them.
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
    # A trial that went on has told its first scores once more.
    warnings.filterwarnings("ignore", message="The reported value is ignored", category=UserWarning)
    try:
        importlib.import_module("optuna")
        return importlib.import_module("ray"), importlib.import_module("ray.tune")
    except ImportError as error:
        raise ValueError(f"A study needs Ray and Optuna ({error}): pip install 'ploutos_jax[sweep]'.") from None


def run_study(
    settings: RunSettings,
    space: Space,
    study: StudyConfig,
    folder: Path,
    *,
    resume: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the trials of a study, or those that are missing, each into a folder `trial-...`.

    Args:
        settings: of every trial but for its point; its data those of `choosing_bars`.
        space: what is searched.
        study: how.
        folder: of the study.
        resume: go on with the study in the folder.
        tell: is told what was measured.

    Raises:
        ValueError: if Ray is not installed, or no trial fits into the memory.
    """
    ray, tune = load_ray()
    folder = folder.absolute()
    with _runtime(ray, study):
        needed = _measured(ray, settings, space, study, tell)
        at_once = _fitting(ray, study, needed, tell)
        resources: dict[str, float] = {"cpu": study.cores, "gpu": study.gpus}

        def trainable(point: Mapping[str, Any]) -> None:
            run_trial(at_point(settings, point), folder / name_of(point), tune.report)

        work = tune.with_resources(trainable, resources)
        if resume and (folder / _RAY_FOLDER / "tuner.pkl").is_file():
            tuner = tune.Tuner.restore(str(folder / _RAY_FOLDER), work, resume_unfinished=True, restart_errored=True)
        else:
            shutil.rmtree(folder / _RAY_FOLDER, ignore_errors=True)
            tuner = tune.Tuner(
                work,
                tune_config=_tune_config(settings, space, study, at_once),
                run_config=tune.RunConfig(
                    name=_RAY_FOLDER, storage_path=str(folder), verbose=0, failure_config=tune.FailureConfig(1)
                ),
            )
        tuner.fit()


def _tune_config(settings: RunSettings, space: Space, study: StudyConfig, at_once: int) -> Any:
    tune = importlib.import_module("ray.tune")
    optuna = importlib.import_module("optuna")
    search = importlib.import_module("ray.tune.search.optuna")
    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=study.seed, n_startup_trials=max(4, study.trials // 4)),
        "random": lambda: optuna.samplers.RandomSampler(seed=study.seed),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=study.seed),
        "grid": lambda: optuna.samplers.GridSampler(
            {name: part.values for name, part in space.items() if isinstance(part, Choice)}, seed=study.seed
        ),
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    proposer = search.OptunaSearch(
        space=distributions(space), metric=SCORE, mode="max", sampler=samplers[study.sampler]()
    )
    total = settings.train.num_updates * settings.train.timesteps_per_update
    scheduler = None
    if study.scheduler == "asha":
        scheduler = importlib.import_module("ray.tune.schedulers").ASHAScheduler(
            time_attr=STEPS,
            metric=SCORE,
            mode="max",
            max_t=total + 1,
            grace_period=max(1, int(study.grace * total)),
            reduction_factor=study.reduction,
        )
    options: dict[str, Any] = {} if scheduler else {"metric": SCORE, "mode": "max"}
    return tune.TuneConfig(
        search_alg=proposer,
        scheduler=scheduler,
        num_samples=study.trials,
        max_concurrent_trials=at_once,
        reuse_actors=True,  # a process takes seconds to start, and keeps its compiled programs
        **options,
    )


def distributions(space: Space) -> dict[str, Any]:
    """Return a space as Optuna's distributions."""
    of = importlib.import_module("optuna.distributions")
    found: dict[str, Any] = {}
    for name, part in space.items():
        if isinstance(part, Choice):
            found[name] = of.CategoricalDistribution(list(part.values))
        elif part.is_whole:
            found[name] = of.IntDistribution(int(part.low), int(part.high), log=part.is_log)
        else:
            found[name] = of.FloatDistribution(float(part.low), float(part.high), log=part.is_log)
    return found


@contextlib.contextmanager
def _runtime(ray: Any, study: StudyConfig) -> Iterator[None]:
    """Give a runtime of Ray: the one of `RAY_ADDRESS`, or one of its own on this machine, ended afterwards."""
    variables = {"JAX_ENABLE_X64": os.environ.get("JAX_ENABLE_X64", "0")}
    if study.gpus:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * min(study.gpus, 1):.3f}"
    else:
        variables |= {"JAX_PLATFORMS": "cpu"}
        if study.cores == 1:
            variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_CORE}".strip()
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    own = tempfile.mkdtemp(prefix="ploutos-programs-") if cache is None else None
    # Trials of one shape are one program, which one of them compiles.
    variables["JAX_COMPILATION_CACHE_DIR"] = cache or str(own)
    variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(
        address=os.environ.get("RAY_ADDRESS"),
        include_dashboard=False if "RAY_ADDRESS" not in os.environ else None,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": variables},
    )
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process as if something had failed
    try:
        yield
    finally:
        ray.shutdown()
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _measured(ray: Any, settings: RunSettings, space: Space, study: StudyConfig, tell: Callable[[str], None]) -> int:
    """Return the peak memory of a trial at the largest sizes of the space, bytes, from one update in a process."""
    largest = {
        name: max(part.values, key=_size) if isinstance(part, Choice) else part.high for name, part in space.items()
    }
    sizes = {name: value for name, value in largest.items() if _size(value) and isinstance(value, int)}
    place = tempfile.mkdtemp(prefix="ploutos-probe-")
    try:
        try:
            probed = at_point(settings, sizes)
        except ValueError:  # sizes that do not go together all at once
            probed = settings
        measure = ray.remote(num_cpus=study.cores, num_gpus=study.gpus, max_calls=1)(measure_trial)
        found = int(ray.get(measure.remote(probed, Path(place) / "run")))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    tell(f"One update of a trial took {found / 2**20:,.0f} MiB of memory at most, measured in a process of its own.")
    return found


def _size(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _fitting(ray: Any, study: StudyConfig, needed: int, tell: Callable[[str], None]) -> int:
    """Return how many trials run side by side: by cores, GPUs and measured memory."""
    there = ray.cluster_resources()
    limits = {"cores": int(there.get("CPU", 1) // study.cores)}
    if study.gpus:
        limits["GPUs"] = int(there.get("GPU", 0) // study.gpus)
    if needed:
        limits["memory"] = int(_MEMORY_USED * there.get("memory", 0) // needed)
    if study.at_once is not None:
        limits["--at-once"] = study.at_once
    scarce = min(limits, key=lambda name: limits[name])
    if limits[scarce] < 1:
        raise ValueError(
            f"No trial fits: {scarce} allow {limits[scarce]} ({', '.join(f'{n}: {v}' for n, v in limits.items())})."
            " Lower num_envs, or give fewer cores to each trial."
        )
    tell(f"{limits[scarce]} trials at once: {', '.join(f'{name} allow {count}' for name, count in limits.items())}.")
    return limits[scarce]
