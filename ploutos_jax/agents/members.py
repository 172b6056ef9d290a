"""The network of an ensemble: several networks of one shape side by side, and one action made of theirs.

Actions are combined before anything is traded, so that what one member would buy of another is bought of nobody.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray, UInt8

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.policy.distributions import DiscreteHead, Head, LevelsHead


@dataclasses.dataclass(frozen=True)
class Members(Network):
    """M networks of one shape. Their parameters and scaling are `[M, ...]`, member by member.

    Tables and outputs have the axis of the members after those of their batch: a row of the table is `[M, ...]`.

    Attributes:
        num_members: M, at least 2.
    """

    num_members: int = 2

    @classmethod
    def of(cls, network: Network, num_members: int) -> "Members":
        """Return several networks of the shape of one."""
        own = {field.name: getattr(network, field.name) for field in dataclasses.fields(Network)}
        return cls(**own, num_members=num_members)

    @property
    def one(self) -> Network:
        """The network of a member alone."""
        return Network(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Network)})

    def allocation(
        self, agent: AgentParams, features: Float[Array, "rows A F"], mask: Bool[Array, "rows A"]
    ) -> Float[Array, "rows parts"]:
        """Return the mean over members of what `Network.allocation` returns of each."""
        one = self.one
        return jax.lax.map(lambda member: one.allocation(member, features, mask), agent).mean(axis=0)

    def encode(self, params: Any, scaling: Any, *inputs: Any, **more: Any) -> Table:
        """Return the tables of all members, `[rows, M, ...]`; arguments as of `Network.encode`.

        Member after member, so that intermediate arrays keep within `chunk_bytes`.
        """
        one = self.one
        tables = jax.lax.map(lambda member: one.encode(*member, *inputs, **more), (params, scaling))
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), tables)

    def encode_on(
        self,
        params: Any,
        scaling: Any,
        features: Any,
        mask: Any,
        reset: Any,
        state: Any,
        drop_keys: Any = None,
        copies: int = 0,
    ) -> tuple[Table, Float[Array, "M blocks A kept"]]:
        """Return the tables of all members, `[rows, M, ...]`, and their states; arguments as of `Network.encode_on`.

        The state is `[M, blocks, A, kept]`, one by member.
        """
        one = self.one

        def of_member(member: Any) -> tuple[Table, Array]:
            params, scaling, state = member
            return one.encode_on(params, scaling, features, mask, reset, state, drop_keys, copies)

        tables, states = jax.lax.map(of_member, (params, scaling, state))
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), tables), states

    def act(
        self, params: Any, scaling: Any, row: Table, mask: Bool[Array, "*batch A"], *observed: Any, **more: Any
    ) -> tuple[Float[Array, "*batch M A outputs"], Float[Array, "*batch M K"]]:
        """Return outputs and values of all members; arguments as of `Network.act`, the row with its members' axis."""
        axis, one = mask.ndim - 1, self.one

        def of_member(params: Any, scaling: Any, row: Table) -> tuple[Array, Array]:
            return one.act(params, scaling, row, mask, *observed, **more)

        return jax.vmap(of_member, in_axes=(0, 0, axis), out_axes=axis)(params, scaling, row)


def choose_of(
    head: Head,
    outputs: Float[Array, "M A outputs"],
    tradable: Bool[Array, " A"],
    valid: UInt8[Array, " A"] | None,
    key: PRNGKeyArray | None,
) -> Num[Array, "..."]:
    """Return the action of an ensemble, as the environment takes it, from the outputs of its members.

    Choices (hold, buy, sell; levels): the members' probabilities are averaged, and the likeliest choice of each asset
    is taken. Numbers (target weights, bands): the mean of the members' own actions.

    Args:
        head: the action form.
        outputs: `[M, A, outputs]`.
        tradable: `[A]` assets that trade in the bar observed.
        valid: `[A]` of the observation.
        key: to draw with, each number of every member by itself, or a choice by the mean probabilities; greedy actions
            without it.
    """
    if isinstance(head, DiscreteHead | LevelsHead):
        mean = jnp.mean(jax.nn.softmax(head.masked(outputs, valid), axis=-1), axis=0)
        logits = jnp.log(jnp.maximum(mean, jnp.finfo(mean.dtype).tiny))
        return head.to_env(head.mode(logits, valid) if key is None else head.sample(key, logits, valid))

    def of_member(own: Array, key: PRNGKeyArray | None) -> Array:
        action = head.mode(own, valid) if key is None else head.sample(key, own, valid)
        return head.to_env(action, tradable)

    keys = None if key is None else jax.random.split(key, outputs.shape[0])
    return jnp.mean(jax.vmap(of_member, in_axes=(0, None if keys is None else 0))(outputs, keys), axis=0)
