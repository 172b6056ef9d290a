"""Settings of a run from the command line: defaults, then a preset, then a YAML file, then flags."""

import argparse
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import tyro
import yaml

from ploutos_jax.env.config import EnvConfig, FeeSetting, RewardSetting
from ploutos_jax.market.source import DataConfig
from ploutos_jax.train.config import MAY_CHANGE, PRESETS, TrainConfig
from ploutos_jax.train.run_folder import CONFIG_FILE

_RUN_ONLY = MAY_CHANGE | {"config", "resume", "quiet", "minutes", "device", "output", "feature_cache"}
"""Settings of one call that may differ when a run is continued."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Train a trading agent and score it on bars it never saw.

    Attributes:
        preset: named settings to start from.
        config: YAML file with settings, such as the config.yaml of a run; flags win over it.
        output: run folder for checkpoints and figures; the next free checkpoints/run-N without it.
        resume: continue the run in `output` (the newest one without it) from its newest checkpoint.
        minutes: stop after this many minutes, with a checkpoint.
        device: where to run; `auto` takes a GPU if there is one.
        deterministic: make GPU results repeatable bit for bit (slower; the CPU always is).
        quiet: print the final table only.
        data: which bars to use.
        env: rules and costs.
        train: learner.
    """

    preset: Literal[tuple(PRESETS)] = "default"  # type: ignore[valid-type]
    config: str | None = None
    output: str | None = None
    resume: bool = False
    minutes: float | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    deterministic: bool = False
    quiet: bool = False
    data: DataConfig = DataConfig()
    env: EnvConfig = EnvConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes={self.minutes} must be above 0.")


def parse_settings(args: Sequence[str]) -> RunSettings:
    """Return the settings of a command line.

    Raises:
        ValueError: naming the key, the value found and the nearest valid one.
        SystemExit: for `--help` (0) and flags that cannot be read (2).
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", default=None)
    early.add_argument("--config", default=None)
    known, _ = early.parse_known_args(args)
    from_file = read_yaml(known.config) if known.config else {}
    preset = known.preset or from_file.get("preset", "default")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; {_suggest(str(preset), PRESETS)}")
    base = RunSettings(preset=preset, config=known.config)
    base = merge(base, {"train": PRESETS[preset]}, f"preset {preset}")
    base = merge(base, from_file, known.config or "")
    settings = tyro.cli(
        RunSettings, args=list(args), default=base, config=(tyro.conf.OmitArgPrefixes,), registry=_NAMED
    )
    for name, value in _leaves(dataclasses.asdict(settings)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is not a finite number; give one, or leave the setting out.")
    return settings


def _by_name(setting: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Read settings that may also be Python objects by their names."""
    if setting.type not in (RewardSetting, FeeSetting):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


_NAMED = tyro.constructors.ConstructorRegistry()
_NAMED.primitive_rule(_by_name)


def read_yaml(path: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ValueError: if the file is missing, is no YAML or holds no mapping.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"No such configuration file: {path}.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold settings as `name: value`, found {type(content).__name__}.")
    return content


def merge(settings: Any, changes: Mapping[str, Any], source: str) -> Any:
    """Return settings with changes applied.

    Args:
        settings: a frozen dataclass, possibly with dataclasses inside.
        changes: by field name, nested as the dataclasses are; names of inner fields are also found at the top, as
            flags are. `-` and `_` are the same.
        source: where the changes come from, for messages.

    Raises:
        ValueError: naming an unknown key with the nearest known one, or a value of the wrong type.
    """
    homes = _homes(settings)
    by_section: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for key, value in changes.items():
        name = str(key).replace("-", "_")
        if name not in homes:
            raise ValueError(f"{source}: unknown setting {key!r}; {_suggest(name, homes)}")
        section = homes[name]
        if section is not None:
            by_section.setdefault(section, {})[name] = value
        elif dataclasses.is_dataclass(getattr(settings, name)):
            by_section.setdefault(name, {}).update(_of_section(getattr(settings, name), name, value, source))
        else:
            own[name] = _checked(settings, name, value, source)
    for section, inner in by_section.items():
        own[section] = merge(getattr(settings, section), inner, source)
    try:
        return dataclasses.replace(settings, **own)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def data_of_run(run_folder: Path, **changes: Any) -> DataConfig:
    """Return which data a run was trained on.

    Args:
        run_folder: folder written by a training run.
        changes: fields of `DataConfig` to have otherwise.

    Raises:
        ValueError: if the folder holds no configuration, or one without data (a run started from Python) and
            `changes` names none either.
    """
    file = run_folder / CONFIG_FILE
    stored = read_yaml(str(file))
    if "data" not in stored and "data" not in changes:
        raise ValueError(f"{file} does not say which data the run was trained on; name it (--data).")
    return dataclasses.replace(merge(RunSettings(), stored, str(file)).data, **changes)


def differences(settings: RunSettings, run_folder: Path) -> list[str]:
    """Return the settings that differ from those a run was started with, as `name: then -> now`."""
    file = str(run_folder / CONFIG_FILE)
    before = _leaves(dataclasses.asdict(merge(RunSettings(), read_yaml(file), file)))
    now = _leaves(dataclasses.asdict(settings))
    return [f"{k}: {before[k]} -> {now[k]}" for k in now if before[k] != now[k] and k not in _RUN_ONLY]


def _homes(settings: Any) -> dict[str, str | None]:
    """Return for every name, own or inner, the section that holds it (None: here)."""
    homes: dict[str, str | None] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            homes.update({inner: field.name for inner in _homes(value)})
    homes.update({field.name: None for field in dataclasses.fields(settings)})
    return homes


def _of_section(section: Any, name: str, value: Any, source: str) -> Mapping[str, Any]:
    """Return what a file gives for a section as a mapping; a section with nothing below it changes nothing."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    # `data` names both the section and the file in it; a plain value means the file.
    if name in {field.name for field in dataclasses.fields(section)}:
        return {name: value}
    raise ValueError(f"{source}: {name} is a section; give its settings, found {value!r}.")


def _checked(settings: Any, name: str, value: Any, source: str) -> Any:
    wanted = typing.get_type_hints(type(settings))[name]
    found = _convert(value, wanted)
    if found is _WRONG:
        raise ValueError(f"{source}: {name}={value!r} has the wrong type; it takes {_describe(wanted)}.")
    return found


_WRONG = object()


def _convert(value: Any, wanted: Any) -> Any:
    """Return a YAML value as the wanted type, or `_WRONG`."""
    origin, options = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        for option in sorted(options, key=lambda o: o is not type(None)):
            found = _convert(value, option)
            if found is not _WRONG:
                return found
        return _WRONG
    if origin is Literal:
        return value if value in options else _WRONG
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return _WRONG
        items = tuple(_convert(item, options[0]) for item in value)
        return _WRONG if _WRONG in items else items
    if wanted is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return _to_float(value)
    if wanted is str and isinstance(value, date | datetime):
        return value.isoformat()  # YAML reads 2017-01-01 as a date
    is_match = isinstance(wanted, type) and type(value) is wanted
    return value if is_match else _WRONG


def _to_float(value: Any) -> Any:
    """Return a number; YAML reads 1e-4, which has no dot, as text."""
    try:
        return float(value)
    except ValueError:
        return _WRONG


def _describe(wanted: Any) -> str:
    if typing.get_origin(wanted) is Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(wanted))
    return getattr(wanted, "__name__", None) or str(wanted).replace("typing.", "")


def _suggest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"did you mean {near[0]!r}?" if near else ""


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_leaves(value) if isinstance(value, Mapping) else {name: value})
    return flat
