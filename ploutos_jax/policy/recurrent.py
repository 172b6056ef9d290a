"""Memory over time: what an asset's bars so far amount to, one number after another, by a recurrence without a loop.

A gated unit whose gate does not look at its own state is linear in that state, so a whole history is one associative
scan of depth log T; T small products one after another, as of a GRU or LSTM, would take T kernels. A CPU has no kernels
to start and goes by rows all the same.

Source: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?" (2024), for the minGRU; Orvieto, Smith,
Gu, Fernando, Gulcehre, Pascanu and De, "Resurrecting Recurrent Neural Networks for Long Sequences" (2023), for the LRU.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Inexact

from ploutos_jax.policy.layers import Precision, dense

Cell = Literal["mingru", "lru", "lstm"]

SHORTEST, LONGEST = 2, 126
"""Half-lives in bars of an untrained network's units, the first and the last of them."""

WARM_UP = 3 * LONGEST
"""Bars before the first one that is acted on: an eighth is left by then of what the slowest unit did not see."""


@jax.custom_vjp
def linear_recurrence(
    decay: Inexact[Array, "T A width"], added: Inexact[Array, "T A width"], first: Inexact[Array, "A width"]
) -> Inexact[Array, "T A width"]:
    """Return `h_t = decay_t · h_{t−1} + added_t` for all rows, with `first` before the first; all real or all complex.

    Its gradient is one scan back, `λ_t = g_t + decay_{t+1} · λ_{t+1}`, and keeps decays and states alone.
    """
    if _goes_by_rows():
        return _by_rows(decay, added, first)
    products, sums = jax.lax.associative_scan(_then, (decay, added))
    return products * first + sums


def _goes_by_rows() -> bool:
    """Return whether one row after another is faster: a CPU moves log T copies of all numbers in 2 to 5 times that."""
    return jax.default_backend() == "cpu"


def _by_rows(decay: Array, added: Array, first: Array, *, reverse: bool = False) -> Array:
    def step(state: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        state = inputs[0] * state + inputs[1]
        return state, state

    return jax.lax.scan(step, first, (decay, added), reverse=reverse)[1]


def _then(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return what two stretches of a recurrence do, one after the other."""
    return earlier[0] * later[0], later[0] * earlier[1] + later[1]


def _forward(decay: Array, added: Array, first: Array) -> tuple[Array, Any]:
    states = linear_recurrence(decay, added, first)
    return states, (decay, states, first)


def _backward(kept: Any, gradient: Array) -> tuple[Array, Array, Array]:
    decay, states, first = kept
    following = jnp.concatenate([decay[1:], jnp.zeros_like(decay[:1])])
    if _goes_by_rows():
        pull = _by_rows(following, gradient, jnp.zeros_like(first), reverse=True)
    else:
        _, pull = jax.lax.associative_scan(_then, (following, gradient), reverse=True)
    before = jnp.concatenate([first[None], states[:-1]])
    return pull * before, pull, decay[0] * pull[0]


linear_recurrence.defvjp(_forward, _backward)


def lstm(
    seen: Float[Array, "T A gates"],
    own: Float[Array, "width gates"],
    mask: Bool[Array, "T A"],
    reset: Bool[Array, " T"],
    first: Float[Array, "A both"],
) -> Float[Array, "T A both"]:
    """Return outputs and cells of an LSTM after each row, `[T, A, 2D]`, one row after the other.

    `i, f, g, o = seen_t + h_{t−1} · own`, `c_t = σ(f) c_{t−1} + σ(i) tanh(g)`, `h_t = σ(o) tanh(c_t)`. A path begins
    with zeros, an asset without a bar keeps both.

    Source: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; Gers et al. 2000 for the forget gate.

    Args:
        seen: what the inputs of a row give to the four gates, `[T, A, 4D]`.
        own: what the output before gives to them, `[width, 4D]`.
        mask: whether an asset has a bar.
        reset: whether a row begins a path.
        first: `[A, 2D]` outputs and cells before the first row.
    """

    def step(before: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        seen, has_bar, begins = inputs
        output, cell = jnp.split(jnp.where(begins, 0, before), 2, axis=-1)
        take, keep, new, give = jnp.split(seen + output @ own, 4, axis=-1)
        cell_after = nn.sigmoid(keep) * cell + nn.sigmoid(take) * nn.tanh(new)
        after = jnp.concatenate([nn.sigmoid(give) * nn.tanh(cell_after), cell_after], axis=-1)
        after = jnp.where(has_bar[:, None], after, jnp.concatenate([output, cell], axis=-1))
        return after, after

    return jax.lax.scan(step, first, (seen, mask, reset))[1]


class Recurrent(nn.Module):
    """Blocks of layer norm, minGRU and gated linear unit, each added to what went in; weights shared by all assets.

    `z = σ(W_z x + b_z)`, `h_t = (1 − z) h_{t−1} + z (W_h x + b_h)`. A path begins with h = 0, whatever was before; an
    asset without a bar keeps its state. States are means of what went in, so that they stay bounded.

    With `cell="lru"` states are complex and turn as they fade: `h_t = λ h_{t−1} + √(1 − |λ|²) W x`, a λ of each unit
    that does not look at the bar. Averages that fade tell bars of long ago apart by their sizes alone, which rounding
    eats; these do by their angles, so that sums of them find the bar of exactly 20 bars ago. Angles of untrained units
    are spread evenly over half a turn a bar, and they forget half in `width / 2` bars: about twice the width is as far
    as they tell bars apart. A state is `[A, 2D]`, real parts before imaginary ones.

    With `cell="lstm"` the recurrence of a block is an LSTM, whose gates look at its own state: it may count and wait
    where the minGRU can only fade, at the cost of one step after another. Its state is `[A, 2D]`, output and cell.

    Attributes:
        width: numbers that a block gives of an asset.
        layers: number of blocks.
        precision: of the matrix products.
        cell: `mingru`, `lru` or `lstm`.
    """

    width: int = 32
    layers: int = 2
    precision: Precision = "float32"
    cell: Cell = "mingru"

    @nn.nowrap
    def kept(self) -> int:
        """Return how many numbers of an asset and block are kept from bar to bar."""
        return (1 if self.cell == "mingru" else 2) * self.width

    def setup(self) -> None:
        half_lives = np.geomspace(SHORTEST, LONGEST, self.width)
        forgotten = 1 - 2 ** (-1 / half_lives)
        start = np.log(forgotten) - np.log1p(-forgotten)
        every = range(self.layers)
        self.entry = dense(self.width, precision=self.precision)
        self.norms = [nn.LayerNorm() for _ in every]
        # What units that turn hold of every bar is noise until it is known which of them matter: it begins small.
        scale = 0.1 if self.cell == "lru" else 1.0
        self.outputs = [dense(2 * self.width, scale=scale, precision=self.precision) for _ in every]
        if self.cell == "lstm":
            bias = nn.initializers.constant(np.concatenate([np.zeros(self.width), -start, np.zeros(2 * self.width)]))
            self.seen_gates = [
                dense(4 * self.width, scale=1.0, precision=self.precision, bias_init=bias) for _ in every
            ]
            self.own_gates = [
                self.param(f"own_gates_{layer}", nn.initializers.orthogonal(), (self.width, 4 * self.width))
                for layer in every
            ]
            return
        if self.cell == "lru":
            start = nn.initializers.constant(np.log(2 * np.log(2) / self.width))
            self.fading = [self.param(f"fading_{layer}", start, (self.width,)) for layer in every]
            self.turning = [self.param(f"turning_{layer}", nn.initializers.zeros, (self.width,)) for layer in every]
            self.candidates = [dense(2 * self.width, scale=1.0, precision=self.precision) for _ in every]
            return
        self.gates = [
            dense(self.width, scale=0.1, precision=self.precision, bias_init=nn.initializers.constant(start))
            for _ in every
        ]
        self.candidates = [dense(self.width, scale=1.0, precision=self.precision) for _ in every]

    def __call__(
        self,
        features: Float[Array, "T A inputs"],
        mask: Bool[Array, "T A"],
        reset: Bool[Array, " T"],
        state: Float[Array, "blocks A kept"],
    ) -> tuple[Float[Array, "T A width"], Float[Array, "blocks A kept"]]:
        """Return what is made of each row and those before it, `[T, A, width]`, and the state after the last one.

        Args:
            features: `[T, A, inputs]` rows in order of time; row t is known at close t.
            mask: `[T, A]` whether an asset has a bar.
            reset: `[T]` whether a row begins a path.
            state: `[blocks, A, width]`, of LRU and LSTM twice as wide, after the row before the first; not read where
                that begins a path.
        """
        x = self.entry(features)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        begins, has_bar = reset[:, None, None], mask[..., None]
        last = []
        for layer in range(self.layers):
            seen = self.norms[layer](x)
            if self.cell == "lstm":
                kept = lstm(self.seen_gates[layer](seen), self.own_gates[layer], mask, reset, state[layer])
                states = kept[..., : self.width]
            elif self.cell == "lru":
                states = kept = self._turned(layer, seen, begins, has_bar, state[layer])
            else:
                share = nn.sigmoid(self.gates[layer](seen))
                decay = jnp.where(begins, 0, jnp.where(has_bar, 1 - share, 1))
                added = jnp.where(has_bar, share * self.candidates[layer](seen), 0)
                kept = states = linear_recurrence(decay, added, state[layer])
            value, gate = jnp.split(self.outputs[layer](states), 2, axis=-1)
            x = x + value * nn.sigmoid(gate)
            last.append(kept[-1])
        return x, jnp.stack(last)

    def _turned(
        self, layer: int, seen: Array, begins: Array, has_bar: Array, first: Float[Array, "A both"]
    ) -> Float[Array, "T A both"]:
        rate = jnp.exp(self.fading[layer])
        # In parts of what lies between two units: an angle counts for every bar that is remembered, and learnt as such
        # its gradient would be tens of times all others, which a bound on their norm would then take away.
        angle = np.pi / self.width * (np.arange(self.width) + 0.5 + self.turning[layer])
        unit = jnp.exp(jax.lax.complex(-rate, angle))
        added = jnp.sqrt(-jnp.expm1(-2 * rate)) * _as_complex(self.candidates[layer](seen).astype(rate.dtype))
        decay = jnp.where(begins, 0, jnp.where(has_bar, unit, 1))
        states = linear_recurrence(decay, jnp.where(has_bar, added, 0), _as_complex(first))
        return jnp.concatenate([states.real, states.imag], axis=-1)


def _as_complex(both: Float[Array, "*rows both"]) -> Complex[Array, "*rows width"]:
    """Return complex numbers of real parts and, after them, imaginary ones."""
    return jax.lax.complex(*jnp.split(both, 2, axis=-1))
