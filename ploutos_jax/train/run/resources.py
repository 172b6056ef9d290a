"""What a run takes of the machine: time, memory and utilisation of devices and host."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import jax

MACHINE_FIGURES = (
    "seconds",
    "steps_per_second",
    "update_seconds",
    "compile_seconds",
    "host_memory_bytes",
    "device_memory_bytes",
    "program_share",
    "host_cpu_share",
    "data_wait_share",
)
"""Figures of a row that depend on the machine and its load; all others repeat with the same seed."""


class Meter:
    """Measures what calls of a compiled program take, from one `figures` to the next.

    Args:
        compile_seconds: that compiling took.
    """

    def __init__(self, compile_seconds: float) -> None:
        self._compile_seconds = compile_seconds
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def figures(self, call_seconds: float, updates: int) -> dict[str, Any]:
        """Return the figures of the rows of a call, which say what it took.

        `program_share` is the share of the time since the last call that was spent in the compiled program; the rest
        went into figures, scores and checkpoints, while a GPU had nothing to do; of a market that lies in files it
        holds what was waited for the next slice (`data_wait_share`). `host_cpu_share` is the CPU time of
        this process, of all its threads, over that of all cores it may use. Of several devices,
        `device_memory_bytes_by_device` holds the peak of each.

        Args:
            call_seconds: of the call.
            updates: that it made.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        passed = max(wall - self._wall, 1e-9)
        share, of_cores = call_seconds / passed, (cpu - self._cpu) / (passed * _cores())
        self._wall, self._cpu = wall, cpu
        devices = jax.local_devices()
        several = {"device_memory_bytes_by_device": [_peak(each) for each in devices]} if len(devices) > 1 else {}
        return {
            "update_seconds": round(call_seconds / max(updates, 1), 4),
            "compile_seconds": round(self._compile_seconds, 3),
            "host_memory_bytes": host_memory_bytes(),
            "device_memory_bytes": device_memory_bytes(),
            "program_share": round(min(share, 1.0), 3),
            "host_cpu_share": round(of_cores, 3),
            **several,
        }


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    return _peak(jax.local_devices()[0])


def _peak(device: Any) -> int | None:
    return (device.memory_stats() or {}).get("peak_bytes_in_use")
