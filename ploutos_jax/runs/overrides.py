"""Nested frozen dataclasses of settings, changed by what a YAML file says; every message names the key."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal

from ploutos_jax.env.bounds import shown
from ploutos_jax.env.broker.fees import FeeSchedule

ALIASES = {
    "timesteps": "total_timesteps",
    "n_envs": "num_envs",
    "n_steps": "rollout_length",
    "n_epochs": "num_epochs",
    "minibatches": "num_minibatches",
    "ent_coef": "entropy_coef",
    "vf_coef": "value_coef",
    "lr": "learning_rate",
    "envs": "num_envs",
    "steps": "total_timesteps",
    "total_steps": "total_timesteps",
    "max_steps": "total_timesteps",
    "n_seeds": "num_seeds",
    "discount": "gamma",
    "algo": "algorithm",
    "symbols": "tickers",
    "symbol": "tickers",
    "ticker": "tickers",
    "capital": "initial_cash",
    "cash": "initial_cash",
    "initial_balance": "initial_cash",
    "initial_amount": "initial_cash",
    "out": "output",
}
"""Other names of settings: those of Stable-Baselines3, which the older systems have, and what people type."""

REPLACES = {"num_minibatches": "batch_size"}
"""A setting, and the other way to say the same that it switches off, if that was given earlier (by a preset, say)."""


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
        name = ALIASES.get(name, name)
        if name not in homes:
            raise ValueError(f"{source}: unknown setting {shown(key)}; {suggest(name, homes)}")
        section = homes[name]
        if section is not None:
            by_section.setdefault(section, {})[name] = value
        elif dataclasses.is_dataclass(getattr(settings, name)):
            by_section.setdefault(name, {}).update(_of_section(getattr(settings, name), name, value, source))
        else:
            own[name] = _checked(settings, name, value, source)
    for section, inner in by_section.items():
        own[section] = merge(getattr(settings, section), inner, source)
    for name, other in REPLACES.items():
        if name in own and own.get(other) is None:
            own[other] = None
    try:
        merged = dataclasses.replace(settings, **own)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    for name, other in REPLACES.items():
        if name in own and getattr(merged, name) != own[name]:
            raise ValueError(
                f"{source}: {name}={own[name]} and {other}={own[other]} contradict each other; give one of them."
            )
    return merged


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
    raise ValueError(f"{source}: {name} is a section; give its settings, found {shown(value)}.")


def _checked(settings: Any, name: str, value: Any, source: str) -> Any:
    wanted = typing.get_type_hints(type(settings))[name]
    found = _convert(value, wanted)
    if found is _WRONG:
        raise ValueError(f"{source}: {name}={shown(value)} has the wrong type; it takes {_describe(wanted)}.")
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
    if wanted is int and isinstance(value, str):  # YAML reads 1e6, which has no dot, as text
        try:
            return whole_number(value)
        except ValueError:
            return _WRONG
    if wanted is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return _to_float(value)
    if wanted is FeeSchedule and isinstance(value, Mapping):
        return _to_schedule(value)
    if wanted is str and isinstance(value, date | datetime):
        return value.isoformat()  # YAML reads 2017-01-01 as a date
    is_match = isinstance(wanted, type) and type(value) is wanted
    return value if is_match else _WRONG


def whole_number(word: str) -> int:
    """Return a whole number as people write it: 1000000, 1_000_000 or 1e6.

    Raises:
        ValueError: if it is none, such as 2.5.
    """
    if re.fullmatch(r"\s*[+-]?\d+(_\d+)*\s*", word):
        return int(word)
    if re.fullmatch(r"\s*[+-]?\d+(\.\d*)?[eE]\+?\d{1,2}\s*", word) and float(word).is_integer():
        return int(float(word))
    raise ValueError(f"{shown(word)} is no whole number")


def _to_schedule(value: Mapping[str, Any]) -> Any:
    """Return a fee schedule that is written out."""
    try:
        return FeeSchedule.from_plain(value)
    except (KeyError, TypeError, ValueError):
        return _WRONG


def _to_float(value: Any) -> Any:
    """Return a number; YAML reads 1e-4, which has no dot, as text."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        return _WRONG


def _describe(wanted: Any) -> str:
    if typing.get_origin(wanted) is Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(wanted))
    return getattr(wanted, "__name__", None) or str(wanted).replace("typing.", "")


_LONGEST_NAME = 100
"""Signs of a name that are compared with known ones; a longer one is no misspelling."""


def suggest(name: str, known: Any) -> str:
    """Return a hint at the known name that is nearest."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME], list(known), n=1, cutoff=0.0)
    return f"did you mean {near[0]!r}?" if near else ""
