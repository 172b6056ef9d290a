"""Devices: one program over several of them, of one host or many, each with a part of the environments or of the seeds.

Parameters, statistics and the market lie on every device. An environment's key follows from its number among all of
them, so what is drawn does not depend on how many devices there are; sums over environments are added up over devices
(`agents.parts`). With more seeds than one, a number that the devices divide, whole seeds are laid over them instead,
and nothing is sent but whether a seed has failed.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ploutos_jax.agents.parts import AXIS, Parts
from ploutos_jax.train.algorithm import Algorithm
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.program import LearnerOfProgram

DevicesOf = int | Literal["all"]
"""How many devices of each host a run uses."""

_EVERYWHERE = PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Layout:
    """What lies on which device; static.

    Attributes:
        mesh: the devices of all hosts, along one axis.
        of_seeds: whether seeds are laid over them; environments otherwise.
        num_seeds: of the run.
    """

    mesh: Mesh
    of_seeds: bool
    num_seeds: int

    @property
    def number(self) -> int:
        """Devices."""
        return self.mesh.size

    def on_each(self, learner: Algorithm) -> Algorithm:
        """Return the learner of what one device has.

        Raises:
            ValueError: if it cannot be divided.
        """
        if not isinstance(learner, LearnerOfProgram):
            raise ValueError("A learner of your own runs on one device: leave devices out.")
        if self.of_seeds:
            here = dataclasses.replace(learner.config, num_seeds=self.num_seeds // self.number)
            return dataclasses.replace(learner, config=here, parts=Parts(seeds_on=self.number))
        return dataclasses.replace(learner, parts=Parts(self.number))

    def specs(self, states: Any) -> Any:
        """Return for every leaf of training states along which axis it is divided."""
        divided = PartitionSpec(AXIS) if self.of_seeds or self.num_seeds == 1 else PartitionSpec(None, AXIS)

        def spec(path: Any, _: Any) -> PartitionSpec:
            return divided if self.of_seeds or _is_by_environment(path) else _EVERYWHERE

        return jax.tree_util.tree_map_with_path(spec, states)

    @property
    def spec_of_hyper(self) -> PartitionSpec:
        """Along which axis numbers of the learner are divided."""
        return PartitionSpec(AXIS) if self.of_seeds else _EVERYWHERE

    @property
    def spec_of_figures(self) -> PartitionSpec:
        """Along which axis rows of figures are divided."""
        return PartitionSpec(None, AXIS) if self.of_seeds else _EVERYWHERE

    def placed(self, tree: Any, specs: Any = _EVERYWHERE) -> Any:
        """Return arrays, the same on every host, laid over the devices; buffers are their own."""
        if isinstance(specs, PartitionSpec):
            specs = jax.tree.map(lambda _: specs, tree)
        return jax.tree.map(self._placed, tree, specs)

    def _placed(self, leaf: Any, spec: PartitionSpec) -> jax.Array:
        sharding = NamedSharding(self.mesh, spec)
        if is_key(leaf):
            return jax.jit(jax.random.wrap_key_data, out_shardings=sharding)(
                self._placed(jax.random.key_data(leaf), spec)
            )
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def copied(self, states: Any) -> Any:
        """Return states in buffers of their own, laid out as before."""
        shardings = jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), self.specs(states))
        return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=shardings)(states)

    def collected(self, tree: Any) -> Any:
        """Return arrays whole, on the first device of this host. All hosts must ask for them together."""
        whole = jax.jit(lambda tree: tree, out_shardings=NamedSharding(self.mesh, _EVERYWHERE))(tree)
        return jax.tree.map(_local, whole)

    def over(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """Return a function that does on every device what the given one does with that device's part."""
        return jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def layout_of(devices: DevicesOf, config: TrainConfig) -> Layout | None:
    """Return how a run is laid over devices; None for one device of one host, where nothing is laid out.

    Args:
        devices: of each host.
        config: of the run.

    Raises:
        ValueError: if there are not as many, or they do not divide the run.
    """
    here = len(jax.local_devices())
    wanted = here if devices == "all" else devices
    if wanted > here:
        raise ValueError(f"devices={wanted}, but {_hosts_have(here)}. Use --devices all, or a number up to {here}.")
    if wanted == 1 and jax.process_count() == 1:
        return None
    chosen = [
        device
        for host in range(jax.process_count())
        for device in [each for each in jax.devices() if each.process_index == host][:wanted]
    ]
    number = len(chosen)
    if config.algorithm != "ppo":
        raise ValueError(
            f"algorithm={config.algorithm!r} runs on one device: its objectives are of all accounts of a rollout"
            " together. Use algorithm='ppo', or leave devices out."
        )
    if config.evolution.population is not None:
        raise ValueError(
            f"population={config.evolution.population} runs on one device: its members take over from each other."
            " Leave devices out, or train the members as num_seeds."
        )
    of_seeds = config.num_seeds > 1 and config.num_seeds % number == 0
    if not of_seeds and config.num_envs % number:
        seeds = f" nor num_seeds={config.num_seeds}" if config.num_seeds > 1 else ""
        near = max(number, round(config.num_envs / number) * number)
        raise ValueError(
            f"num_envs={config.num_envs}{seeds} is no multiple of the {number} devices. Use num_envs={near}, or other"
            " devices."
        )
    return Layout(Mesh(np.array(chosen), (AXIS,)), of_seeds, config.num_seeds)


def is_key(leaf: Any) -> bool:
    """Return whether an array holds keys of random numbers."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _hosts_have(here: int) -> str:
    kind = jax.local_devices()[0].platform
    more = ""
    if kind == "cpu":
        more = " (XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of a processor, for tests)"
    return f"JAX finds {here} of kind {kind} on this host{more}"


def _local(leaf: jax.Array) -> jax.Array:
    if is_key(leaf):
        return jax.random.wrap_key_data(_local(jax.random.key_data(leaf)))
    return leaf.addressable_data(0)


def _is_by_environment(path: Any) -> bool:
    names = [getattr(entry, "name", None) for entry in path]
    if "runner" in names:
        return names[names.index("runner") + 1] in ("state", "observation", "keys")
    return "returns" in names and names[-1] == "running"
