"""What a run says before hours are spent, and the command to type after it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

from ploutos_jax.datasets.config import BOOTSTRAP
from ploutos_jax.market.panel import Market
from ploutos_jax.runs.settings import RunSettings

_FOR_GPU = ("gpu",)
_FOR_MINUTES = ("sentio", "sentio-maskable", "sentio-enhanced")
_STRESSED = 16
"""Draws of each scenario that the next command asks for: a few seconds' worth."""
_ROOT = Path(__file__).resolve().parents[2]


def describe_start(settings: RunSettings, output: Path) -> str:
    """Return the first line: where the run computes and writes, and what it is on."""
    device = jax.local_devices()[0]
    kind = "" if device.platform == "cpu" else f" ({device.device_kind})"
    data = settings.data
    made = data.is_synthetic or data.is_planted
    bars = f"{data.data} (made up, not those of a market)" if made else data.data
    goes_on = ", which goes on" if settings.resume else ""
    return f"Run folder {output}{goes_on}; device {device.platform}{kind}; data {bars}."


def describe_machine(settings: RunSettings) -> str | None:
    """Return in which way the machine is not what the settings are for; None where it is."""
    if settings.preset not in _FOR_GPU or jax.default_backend() != "cpu":
        return None
    return (
        f"--preset {settings.preset} is for a GPU, and JAX finds no GPU: {settings.train.total_timesteps:,} steps of"
        f" {settings.train.num_envs:,} environments may take days on a CPU. Install the CUDA build"
        " (ploutos_jax[cuda12]), or leave the preset out."
    )


def describe_bars(settings: RunSettings, market: Market) -> str | None:
    """Return in which way the bars are not those that a preset is for; None where they are, or nobody knows."""
    if settings.preset not in _FOR_MINUTES or market.labels is None or market.calendar.is_intraday:
        return None
    return (
        f"--preset {settings.preset} is for bars of a minute, and these bars are days or longer"
        f" ({market.calendar.describe()}): its episodes of {settings.env.episode_length} bars, its features and its"
        " costs mean something else here."
    )


def warn(text: str | None, said: list[str]) -> None:
    """Print a warning to stderr, of a quiet command too, and keep it."""
    if text is not None:
        Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(f"Warning: {text}")
        said.append(f"Warning: {text}")


def next_command(settings: RunSettings, output: Path) -> str:
    """Return the command that scores a run under stress, as it can be typed in any folder, with this interpreter.

    Without stress where the bars lie in files.
    """
    words = [*_evaluate(), "--checkpoint", str(output.absolute())]
    if settings.data.device_bars is None:
        words += ["--stress", str(_STRESSED), "--output", str((output / "stress").absolute())]
    # The run knows its files as they were named, seen from the folder that it was started in.
    data = settings.data
    if data.file is not None and not data.file.is_absolute():
        words += ["--data", (BOOTSTRAP if data.is_bootstrap else "") + str(data.file.absolute())]
    if data.universe is not None and not Path(data.universe).is_absolute():
        words += ["--universe", str(Path(data.universe).absolute())]
    return shlex.join(words)


def _evaluate() -> Sequence[str]:
    script = _ROOT / "scripts" / "evaluate.py"
    if not sys.argv[0].startswith("ploutos ") and script.is_file():
        return [sys.executable, str(script)]
    return [sys.executable, "-m", "ploutos_jax.cli.main", "evaluate"]
