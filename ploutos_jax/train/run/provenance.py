"""What a result must say of how it was made: versions, commit, device, data."""

import dataclasses
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ploutos_jax.agents.checksum import digest_of_bars
from ploutos_jax.market.panel import Market

_PACKAGES = ("ploutos_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pandas")
_REPOSITORY = Path(__file__).resolve().parents[3]


def describe_making(market: Market) -> dict[str, Any]:
    """Return versions, git commit, device and data of a run, as JSON holds them."""
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "git_commit": git_commit(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "host": {"system": platform.platform(), "cpus": _num_cpus()},
        "data": {
            "num_assets": market.num_assets,
            "num_bars": market.num_bars,
            "num_features": market.num_features,
            "fingerprint": digest_of_bars(market),
        },
        "calendar": dataclasses.asdict(market.calendar),
    }


def git_commit(folder: Path = _REPOSITORY) -> str | None:
    """Return the commit of the code, with `-dirty` where files differ from it; None outside a git repository."""
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *args: str) -> str:
    command = ["git", "-C", str(folder), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _num_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
