"""The settings of the commands as data, for whoever shows them as a form: what each is, and whether values go together.

python -m ploutos_jax.cli.settings_form            all of them, as JSON
python -m ploutos_jax.cli.settings_form --check    a JSON list of words such as ["train", "--num-envs=8"] from stdin

Read from the types that the commands themselves read, in a process of its own: whoever shows a form need not load JAX.
"""

import contextlib
import dataclasses
import inspect
import io
import json
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import tyro

from ploutos_jax.cli.short_help import FIRST
from ploutos_jax.cli.sweep_settings import read_sweep
from ploutos_jax.datasets.config import DATA_BOUNDS
from ploutos_jax.env.bounds import ENV_BOUNDS, Bound
from ploutos_jax.experiment.study.config import SWEEP_BOUNDS, SweepConfig
from ploutos_jax.experiment.study.space import Choice, grid_of, read_space
from ploutos_jax.experiment.validation.config import VALIDATION_BOUNDS, ValidationConfig
from ploutos_jax.runs.command_line import REGISTRY, first_as, read, spell
from ploutos_jax.runs.older import translate_flags
from ploutos_jax.runs.overrides import merge
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.runs.settings import RUN_BOUNDS, RunSettings, parse_settings
from ploutos_jax.train.config import POLICY_BOUNDS, TRAIN_BOUNDS
from ploutos_jax.train.evolution_config import EVOLUTION_BOUNDS

_BOUNDS: dict[str, Bound] = (
    RUN_BOUNDS | DATA_BOUNDS | ENV_BOUNDS | TRAIN_BOUNDS | POLICY_BOUNDS | VALIDATION_BOUNDS | EVOLUTION_BOUNDS
) | SWEEP_BOUNDS
_TITLES = {"": "Run", "data": "Data", "env": "Rules and costs", "train": "Learner", "policy": "Network"}
_TITLES |= {"evolution": "Population"}
_BOXES = str.maketrans("│╭╮╰╯─", "      ")


def describe() -> dict[str, Any]:
    """Return what forms show.

    Returns:
        `commands`: by command a list of sections, each with `title` and `settings`; a setting has `name`, `kind`
        (`bool`, `int`, `float`, `str`), `optional`, `several`, `choices`, `low`, `high`, `default` and `help`.
        `presets`: by name the values that differ from the defaults. `first`: what matters first in training.
    """
    from ploutos_jax.cli.download import DOWNLOAD_BOUNDS, DownloadSettings
    from ploutos_jax.cli.evaluate import EVALUATION_BOUNDS, Evaluation

    _BOUNDS.update(EVALUATION_BOUNDS | DOWNLOAD_BOUNDS)
    training = _sections(RunSettings())
    return {
        "commands": {
            "train": training,
            "validate": [{"title": "Validation", "settings": _settings(ValidationConfig)}, *training],
            "sweep": [{"title": "Sweep", "settings": _settings(SweepConfig)}, *training],
            "evaluate": [{"title": "Evaluation", "settings": _settings(Evaluation)}],
            "download": [{"title": "Download", "settings": _settings(DownloadSettings)}],
        },
        "presets": {name: _values_of(name) for name in PRESETS},
        "first": [{"name": name, "help": text} for name, text in FIRST.items()],
    }


def complaint(words: Sequence[str]) -> str | None:
    """Return what a command says of a command line that it refuses, on one line, or None if it reads it.

    Args:
        words: the command and its flags.
    """
    name, *rest = words
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            _READERS[name](rest)
    except ValueError as error:
        return " ".join(str(error).split())
    except SystemExit:
        text = re.sub(r"\s-{4,}\s", " ", " ".join(said.getvalue().translate(_BOXES).split()))
        return text.partition(" For full helptext")[0].removeprefix("Value error ")
    return None


def _read_validation(words: list[str]) -> None:
    spelled = spell(translate_flags(words), ValidationConfig, RunSettings)
    parse_settings(tyro.cli(ValidationConfig, args=spelled, return_unknown_args=True, registry=REGISTRY)[1])


# Whoever waits for what a command says of a form should not wait for the libraries of another command.
def _read_evaluation(words: list[str]) -> None:
    from ploutos_jax.cli.evaluate import Evaluation

    read(Evaluation, first_as("--checkpoint", words))


def _read_download(words: list[str]) -> None:
    from ploutos_jax.cli.download import DownloadSettings

    read(DownloadSettings, words)


def _read_sweep(words: list[str]) -> None:
    config, settings = read_sweep(words)
    space = read_space(config.over)
    if config.checkpoint is None:  # what an agent is swept over, its own data decide
        first = {n: part.values[0] if isinstance(part, Choice) else part.low for n, part in space.items()}
        merge(settings, first, "over")
    if config.trials is None or config.checkpoint is not None:
        grid_of(space)


_READERS: dict[str, Any] = {
    "train": parse_settings,
    "validate": _read_validation,
    "sweep": _read_sweep,
    "evaluate": _read_evaluation,
    "download": _read_download,
}


def _sections(settings: Any, name: str = "") -> list[dict[str, Any]]:
    inner = [
        section
        for field in dataclasses.fields(settings)
        if dataclasses.is_dataclass(value := getattr(settings, field.name)) and field.name in _TITLES
        for section in _sections(value, field.name)
    ]
    return [{"title": _TITLES[name], "settings": _settings(type(settings))}, *inner]


def _settings(kind: type) -> list[dict[str, Any]]:
    hints, texts = typing.get_type_hints(kind), _help_texts(kind)
    return [
        _setting(field, hints[field.name], texts.get(field.name, ""))
        for field in dataclasses.fields(kind)
        if not dataclasses.is_dataclass(hints[field.name])
    ]


def _setting(field: "dataclasses.Field[Any]", hint: Any, text: str) -> dict[str, Any]:
    bound = _BOUNDS.get(field.name)
    parts = _parts(hint)
    words = [word for part in parts if typing.get_origin(part) is Literal for word in typing.get_args(part)]
    basic = [part for part in parts if part in (bool, int, float, str)]
    several = [part for part in parts if typing.get_origin(part) is tuple]
    is_list = bool(several) and not basic
    one = typing.get_args(several[0])[0] if is_list else basic[0] if basic else str
    default = None if field.default is dataclasses.MISSING else field.default
    return {
        "name": field.name,
        "kind": one.__name__ if one in (bool, int, float) else "str",
        "required": field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        "optional": type(None) in parts,
        "several": is_list,
        "choices": words if words and not basic else [],
        "also": words if basic else [],
        "low": None if bound is None else bound.low,
        "high": None if bound is None else bound.high,
        "range": None if bound is None else str(bound),
        "default": _plain(default),
        "help": text,
    }


def _parts(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _help_texts(kind: type) -> dict[str, str]:
    """Return what the docstring of a class of settings says of each."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")[2]
    entries = re.split(r"^ {4}(?=\w)", section, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for entry in entries:
        names, colon, text = entry.partition(":")
        for name in names.split(",") if colon else ():
            found[name.strip()] = " ".join(text.split())
    return found


def _values_of(preset: str) -> dict[str, Any]:
    plain, chosen = _leaves(RunSettings()), _leaves(parse_settings(["--preset", preset]))
    return {name: _plain(value) for name, value in chosen.items() if value != plain[name] and name != "preset"}


def _leaves(settings: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        values |= _leaves(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        print(json.dumps({"complaint": complaint(json.load(sys.stdin))}))
    else:
        print(json.dumps(describe()))
