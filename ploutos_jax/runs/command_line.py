"""A command line as people type it, to settings: other names, numbers such as 1e6, lists with commas or with spaces."""

import dataclasses
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from ploutos_jax.env.config import FeeSetting, RewardSetting
from ploutos_jax.runs.meanings import advise
from ploutos_jax.runs.overrides import ALIASES, whole_number

_T = TypeVar("_T")
_Spec = tyro.constructors.PrimitiveConstructorSpec[Any]

_IN_ONE_WORD = frozenset({"tickers", "spans", "columns"})
"""Lists that some settings hold as one text with commas."""
_FOLDERS = frozenset({"compare", "checkpoint", "data"})
"""Lists of files and folders, whose names may hold commas."""
_WITH_COMMAS = frozenset({"over"})
"""Lists whose entries hold commas."""
_ALWAYS = frozenset({"help", "help_all"})


def read(kind: type[_T], args: Sequence[str], **options: Any) -> _T:
    """Return the settings of a command line.

    Args:
        kind: a dataclass of settings.
        args: the words.
        options: of `tyro.cli`.

    Raises:
        ValueError: naming a flag that is unknown, and what may be meant.
        SystemExit: for `--help` (0) and values that cannot be read (2).
    """
    words = ["--help" if word == "--help-all" else word for word in spell(args, kind)]
    return tyro.cli(kind, args=words, registry=REGISTRY, **options)


def first_as(flag: str, args: Sequence[str]) -> list[str]:
    """Return the words with a flag before those that stand first: `RUN --best` as `--checkpoint RUN --best`."""
    words = list(args)
    return [flag, *words] if words and not words[0].startswith("-") else words


def spell(args: Sequence[str], *kinds: type) -> list[str]:
    """Return the words of a command line with flags by their own names, and lists as their settings take them.

    Args:
        args: the words.
        kinds: dataclasses of the settings that there are, sections included.

    Raises:
        ValueError: naming a flag that is unknown, and what may be meant.
    """
    types = {name: of for kind in kinds for name, of in leaf_types(kind).items()}
    words: list[str] = []
    for flag, values in _by_flag(args):
        if flag is None:
            words += values
            continue
        typed, equals, value = flag.partition("=")
        name = typed[2:].replace("-", "_")
        name = name if name in types else ALIASES.get(name, name)
        if name not in types and name not in _ALWAYS and not _switches_off(name, types):
            advice = advise(typed[2:], types)
            raise ValueError(f"{typed} is no setting; {advice} --help-all lists every one.")
        typed = f"--{name.replace('_', '-')}"
        of = types.get(name)
        if typing.get_origin(of) is tuple:
            parts = [value, *values] if equals else values
            words += [typed, *(part for word in parts for part in _parts(word, name))]
        elif name in _IN_ONE_WORD and len(values) > 1 and not equals:
            words += [typed, ",".join(word.strip(",") for word in values)]
        else:
            words += [f"{typed}{equals}{value}", *values]
    return words


def leaf_types(kind: type) -> dict[str, Any]:
    """Return the type of every setting by its name; sections, which are dataclasses inside, are gone into."""
    types: dict[str, Any] = {}
    for name, of in typing.get_type_hints(kind).items():
        if name not in {field.name for field in dataclasses.fields(kind)}:
            continue
        if dataclasses.is_dataclass(of):
            types.update(leaf_types(typing.cast(type, of)))
        else:
            types[name] = of
    return types


def _by_flag(args: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """Return each flag with the words up to the next; what stands before all of them under None."""
    groups: list[tuple[str | None, list[str]]] = [(None, [])]
    for word in args:
        if word.startswith("--") and len(word) > 2:
            groups.append((word, []))
        else:
            groups[-1][1].append(word)
    return groups


def _switches_off(name: str, types: Collection[str]) -> bool:
    return name.startswith("no_") and name[3:] in types


def _parts(word: str, name: str) -> list[str]:
    if name in _WITH_COMMAS or (name in _FOLDERS and Path(word).exists()):
        return [word]
    return [part for part in word.split(",") if part.strip()]


def _by_name(setting: tyro.constructors.PrimitiveTypeInfo) -> _Spec | None:
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


def _number_or_auto(word: str) -> float | str:
    return word.lower() if word.lower() == "auto" else float(word)


_OPTIONAL: tuple[tuple[Any, Any, str], ...] = (
    (float | Literal["auto"] | None, _number_or_auto, "FLOAT|auto"),
    (float | None, float, "FLOAT"),
    (int | None, whole_number, "INT"),
    (str | None, str, "STR"),
)


def _or_none(setting: tyro.constructors.PrimitiveTypeInfo) -> _Spec | None:
    """Read settings that can be off; help then shows the kind of value alone, as None is explained once for all."""
    for wanted, kind, metavar in _OPTIONAL:
        if setting.type == wanted:
            return tyro.constructors.PrimitiveConstructorSpec(
                nargs=1,
                metavar=metavar,
                instance_from_str=lambda words, kind=kind: None if words[0].lower() == "none" else kind(words[0]),
                is_instance=lambda value, kind=kind: (
                    value is None or (isinstance(value, kind) if isinstance(kind, type) else True)
                ),
                str_from_instance=lambda value: [str(value)],
            )
    return None


def _whole(setting: tyro.constructors.PrimitiveTypeInfo) -> _Spec | None:
    """Read whole numbers as people write them, 1e6 too."""
    if setting.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


REGISTRY = tyro.constructors.ConstructorRegistry()
REGISTRY.primitive_rule(_by_name)
REGISTRY.primitive_rule(_or_none)
REGISTRY.primitive_rule(_whole)
