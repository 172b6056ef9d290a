"""Settings of a run from the command line: defaults, then a preset, then a YAML file, then flags."""

import argparse
import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.env.bounds import Bound, check_bounds, check_kinds, shown, whole
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.runs.auto import file_without_auto, without_auto
from ploutos_jax.runs.command_line import read, spell
from ploutos_jax.runs.older import of_earlier_version, translate_file, translate_flags
from ploutos_jax.runs.overrides import REPLACES, merge, suggest
from ploutos_jax.runs.presets import PRESETS, fitting
from ploutos_jax.runs.yaml_file import read_yaml
from ploutos_jax.train.config import MAY_CHANGE, TrainConfig
from ploutos_jax.train.run.folder import CONFIG_FILE

_STOPPING = {"minutes", "episodes", "until_converged"}
_SHOWING = {"quiet", "report", "monthly_target", "model_name"}
_MACHINES = {"device", "devices", "coordinator", "num_hosts", "host"}
_RUN_ONLY = (
    MAY_CHANGE | _STOPPING | _SHOWING | _MACHINES | {"config", "resume", "output", "feature_cache", "log", "measure"}
)
"""Settings of one call that may differ when a run is continued."""

_CHECKED_LATER = {"rollout_length", "num_minibatches", "device_bars"}
"""Settings that are compared with those of the checkpoint, where what was chosen without them is known."""


RUN_BOUNDS = {
    "minutes": Bound(0, 1e7, above=True),
    "episodes": whole(1, 10**15),
    "monthly_target": Bound(0, 100, above=True),
    "num_hosts": whole(1, 100_000),
    "host": whole(0, 100_000),
}
"""Numbers of `RunSettings` itself."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Train a trading agent and score it on bars it never saw.

    Defaults give way to --preset, that to --config FILE, that to flags.

    None is off; 0.02 is 2 %; a bps is a hundredth of a percent; cash is dollars.

    Attributes:
        preset: named settings to start from; docs/presets.md lists what each holds.
        config: YAML file with settings, such as the config.yaml of a run.
        output: run folder for checkpoints and figures; the next free checkpoints/run-N if not given.
        resume: continue the run in --output (the newest one if not given) from its newest checkpoint.
        minutes: stop after this many minutes, with a checkpoint. In (0, 1e7].
        episodes: stop when this many episodes have ended, over all environments, with a checkpoint. In [1, 1e15].
        until_converged: stop when the agent gets no better (docs/stopping.md says when that is), with a checkpoint;
            total_timesteps remains the limit.
        monthly_target: gain in a month of 21 trading days that is aimed at; the run then shows what its growth in
            training would make in 21 and in 22 days, beside it. In (0, 100].
        model_name: also write the agent as NAME.pth and NAME_metadata.json: its arrays, and settings and scores. The
            first is an archive of NumPy, whatever its ending; pj.load_policy reads it.
        device: where to run; auto takes a GPU if there is one.
        devices: how many devices of each host, or `all`: environments are laid over them, or seeds where there are as
            many; the same agent up to rounding. docs/scale.md
        coordinator: HOST:PORT of the first of several hosts, or `auto` where Slurm, Open MPI or Kubernetes tells;
            $JAX_COORDINATOR_ADDRESS without it, and one host without either.
        num_hosts: how many hosts; $JAX_NUM_PROCESSES without it. In [1, 100,000].
        host: which of them this is, from 0; $JAX_PROCESS_ID without it. The first writes. In [0, 100,000].
        deterministic: make GPU results repeatable bit for bit (slower; the CPU always is).
        quiet: print the final table only.
        report: write the report of the final score and the picture of the training into the run folder.
        log: tracking services that the run is told to, in addition to its own files and TensorBoard: mlflow, wandb, or
            both (docs/trackers.md).
        measure: sizes that are measured before the run and then written down; `--num-envs auto` and `--minibatches
            auto` say the same.
        data: which bars to use.
        env: rules and costs.
        train: learner.
    """

    preset: Literal[tuple(PRESETS)] = "default"  # type: ignore[valid-type]  # names as data
    config: str | None = None
    output: str | None = None
    resume: bool = False
    minutes: float | None = None
    episodes: int | None = None
    until_converged: bool = False
    monthly_target: float | None = None
    model_name: str | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: str = "1"
    coordinator: str | None = None
    num_hosts: int | None = None
    host: int | None = None
    deterministic: bool = False
    quiet: bool = False
    report: bool = True
    log: tuple[Literal["mlflow", "wandb"], ...] = ()
    measure: tuple[Literal["num_envs", "num_minibatches"], ...] = ()
    data: DataConfig = DataConfig()
    env: EnvConfig = EnvConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        check_kinds(self, RUN_BOUNDS)
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes={self.minutes} must be above 0.")
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"episodes={self.episodes} must be at least 1, or None.")
        check_bounds(self, RUN_BOUNDS)
        if self.devices != "all" and not (self.devices.isdigit() and int(self.devices) > 0):
            raise ValueError(f"devices={shown(self.devices)} must be a number from 1, or all.")

    @property
    def devices_wanted(self) -> int | Literal["all"]:
        """`devices` as `train` takes it."""
        return "all" if self.devices == "all" else int(self.devices)


def parse_settings(args: Sequence[str]) -> RunSettings:
    """Return the settings of a command line.

    Raises:
        ValueError: naming the flag or key, the value found and the nearest valid one.
        SystemExit: for `--help` (0) and flags that cannot be read (2).
    """
    args, measured = without_auto(spell(translate_flags(args), RunSettings))
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default=None)
    early.add_argument("--config", default=None)
    known, _ = early.parse_known_args(args)
    from_file = _settings_in(known.config) if known.config else {}
    from_file, more = file_without_auto(from_file)
    preset = known.preset or from_file.get("preset", "default")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset={shown(preset)} is unknown; {suggest(str(preset), PRESETS)}")
    base = RunSettings(preset=preset, config=known.config)
    base = merge(base, fitting(preset, {**_leaves(from_file), **_values(args)}), f"preset {preset}")
    base = merge(base, from_file, known.config or "")
    for name, other in REPLACES.items():
        if (_is_given(name, args) or name in measured) and not _is_given(other, args):
            base = merge(base, {other: None}, f"--{name}")
    settings = read(RunSettings, args, default=base, config=(tyro.conf.OmitArgPrefixes,))
    if named := [*measured, *(name for name in more if not _is_given(name, args))]:
        settings = dataclasses.replace(settings, measure=tuple(dict.fromkeys([*settings.measure, *named])))
    for name, value in _leaves(dataclasses.asdict(settings)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is not a finite number; give one, or leave the setting out.")
    return settings


def _settings_in(file: str) -> dict[str, Any]:
    return of_earlier_version(translate_file(read_yaml(file), file))


def _values(args: Sequence[str]) -> dict[str, str]:
    """Return the words that flags are given with, by the name of the setting; of a flag without one the next flag."""
    values = {}
    for place, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            following = args[place + 1] if place + 1 < len(args) else ""
            values[name[2:].replace("-", "_")] = value if equals else following
    return values


def _is_given(name: str, args: Sequence[str]) -> bool:
    return any(word.partition("=")[0].replace("_", "-") == f"--{name.replace('_', '-')}" for word in args)


def data_of_run(run_folder: Path, **changes: Any) -> DataConfig:
    """Return which data a run was trained on.

    Args:
        run_folder: folder written by a training run.
        changes: fields of `DataConfig` to have otherwise.

    Raises:
        ValueError: if the folder holds no configuration, or one without data (a run started from Python), and
            `changes` names none either.
    """
    file = run_folder / CONFIG_FILE
    # Of an exported agent there may be none.
    stored = {} if "data" in changes and not file.exists() else of_earlier_version(read_yaml(str(file)))
    if "data" not in stored and "data" not in changes:
        raise ValueError(f"{file} does not say which data the run was trained on; name it (--data).")
    return dataclasses.replace(merge(RunSettings(), stored, str(file)).data, **changes)


@contextlib.contextmanager
def naming_source(source: str | None, data: DataConfig) -> Iterator[None]:
    """Let errors of reading data say what names a file that is gone, and how to name another place.

    Args:
        source: such as "The run in checkpoints/run-1"; None where the person has named the file.
        data: what is read.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if source is None or data.file is None or data.file.exists():
            raise
        raise ValueError(
            f"{error} {source} names that file, seen from the folder that it was started in; if it has moved, or this"
            " is another folder, say where it is with --data."
        ) from None


def source_of(settings: RunSettings, output: Path | None = None) -> str | None:
    """Return what names the data of a command, for `naming_source`: the run that goes on, or the file of settings."""
    if settings.resume and output is not None:
        return f"The run in {output}"
    if settings.config is None:
        return None
    base = merge(RunSettings(), _settings_in(settings.config), settings.config)
    return settings.config if base.data.data == settings.data.data else None


def differences(settings: RunSettings, run_folder: Path) -> list[str]:
    """Return the settings that differ from those a run was started with, as `name: then -> now`.

    The path of a file may be another: whether the bars are those that the run was trained on is known once they are
    read.
    """
    file = str(run_folder / CONFIG_FILE)
    stored = merge(RunSettings(), of_earlier_version(read_yaml(file)), file)
    before, now = (_leaves(dataclasses.asdict(one)) for one in (stored, settings))
    same = (
        _RUN_ONLY
        | _CHECKED_LATER
        | set(settings.measure)
        | ({"data"} if settings.data.may_be_moved(stored.data) else set())
    )
    return [f"{k}: {before[k]} -> {now[k]}" for k in now if before[k] != now[k] and k not in same]


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_leaves(value) if isinstance(value, Mapping) else {name: value})
    return flat
