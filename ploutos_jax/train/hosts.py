"""Hosts: processes of one run on several machines, what they agree on, and how one that is lost ends it.

Each host reads the data itself and computes with its own devices; the first one alone writes, and says how far a call
goes, so that clocks of others count for nothing. A run of one process does nothing here.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

SECONDS_TO_MISS = 20
"""After so many seconds without a sign of life a host counts as lost, where its connection does not say so at once."""
_SECONDS_TO_MEET = 300
_SECONDS_TO_END = 3600
"""A host that has nothing more to do waits as long for the first one to score and to write."""

_SECONDS_TO_ASK = 5
_ENDED = "ploutos/ended"
_ADDRESS, _NUMBER, _PLACE = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_MEETINGS = itertools.count()
"""Numbers those of this process."""


class HostLostError(RuntimeError):
    """Another host of the run does not answer."""


def join(coordinator: str | None, num_hosts: int | None, host: int | None) -> None:
    """Make this process one of the hosts of a run, before JAX starts; without a coordinator it stays alone.

    Args:
        coordinator: address and port of the first host, or `auto` where Slurm, Open MPI or Kubernetes tells; by default
            that of the environment variable JAX_COORDINATOR_ADDRESS.
        num_hosts: how many there are; JAX_NUM_PROCESSES by default.
        host: which one this is, from 0; JAX_PROCESS_ID by default.

    Raises:
        ValueError: if something is missing, or the hosts do not find each other.
    """
    coordinator = coordinator or os.environ.get(_ADDRESS)
    if jax.distributed.is_initialized():  # by Ray, say
        return
    if coordinator is None:
        if num_hosts is not None or host is not None:
            raise ValueError(
                f"num_hosts={num_hosts}, host={host}: give --coordinator HOST:PORT too, the address of host 0."
            )
        return
    number, place = (_number(value, name) for value, name in ((num_hosts, _NUMBER), (host, _PLACE)))
    if coordinator != "auto":
        _check(coordinator, number, place)
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator,
            number,
            place,
            initialization_timeout=_SECONDS_TO_MEET,
            heartbeat_timeout_seconds=SECONDS_TO_MISS,
            shutdown_timeout_seconds=_SECONDS_TO_END,
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"The hosts of the run do not find each other at {coordinator} ({' '.join(str(error).split())[:200]})."
            " Start all of them with the same --coordinator and --num-hosts, and --host 0, 1, and so on."
        ) from error


def _number(value: int | None, name: str) -> int | None:
    text = os.environ.get(name)
    if value is not None or text is None:
        return value
    if not text.isdigit():
        raise ValueError(f"The environment variable {name}={text!r} is no whole number.")
    return int(text)


def _check(coordinator: str, number: int | None, place: int | None) -> None:
    address, _, port = coordinator.rpartition(":")
    if not address or not port.isdigit():
        raise ValueError(f"coordinator={coordinator!r}: write HOST:PORT, such as node1:1234, or auto.")
    if number is None or place is None or not 0 <= place < number:
        raise ValueError(
            f"coordinator={coordinator}, num_hosts={number}, host={place}: give both numbers, host from 0 to"
            " num_hosts - 1."
        )


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The hosts of a run.

    Attributes:
        number: how many.
        place: which one this is, from 0.
    """

    number: int = 1
    place: int = 0

    @classmethod
    def here(cls) -> "Hosts":
        """Return those that this process has joined."""
        if not jax.distributed.is_initialized():
            return cls()
        return cls(jax.process_count(), jax.process_index())

    @property
    def is_first(self) -> bool:
        """Whether this host writes."""
        return self.place == 0

    def of_all(self, numbers: Sequence[int]) -> np.ndarray:
        """Return the whole numbers of every host, `[hosts, n]`; all must ask together.

        They go by the coordinator, which waits for a host that is late; sums over devices, of a processor, give up
        after 30 seconds, and so begin when all hosts have come to this.
        """
        own = [int(each) for each in numbers]
        if self.number == 1:
            return np.asarray([own])
        # What JAX itself and Orbax meet by; it has no public name.
        from jax._src import distributed

        client: Any = distributed.global_state.client
        meeting = next(_MEETINGS)
        with losing():
            client.key_value_set(f"ploutos/{meeting}/{self.place}", json.dumps(own))
            found = [json.loads(_wait_for(client, f"ploutos/{meeting}/{host}")) for host in range(self.number)]
            if meeting > 1:  # all have read what was said two meetings ago
                client.key_value_delete(f"ploutos/{meeting - 2}/{self.place}")
        return np.asarray(found)

    def first_says(self, *numbers: int) -> list[int]:
        """Return the whole numbers of the first host."""
        return [int(each) for each in self.of_all(numbers)[0]]

    def any_says(self, word: bool) -> bool:
        """Return whether some host says yes."""
        return bool(self.of_all([word]).any())

    def sent(self, tree: Any) -> Any:
        """Return the arrays that the first host has; others give arrays of the same shapes."""
        if self.number == 1:
            return tree
        from jax.experimental import multihost_utils

        leaves, structure = jax.tree.flatten(tree)
        keys = [jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
        raw = [np.asarray(jax.random.key_data(x) if key else x) for x, key in zip(leaves, keys, strict=True)]
        self.of_all([])
        with losing():
            got = multihost_utils.broadcast_one_to_all(raw)
        local = [jax.numpy.asarray(np.asarray(x)) for x in got]
        made = [jax.random.wrap_key_data(x) if key else x for x, key in zip(local, keys, strict=True)]
        return jax.tree.unflatten(structure, made)

    def check_same(self, meta: Mapping[str, Any]) -> None:
        """Make sure that every host has the data and settings of the first.

        Raises:
            ValueError: naming those that have others.
        """
        if self.number == 1:
            return
        digest = hashlib.sha256(json.dumps(meta, sort_keys=True, default=str).encode()).digest()
        found = self.of_all(np.frombuffer(digest[:8], np.int32).tolist())
        other = [host for host in range(self.number) if (found[host] != found[0]).any()]
        if other:
            raise ValueError(
                f"Host {', '.join(map(str, other))} has other data or settings than host 0: give all of them the same"
                " files and the same flags."
            )


def telling(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return a function that, ending with an error, tells it to the other hosts, which may wait for this one."""

    @functools.wraps(function)
    def told(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if Hosts.here().number > 1 and not isinstance(error, HostLostError):
                from jax._src import distributed

                client: Any = distributed.global_state.client
                text = " ".join(str(error).split())[:300] or type(error).__name__
                with contextlib.suppress(jax.errors.JaxRuntimeError):
                    client.key_value_set(_ENDED, f"Host {Hosts.here().place} has ended: {text}", allow_overwrite=True)
            raise

    return told


def _wait_for(client: Any, key: str) -> str:
    """Return what a host says, as late as it may be, unless one has ended meanwhile.

    Raises:
        HostLostError: if one has.
    """
    while True:
        try:
            return client.blocking_key_value_get(key, 1000 * _SECONDS_TO_ASK)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            raise HostLostError(client.key_value_try_get(_ENDED))


@contextlib.contextmanager
def losing() -> Iterator[None]:
    """Turn what JAX says of a connection that is gone into a `HostLostError`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.distributed.is_initialized() and jax.process_count() > 1:
            reason = " ".join(str(error).split())[:200]
            raise HostLostError(
                "Another host of the run was lost, and the run has ended; what the newest checkpoint holds is there."
                f" Go on with --resume, with as many hosts as there are. ({reason})"
            ) from error
        raise
