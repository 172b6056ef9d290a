"""Stretches: contiguous bars that an account played, of which a network that remembers is differentiated in one piece.

Where a market has many more bars than a gradient step has samples, a gradient through every bar is almost all of the
work. Minibatches then hold whole stretches of accounts instead of pieces of eight bars, and the bars of these
stretches, with a lead before them, are all that is encoded: see `agents.windows`.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ploutos_jax.agents.acting import encode_market
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.agents.windows import Windows, encode_keeping, encode_windows
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.policy.recurrent import WARM_UP
from ploutos_jax.train.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Stretches:
    """How rollouts are cut for gradients of a network that remembers.

    Attributes:
        length: steps of one environment that stay together in a minibatch.
        windows: sizes of what is encoded at once; a stretch of bars is as long as these hold at most.
    """

    length: int
    windows: Windows


def stretches_of(
    config: TrainConfig, num_bars: int, episode_length: int | None = None, parts: Parts = WHOLE
) -> Stretches | None:
    """Return how rollouts are cut, or None where every gradient step encodes every row, or rows that stand alone.

    Args:
        config: of the run.
        num_bars: T, of the market, whose first row begins a path.
        episode_length: most bars of an episode, if it is known.
        parts: of the environments.
    """
    policy, wanted = config.policy, config.time_gradient
    if config.algorithm != "ppo" or not policy.warm_up or wanted == "whole":
        return None
    length = config.steps_per_chunk if policy.time == "none" else _whole_stretch(config)
    lead = WARM_UP if isinstance(wanted, str) else wanted
    windows = Windows.of(policy, min(length, episode_length or length), lead, num_bars)
    encoded = config.timesteps_per_update // config.num_minibatches
    encoded += encoded // windows.rows * windows.before
    if wanted == "auto" and 2 * parts.of(encoded) > num_bars:
        return None
    return Stretches(length, windows)


def _whole_stretch(config: TrainConfig) -> int:
    """Return the longest part of a rollout whose pieces fill minibatches."""
    steps = config.steps_per_rollout
    pieces = (n for n in range(1, steps + 1) if steps % n == 0 and config.num_envs * n % config.num_minibatches == 0)
    return steps // next(pieces)


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What gradient steps of an update need to know of the bars before stretches.

    Attributes:
        stretches: sizes.
        states: `[states, blocks, A, kept]` of `encode_keeping`, by parameters before the update; None of none.
    """

    stretches: Stretches
    states: Array | None

    def in_chunks(
        self,
        network: Network,
        num_features: int,
        t: Int[Array, "pairs length"],
        weight: Float[Array, " pairs"],
    ) -> tuple[tuple[Int[Array, "chunks size"], Int[Array, "chunks size"]], Int[Array, ""]]:
        """Return places and lengths of stretches as `cut` gives them, in chunks, and how many of these hold any.

        Args:
            network: whose byte budget a chunk keeps within, if it holds more than one stretch.
            num_features: F.
            t: bars of the samples of the minibatch's pieces.
            weight: of the pieces, 0 for those that only fill up.
        """
        windows = self.stretches.windows
        of_rows = network.row_bytes(num_features) * (windows.rows + windows.before)
        most = network.chunk_bytes // max(of_rows, network.sample_bytes() * windows.rows)
        size = min(max(most, 1), t.shape[0] * -(-t.shape[1] // windows.rows))
        places, lengths, number = cut(t, weight, windows.rows)
        pad = lambda x: jnp.pad(x, (0, -x.shape[0] % size)).reshape(-1, size)  # noqa: E731
        return (pad(places), pad(lengths)), -(-number // size)

    def samples_of(
        self, pairs: Int[Array, " pairs"], chunk: tuple[Int[Array, " size"], Int[Array, " size"]]
    ) -> tuple[tuple[Int[Array, " n"], Int[Array, " n"]], Float[Array, " n"]]:
        """Return piece and step of each sample of a chunk's stretches, all of one length, and weights: 0 beyond an end.

        Args:
            pairs: pieces of the minibatch, by which places are counted.
            chunk: places and lengths.
        """
        (place, number), length = chunk, self.stretches.length
        step = jnp.arange(self.stretches.windows.rows)
        weight = (step < number[:, None]).astype(jnp.float32)
        steps = jnp.minimum((place % length)[:, None] + step, length - 1)
        of_pair = jnp.broadcast_to(pairs[place // length][:, None], steps.shape)
        return (of_pair.reshape(-1), steps.reshape(-1)), weight.reshape(-1)

    def rows(
        self, network: Network, agent: AgentParams, market: Market, t: Int[Array, " n"], drop_key: PRNGKeyArray | None
    ) -> Table:
        """Return the table's rows `[n, ...]` of the samples of a chunk, which stand at bars `t`."""
        windows = self.stretches.windows
        first = t.reshape(-1, windows.rows)[:, 0]
        made = encode_windows(network, agent, market, windows, self.states, first, drop_key)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)


def encode_for(
    stretches: Stretches,
    network: Network,
    agent: AgentParams,
    market: Market,
    drop_key: PRNGKeyArray | None,
) -> tuple[Table, Array | None]:
    """Return the table of a market, and the states from which windows go on; None where they need none."""
    drop_keys = network.drop_keys(drop_key, jnp.arange(market.num_bars))
    if not stretches.windows.every:
        return encode_market(network, agent, market, drop_keys), None
    return encode_keeping(network, agent, market, stretches.windows, drop_keys)


def cut(
    t: Int[Array, "pairs length"], weight: Float[Array, " pairs"], most: int
) -> tuple[Int[Array, " n"], Int[Array, " n"], Int[Array, ""]]:
    """Return where stretches of bars begin in the pieces of a minibatch, how long they are, and how many there are.

    A stretch ends where the piece does, where an episode does, or after `most` bars. Every step of a piece with a
    weight lies in one of them.

    Args:
        t: bars of the samples, `[pairs, length]`.
        weight: of the pieces, 0 for those that only fill up.
        most: bars of a stretch.

    Returns:
        Places in `t` laid flat, and lengths, `[pairs · length]`; of those after the number that there are, the length
        is 0.
    """
    num_pairs, length = t.shape
    step = jnp.arange(length)
    goes_on = jnp.pad(t[:, 1:] == t[:, :-1] + 1, ((0, 0), (1, 0)))
    begun = jax.lax.cummax(jnp.where(goes_on, 0, step), axis=1)
    is_first = ((step - begun) % most == 0) & (weight > 0)[:, None]
    size, number = num_pairs * length, is_first.sum()
    first = jnp.nonzero(is_first.reshape(-1), size=size, fill_value=size)[0]
    following = jnp.append(first[1:], size)
    end = jnp.minimum(following, (first // length + 1) * length)
    there = jnp.arange(size) < number
    return jnp.where(there, first, 0), jnp.where(there, end - first, 0), number
