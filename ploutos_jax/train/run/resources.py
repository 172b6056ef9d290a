"""What a run takes of the machine: memory of device and host."""

import os
import sys
from pathlib import Path

import jax

MACHINE_FIGURES = (
    "seconds",
    "steps_per_second",
    "update_seconds",
    "compile_seconds",
    "host_memory_bytes",
    "device_memory_bytes",
)
"""Figures of a row that depend on the machine and its load; all others repeat with the same seed."""


def machine_figures(update_seconds: float, compile_seconds: float) -> dict[str, float | int | None]:
    """Return the figures of a row that say what it took: seconds of an update and of compiling, bytes of memory."""
    return {
        "update_seconds": round(update_seconds, 4),
        "compile_seconds": round(compile_seconds, 3),
        "host_memory_bytes": host_memory_bytes(),
        "device_memory_bytes": device_memory_bytes(),
    }


def host_memory_bytes() -> int | None:
    """Return the memory that this process holds now (on macOS: at its peak), or None where it is not known."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        import resource  # not on every system

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def device_memory_bytes() -> int | None:
    """Return the most memory that was in use at once on the default device; None on a CPU, which shares the host's."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
