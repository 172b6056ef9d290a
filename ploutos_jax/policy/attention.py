"""Attention: over the bars before, asset by asset and within a window, and across the assets of a bar.

Source: Vaswani et al. 2017, "Attention Is All You Need"; Press, Smith and Lewis 2022, "Train Short, Test Long", for
positions by slopes (ALiBi), and Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer", for learnt ones; Jaegle et al. 2021, "Perceiver", for attention by way of a few learnt
queries.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ploutos_jax.policy.attending import attend, hide
from ploutos_jax.policy.layers import Precision, dense

HEADS = 4
"""Of the attention over bars; each has a slope of its own by which it forgets."""
_REACH = 8.0
"""What a logit moves by for each unit of what is learnt of its distance: to find one bar among 64 it has to rise by
five, and Adam moves a number by the learning rate at a time."""
_UNSEEN = -1e9
"""Added to the logit of a key that may not be seen: its weight is then exactly 0."""


class WindowedAttention(nn.Module):
    """Blocks of layer norm, attention to the last bars of the same asset, and a layer four times as wide.

    A bar attends to itself and to the bars of its window before it on its path, of those where the asset has one. What
    tells where a bar lies is a number for each distance and head, added to the logit: a slope times the distance, less
    of it in every further head, and what is learnt beside it, 0 at first. Slopes alone could only fade: no sum of them
    finds the bar of 20 bars ago among its neighbours. Weights are shared by all assets.

    Bars are worked through in blocks of 32, each with the window before it, so that no array grows with the square of
    the history. Kept of the bars before is the input of each block, `[blocks, A, (window − 1)(width + 1) + 1]`: of
    each of the last `window − 1` bars its numbers and whether the asset had one, and how many of the path there were.

    Attributes:
        width: numbers of an asset; a multiple of 4, the heads.
        layers: number of blocks.
        window: bars seen by a block, its own among them.
        precision: of the matrix products.
        most: bars in a block, at most; a part of the window. Fewer are a smaller share of keys that no query may
            see, more are larger products.
    """

    width: int = 32
    layers: int = 2
    window: int = 64
    precision: Precision = "float32"
    most: int = 32

    @nn.nowrap
    def kept(self) -> int:
        """Return how many numbers of an asset and block are kept from bar to bar."""
        return (self.window - 1) * (self.width + 1) + 1

    def setup(self) -> None:
        every = range(self.layers)
        self.entry = dense(self.width, precision=self.precision)
        self.norms = [nn.LayerNorm() for _ in every]
        self.asked = [dense(self.width, bias=False, scale=1.0, precision=self.precision) for _ in every]
        self.told = [dense(2 * self.width, bias=False, scale=1.0, precision=self.precision) for _ in every]
        self.joined = [dense(self.width, scale=1.0, precision=self.precision) for _ in every]
        sizes = nn.initializers.zeros, (HEADS, self.window)
        self.distances = [self.param(f"distances_{layer}", *sizes) for layer in every]
        self.middle_norms = [nn.LayerNorm() for _ in every]
        self.wide = [dense(4 * self.width, precision=self.precision) for _ in every]
        self.narrow = [dense(self.width, scale=0.5, precision=self.precision) for _ in every]

    def __call__(
        self,
        features: Float[Array, "T A inputs"],
        mask: Bool[Array, "T A"],
        reset: Bool[Array, " T"],
        state: Float[Array, "blocks A kept"],
        is_row: Bool[Array, " T"] | None = None,
    ) -> tuple[Float[Array, "T A width"], Float[Array, "blocks A kept"]]:
        """Return what is made of each row and those before it, `[T, A, width]`, and what is kept after the last one.

        Args:
            features: `[T, A, inputs]` rows in order of time; row t is known at close t.
            mask: `[T, A]` whether an asset has a bar.
            reset: `[T]` whether a row begins a path.
            state: `[blocks, A, kept]` after the row before the first, zeros before any; not read where that begins
                a path.
            is_row: `[T]` False for rows that fill up the end and leave the state as it is; None if there are none.
        """
        num_rows, num_assets = mask.shape
        before, window = self.window - 1, self.window
        past = state[..., :-1].reshape(self.layers, num_assets, before, self.width + 1).transpose(0, 2, 1, 3)
        there = jnp.concatenate([past[0, ..., -1] > 0, mask])
        seen = _rows_before(reset, state[0, 0, -1])
        num_own = num_rows if is_row is None else is_row.sum()
        hidden = hide(self._visible(seen, there, num_rows))
        count = jnp.where(num_own > 0, seen[jnp.maximum(num_own - 1, 0)] + 1, state[0, 0, -1])
        x, kept = _wide(self.entry(features)), []
        for layer in range(self.layers):
            tokens = jnp.concatenate([past[layer, ..., :-1], x])
            kept.append(jax.lax.dynamic_slice_in_dim(tokens, num_own, before))
            x = x + self._attend(layer, tokens, hidden, num_rows)
            x = x + self.narrow[layer](nn.gelu(self.wide[layer](self.middle_norms[layer](x))))
        has_bar = jax.lax.dynamic_slice_in_dim(there, num_own, before)[None, ..., None]
        last = jnp.concatenate([jnp.stack(kept), jnp.broadcast_to(has_bar, (self.layers, *has_bar.shape[1:]))], axis=-1)
        last = last.transpose(0, 2, 1, 3).reshape(self.layers, num_assets, before * (self.width + 1))
        count = jnp.minimum(count, window)
        return x, jnp.concatenate([last, jnp.full((self.layers, num_assets, 1), count, last.dtype)], axis=-1)

    def _attend(self, layer: int, tokens: Array, hidden: Array, num_rows: int) -> Float[Array, "T A width"]:
        size = self.width // HEADS
        normed = self.norms[layer](tokens)
        asked = _wide(self.asked[layer](normed[self.window - 1 :]))
        keys, values = jnp.split(_wide(self.told[layer](normed)), 2, axis=-1)
        asked = _blocks(asked.reshape(*asked.shape[:2], HEADS, size), self._block)
        keys, values = (self._with_bars_before(x.reshape(*x.shape[:2], HEADS, size), num_rows) for x in (keys, values))
        found = attend(asked, keys, values, self._by_distance(layer, num_rows), hidden)
        found = found.reshape(-1, found.shape[2], self.width)[:num_rows]
        return _wide(self.joined[layer](found))

    @property
    def _block(self) -> int:
        """Rows of a block: a part of the window, or all of it where no part has the size."""
        parts = [size for size in range(1, min(self.most, self.window) + 1) if self.window % size == 0]
        return parts[-1] if 4 * parts[-1] >= min(self.most, self.window) else self.window

    def _with_bars_before(self, x: Array, num_rows: int) -> Array:
        """Return rows `[window − 1 + T, ...]` as the blocks may see them, `[blocks, window + block, ...]`."""
        block = self._block
        if num_rows < block:
            return x[None]
        padded = jnp.pad(x, [(0, -num_rows % block + 1)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, block, *x.shape[1:])
        before = self.window // block
        num_blocks = padded.shape[0] - before
        return jnp.concatenate([padded[place : place + num_blocks] for place in range(before + 1)], axis=1)

    def _distance(self, num_rows: int) -> np.ndarray:
        """Return how many bars a key lies before a query of the same block, `[queries, keys]`."""
        queries = min(self._block, num_rows)
        num_keys = self.window + self._block if num_rows >= self._block else num_rows + self.window - 1
        return np.arange(queries)[:, None] + self.window - 1 - np.arange(num_keys)

    def _by_distance(self, layer: int, num_rows: int) -> Float[Array, "heads queries keys"]:
        """Return what is added to logits: slopes, and what is learnt of each distance."""
        slopes = 2.0 ** (-8 * np.arange(1, HEADS + 1) / HEADS)
        distance = np.clip(self._distance(num_rows), 0, self.window - 1)  # beyond, nothing is seen
        by_slope = jnp.asarray(-slopes[:, None, None] * distance, jnp.float32)
        # A product with ones where a pair has a distance: looked up, each number would be looked up for every asset.
        has_distance = jnp.asarray(distance.ravel() == np.arange(self.window)[:, None], self.distances[layer].dtype)
        learnt = (self.distances[layer] @ has_distance).reshape(HEADS, *distance.shape)
        return by_slope + _REACH * learnt

    def _visible(self, seen: Array, there: Array, num_rows: int) -> Bool[Array, "blocks A queries keys"]:
        distance = self._distance(num_rows)
        reach = jnp.minimum(_blocks(seen, self._block), self.window - 1)[..., None]  # [blocks, queries, 1]
        in_reach = (distance >= 0) & (distance <= reach)
        has_bar = self._with_bars_before(there, num_rows).transpose(0, 2, 1)[:, :, None]
        # A bar always sees itself: no row is without a weight.
        return in_reach[:, None] & (has_bar | (distance == 0))


def _wide(x: Array) -> Array:
    """Return numbers in float32 at least: sums and softmax are not done in bfloat16."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _rows_before(reset: Bool[Array, " T"], count: Array) -> Array:
    """Return how many rows of its path lie before each row, `[T]`, where `count` were seen before the first."""
    place = jnp.arange(reset.shape[0])
    begun = jax.lax.cummax(jnp.where(reset, place, -1))
    return jnp.where(begun >= 0, place - begun, place + count.astype(jnp.int32))


def _blocks(x: Array, size: int) -> Array:
    """Return rows `[T, ...]` as `[blocks, size, ...]`, filled up with zeros; fewer rows are one block of them."""
    num_rows = x.shape[0]
    if num_rows < size:
        return x[None]
    padded = jnp.pad(x, [(0, -num_rows % size)] + [(0, 0)] * (x.ndim - 1))
    return padded.reshape(-1, size, *x.shape[1:])


class AcrossAssets(nn.Module):
    """Attention among the assets of a bar by way of a few learnt queries: they look at the assets, the assets at them.

    Its cost grows with the number of assets and not with its square; what an asset gets does not depend on their order.

    Attributes:
        width: numbers that each asset is given.
        size: numbers that are compared.
        queries: m, learnt queries.
        precision: of the matrix products.
    """

    width: int
    size: int = 32
    queries: int = 8
    precision: Precision = "float32"

    def setup(self) -> None:
        layer = partial(dense, bias=False, precision=self.precision)
        size = self.size
        self.asking = self.param("asking", nn.initializers.orthogonal(), (self.queries, size))
        self.of_assets = layer(3 * size, scale=1.0)
        self.of_queries = layer(2 * size, scale=1.0)
        self.back = layer(self.width, scale=0.5)

    def __call__(
        self, x: Float[Array, "*batch A inputs"], mask: Bool[Array, "*batch A"]
    ) -> Float[Array, "*batch A width"]:
        """Return what each asset learns of the others, `[..., A, width]`; `mask [..., A]` says which ones trade."""
        scale = self.size**-0.5
        keys, values, asked = jnp.split(_wide(self.of_assets(x)), 3, axis=-1)
        logits = jnp.einsum("md,...ad->...ma", self.asking, keys) * scale
        weights = nn.softmax(jnp.where(mask[..., None, :], logits, _UNSEEN), axis=-1)
        summary = jnp.einsum("...ma,...ad->...md", weights, values)
        keys, values = jnp.split(self.of_queries(summary), 2, axis=-1)
        weights = nn.softmax(jnp.einsum("...ad,...md->...am", asked, keys) * scale, axis=-1)
        return self.back(jnp.einsum("...am,...md->...ad", weights, values))
