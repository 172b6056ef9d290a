"""The settings of a sweep: from a command line, or those that it was started with."""

import argparse
import dataclasses
from pathlib import Path

import tyro

from ploutos_jax.experiment.study.config import SETTINGS, SweepConfig, default_output
from ploutos_jax.runs.command_line import REGISTRY, read, spell
from ploutos_jax.runs.older import translate_flags
from ploutos_jax.runs.overrides import merge
from ploutos_jax.runs.settings import RunSettings, parse_settings
from ploutos_jax.runs.yaml_file import read_yaml


def read_sweep(args: list[str]) -> tuple[SweepConfig, RunSettings]:
    """Return the settings of a command line; `--over` may stand in it several times.

    Raises:
        ValueError: naming what cannot be read.
        SystemExit: for values that cannot be read (2).
    """
    words = spell(translate_flags(args), SweepConfig, RunSettings)
    over: list[str] = []
    others: list[str] = []
    is_over = False
    for word in words:
        is_over = word == "--over" if word.startswith("--") else is_over
        (over if is_over else others).append(word)
    searched = [word for word in over if word != "--over"]
    if not searched and "--resume" in others:
        return _as_started(others)
    config, rest = tyro.cli(
        SweepConfig, args=["--over", *searched, *others], return_unknown_args=True, registry=REGISTRY
    )
    return config, parse_settings(rest)


def _as_started(words: list[str]) -> tuple[SweepConfig, RunSettings]:
    """Return the settings that a sweep was started with, and what of one call the words say.

    Raises:
        ValueError: if there is no sweep, or its file cannot be read.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--output", default=None)
    file = Path(early.parse_known_args(words)[0].output or default_output(resume=True)) / SETTINGS
    if not file.is_file():
        raise ValueError(f"There is no sweep to resume in {file.parent}.")
    content = read_yaml(str(file))
    own = {field.name for field in dataclasses.fields(SweepConfig)}
    searched = merge(SweepConfig(()), {n: value for n, value in content.items() if n in own}, str(file))
    shared = merge(RunSettings(), {n: value for n, value in content.items() if n not in own}, str(file))
    config, rest = tyro.cli(SweepConfig, args=words, default=searched, return_unknown_args=True, registry=REGISTRY)
    return config, read(RunSettings, rest, default=shared, config=(tyro.conf.OmitArgPrefixes,))
