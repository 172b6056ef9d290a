"""How much memory the device has."""

import os
from pathlib import Path

import jax


def device_bytes() -> int | None:
    """Return the memory of the default device: the limit of JAX's allocator, or RAM on a CPU; None if not known."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    container = Path("/sys/fs/cgroup/memory.max")
    allowed = container.read_text(encoding="utf-8").strip() if container.is_file() else "max"
    return min(installed, int(allowed)) if allowed.isdigit() else installed
