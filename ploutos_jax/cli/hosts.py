"""Several hosts: a command joins them before JAX starts, and ends when one of them is lost."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.early import say_to_stderr
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.hosts import HostLostError, Hosts, join

LOST = 75
"""Exit code of a run that has lost a host: trying again, with --resume, helps (`EX_TEMPFAIL`)."""
_BAD_INPUT = 2


@contextlib.contextmanager
def ending_together(settings: RunSettings) -> Iterator[int]:
    """Choose the devices of a run, join its hosts, and give this one's place, 0 for the one that writes.

    A process that ends by an error takes the others with it: it leaves without the farewell that JAX would wait for,
    and they find its connection gone.

    Raises:
        ValueError: if the hosts or devices are not as asked for; of a run on one host, whatever is raised inside.
    """
    configure(settings.device, deterministic=settings.deterministic, join=lambda: _join(settings))
    hosts = Hosts.here()
    if hosts.number == 1:
        yield 0
        return
    try:
        yield hosts.place
    except HostLostError as error:
        _leave(f"Host {hosts.place}: {error}", LOST)
    except (ValueError, OSError) as error:
        _leave(f"Error: host {hosts.place}: {error}", _BAD_INPUT)
    except Exception:
        # Whatever it is: JAX's farewell would wait for hosts that wait for this one.
        _leave(traceback.format_exc(), 1)


def _join(settings: RunSettings) -> None:
    join(settings.coordinator, settings.num_hosts, settings.host)


def _leave(text: str, code: int) -> None:
    """Say why and end the process, without waiting for anybody."""
    say_to_stderr(text)
    sys.stdout.flush()
    os._exit(code)
