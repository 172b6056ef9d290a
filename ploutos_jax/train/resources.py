"""What a run takes of the machine: memory of device and host."""

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


def host_memory_bytes() -> int | None:
    """Return the memory that this process holds now (on macOS: at its peak), or None where it is not known."""
    status = Path("/proc/self/statm")
    if status.exists():
        import resource

        return int(status.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def device_memory_bytes() -> int | None:
    """Return the most memory of the default device that was in use at once, or None on a CPU, which shares the host's."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
