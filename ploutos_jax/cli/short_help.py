"""Help of a command with hundreds of settings: the ten that matter first, all of them on request."""

import argparse
import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ploutos_jax.runs.command_line import leaf_types
from ploutos_jax.runs.settings import RunSettings, parse_settings

_WIDTH = 100
_COLUMN = 22

FIRST = {
    "data": "file or folder of bars; `synthetic` makes 30 assets, `planted` a market with a known answer",
    "tickers": "use these only, A,B or A B; --liquid 25 takes those that traded most",
    "features": "what the agent sees: `core` (26), `core_ranks`, `standard` (85); without it `core`",
    "action": "`bands` and `weights` are shares of equity, `discrete` buys and sells, `levels` few sizes",
    "spread_bps": "quoted spread, of which a fill pays half; --slippage-bps and --fees are the other costs",
    "total_timesteps": "environment steps of the run, all environments together",
    "num_envs": "accounts that step side by side; 4096 on a GPU",
    "num_seeds": "agents trained at once, each shown, and all of them as one",
    "output": "run folder; without it the next free checkpoints/run-N. --resume goes on with one",
    "device": "`auto` takes a GPU if there is one",
}
"""Settings of a run that are looked for most, and what each is in a line."""


HELP = ("-h", "--help", "--help-all")


def wants_short(args: Sequence[str]) -> bool:
    """Return whether a command line asks for the short help."""
    return any(word in ("-h", "--help") for word in args) and "--help-all" not in args


def settings_in_short(args: Sequence[str]) -> str:
    """Return the ten settings of a run that matter first, one a paragraph, with their defaults.

    Args:
        args: the command line; a preset in it changes the defaults.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", default="default")
    values = _values(parse_settings(["--preset", parser.parse_known_args([*args])[0].preset]))
    return "\n".join(_entry(name, text, values[name]) for name, text in FIRST.items())


def describe_rest() -> str:
    """Return how many settings there are, what they are about, and how the whole list is shown."""
    words = (
        f"{len(leaf_types(RunSettings))} settings in all, costs, stops, limits, rewards, networks and learners among"
        f" them: {_called()} --help-all. --preset NAME starts from named ones (docs/presets.md), --config FILE from a"
        " YAML file. None is off; 0.02 is 2 %; a bps is a hundredth of a percent; cash is dollars; 1e6 is 1000000;"
        " lists take commas or spaces."
    )
    return textwrap.fill(words, _width())


def help_of_train(args: Sequence[str]) -> str:
    """Return the short help of training, given the command line."""
    return "\n".join(
        [
            f"usage: {_called()} [--data FILE] [SETTINGS] [--detach]",
            "",
            "Train a trading agent and score it on bars it never saw; --detach does it in the background.",
            "",
            settings_in_short(args),
            "",
            describe_rest(),
        ]
    )


def _called() -> str:
    """Return the command as it was typed; a script by its name alone."""
    name = sys.argv[0]
    return name if name.startswith("ploutos") else f"python {name}"


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDTH)


def _entry(name: str, text: str, value: Any) -> str:
    flag = f"  --{name.replace('_', '-')}"
    given = "" if value in (None, ()) else f" (default: {value})"
    body = textwrap.wrap(text + given, max(_width() - _COLUMN, 30))
    lines = [f"{flag:<{_COLUMN}}{body[0]}", *(" " * _COLUMN + line for line in body[1:])]
    return "\n".join(lines)


def _values(settings: Any) -> Mapping[str, Any]:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        values.update(_values(value) if dataclasses.is_dataclass(value) else {field.name: value})
    return values
