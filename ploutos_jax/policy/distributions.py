"""Action distributions per asset. The only importer of distrax.

All heads treat assets as independent given the observation: probabilities, entropies and divergences come back per
asset, and the learner decides whether to join them.
"""

import dataclasses
import functools
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray, UInt8

from ploutos_jax.policy.bands import BandsHead

if TYPE_CHECKING:
    import distrax


NUM_CHOICES = 3
"""Hold, buy, sell."""
NUM_LEVELS = 5
"""Keep, nothing, a quarter, a half, all."""
_NEVER = -1e9
"""Logit of an action that there is not. Minus infinity would make the gradient of the entropy NaN."""


@functools.cache
def _distrax() -> ModuleType:
    """Load distrax, which takes a second; perhaps while a program is traced, whose arrays it must not hold."""
    with jax.ensure_compile_time_eval():
        import distrax
    return distrax


def _log_softmax(logits: Float[Array, "*batch A choices"]) -> tuple[Float[Array, "*batch A"], ...]:
    """Return the logarithms of the probabilities of a few choices, `[..., A]` each.

    Choice by choice, not along an axis of length 3: whatever follows from them is then one pass over the logits, where
    sums along an axis write every step out, which costs a wide market more than its matrix products.
    """
    choices = [logits[..., choice] for choice in range(logits.shape[-1])]
    top = jax.lax.stop_gradient(functools.reduce(jnp.maximum, choices))
    shifted = [x - top for x in choices]
    total = jnp.log(sum(jnp.exp(x) for x in shifted))
    return tuple(x - total for x in shifted)


@dataclasses.dataclass(frozen=True)
class DiscreteHead:
    """Hold, buy or sell of each asset: categorical with logits `[..., A, 3]`, actions int8 `[..., A]`.

    With `valid [..., A]`, the bits of `Observation.valid`, actions that there are not have no probability.

    Source of the masks: Huang and Ontañón, "A Closer Look at Invalid Action Masking in Policy Gradient Algorithms"
    (2020).
    """

    num_outputs: int = NUM_CHOICES
    action_dtype = jnp.int8

    def masked(self, logits: Float[Array, "*batch A choices"], valid: UInt8[Array, "*batch A"] | None) -> Array:
        """Return logits that give no probability to actions that there are not."""
        if valid is None:
            return logits
        bits = [jnp.ones(valid.shape, bool), (valid & 1) > 0, (valid & 2) > 0]
        return jnp.where(jnp.stack(bits, axis=-1), logits, _NEVER)

    def sample(
        self,
        key: PRNGKeyArray,
        logits: Float[Array, "*batch A choices"],
        valid: UInt8[Array, "*batch A"] | None = None,
    ) -> Integer[Array, "*batch A"]:
        """Draw actions by inverting the cumulative distribution: one uniform number per asset."""
        hold, buy, _ = (jnp.exp(x) for x in _log_softmax(self.masked(logits, valid)))
        uniform = jax.random.uniform(key, logits.shape[:-1], logits.dtype)
        action = (uniform > hold).astype(jnp.int8) + (uniform > hold + buy).astype(jnp.int8)
        if valid is None:
            return action
        # Probabilities that round to less than 1 in all must not let the largest uniform through to what there is not.
        last = jnp.where((valid & 2) > 0, 2, jnp.where((valid & 1) > 0, 1, 0))
        return jnp.minimum(action, last).astype(jnp.int8)

    def mode(
        self, logits: Float[Array, "*batch A choices"], valid: UInt8[Array, "*batch A"] | None = None
    ) -> Integer[Array, "*batch A"]:
        """Return the greedy action of each asset."""
        return jnp.argmax(self.masked(logits, valid), axis=-1).astype(jnp.int8)

    def log_prob(
        self,
        logits: Float[Array, "*batch A choices"],
        action: Integer[Array, "*batch A"],
        valid: UInt8[Array, "*batch A"] | None = None,
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` log-probabilities."""
        hold, buy, sell = _log_softmax(self.masked(logits, valid))
        return jnp.where(action == 0, hold, jnp.where(action == 1, buy, sell))

    def entropy(
        self, logits: Float[Array, "*batch A choices"], valid: UInt8[Array, "*batch A"] | None = None
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` entropies in nats."""
        hold, buy, sell = (jnp.exp(x) * x for x in _log_softmax(self.masked(logits, valid)))
        return -(hold + buy + sell)

    def to_env(
        self, action: Integer[Array, "*batch A"], tradable: Bool[Array, "*batch A"] | None = None
    ) -> Integer[Array, "*batch A"]:
        """Return what `TradingEnv.step` takes."""
        del tradable
        return action

    def position_after(
        self,
        action: Integer[Array, "*batch A"],
        weight: Float[Array, "*batch A"],
        tradable: Bool[Array, "*batch A"] | None = None,
    ) -> Float[Array, "*batch A"]:
        """Return the weights that are known to follow: those held, as how much a buy buys is the account's rule."""
        del action, tradable
        return weight


@dataclasses.dataclass(frozen=True)
class LevelsHead:
    """Keep a position, or bring it to one of four levels: categorical with logits `[..., A, 5]`, actions int8.

    With `valid [..., A]` 0, keeping is all that there is.

    Attributes:
        cap: weight of the highest level.
        shares: what the levels are as shares of it.
    """

    cap: float = 0.1
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    num_outputs: int = NUM_LEVELS
    action_dtype = jnp.int8

    def masked(self, logits: Float[Array, "*batch A 5"], valid: UInt8[Array, "*batch A"] | None) -> Array:
        """Return logits that give no probability to actions that there are not."""
        if valid is None:
            return logits
        return jnp.where((valid > 0)[..., None] | (jnp.arange(self.num_outputs) == 0), logits, _NEVER)

    def sample(
        self, key: PRNGKeyArray, logits: Float[Array, "*batch A 5"], valid: UInt8[Array, "*batch A"] | None = None
    ) -> Integer[Array, "*batch A"]:
        """Draw actions by inverting the cumulative distribution: one uniform number per asset."""
        *first, _ = (jnp.exp(x) for x in _log_softmax(self.masked(logits, valid)))
        uniform = jax.random.uniform(key, logits.shape[:-1], logits.dtype)
        action, below = jnp.zeros(uniform.shape, jnp.int8), jnp.zeros_like(uniform)
        for probability in first:
            below = below + probability
            action = action + (uniform > below).astype(jnp.int8)
        return action if valid is None else jnp.where(valid > 0, action, jnp.int8(0))

    def mode(
        self, logits: Float[Array, "*batch A 5"], valid: UInt8[Array, "*batch A"] | None = None
    ) -> Integer[Array, "*batch A"]:
        """Return the greedy action of each asset."""
        return jnp.argmax(self.masked(logits, valid), axis=-1).astype(jnp.int8)

    def log_prob(
        self,
        logits: Float[Array, "*batch A 5"],
        action: Integer[Array, "*batch A"],
        valid: UInt8[Array, "*batch A"] | None = None,
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` log-probabilities."""
        choices = _log_softmax(self.masked(logits, valid))
        return sum((jnp.where(action == i, x, 0) for i, x in enumerate(choices)), jnp.zeros_like(choices[0]))

    def entropy(
        self, logits: Float[Array, "*batch A 5"], valid: UInt8[Array, "*batch A"] | None = None
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` entropies in nats."""
        choices = _log_softmax(self.masked(logits, valid))
        return -sum((jnp.exp(x) * x for x in choices), jnp.zeros_like(choices[0]))

    def to_env(
        self, action: Integer[Array, "*batch A"], tradable: Bool[Array, "*batch A"] | None = None
    ) -> Integer[Array, "*batch A"]:
        """Return what `TradingEnv.step` takes."""
        del tradable
        return action

    def position_after(
        self,
        action: Integer[Array, "*batch A"],
        weight: Float[Array, "*batch A"],
        tradable: Bool[Array, "*batch A"] | None = None,
    ) -> Float[Array, "*batch A"]:
        """Return the weights that an action leads to from those held."""
        del tradable
        return jnp.where(action == 0, weight, self._level(action))

    def _level(self, action: Integer[Array, "*batch A"]) -> Float[Array, "*batch A"]:
        return jnp.asarray(self.shares)[jnp.maximum(action.astype(int) - 1, 0)] * self.cap


@dataclasses.dataclass(frozen=True)
class WeightsHead:
    """Target weights: a normal score per asset, `[..., A, 2]` mean and log deviation, actions float32 `[..., A]`.

    The environment gets `softmax([scores, 0])`, cash being the asset with score 0. Probabilities are those of the
    scores, so the learner needs no Jacobian.
    """

    num_outputs: int = 2
    action_dtype = jnp.float32

    def _normal(self, outputs: Float[Array, "*batch A 2"]) -> "distrax.Normal":
        return _distrax().Normal(outputs[..., 0], jnp.exp(jnp.clip(outputs[..., 1], -5, 1)))

    def sample(
        self, key: PRNGKeyArray, outputs: Float[Array, "*batch A 2"], valid: Array | None = None
    ) -> Float[Array, "*batch A"]:
        """Draw scores."""
        del valid
        return self.draw(key, outputs)

    def draw(self, key: PRNGKeyArray, outputs: Float[Array, "*batch A 2"]) -> Float[Array, "*batch A"]:
        """Draw scores as `sample` does: mean plus deviation times noise, with derivatives by the outputs."""
        normal = self._normal(outputs)
        noise = jax.random.normal(key, outputs.shape[:-1], outputs.dtype)
        return jnp.asarray(normal.loc + normal.scale * noise)

    def with_noise(
        self, outputs: Float[Array, "*batch A 2"], factor: Float[Array, ""] | float
    ) -> Float[Array, "*batch A 2"]:
        """Return outputs whose deviations are `factor` times those of an untrained network, whatever they were."""
        return jnp.concatenate([outputs[..., :1], jnp.full_like(outputs[..., 1:], jnp.log(factor))], axis=-1)

    def beyond(self, outputs: Float[Array, "*batch A 2"]) -> Float[Array, "*batch A"]:
        """Return `[..., A]` 0: every score makes a difference."""
        return jnp.zeros_like(outputs[..., 0])

    def mode(self, outputs: Float[Array, "*batch A 2"], valid: Array | None = None) -> Float[Array, "*batch A"]:
        """Return the mean scores."""
        del valid
        return outputs[..., 0]

    def log_prob(
        self, outputs: Float[Array, "*batch A 2"], action: Float[Array, "*batch A"], valid: Array | None = None
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` log-densities of the scores."""
        del valid
        return jnp.asarray(self._normal(outputs).log_prob(action))

    def entropy(self, outputs: Float[Array, "*batch A 2"], valid: Array | None = None) -> Float[Array, "*batch A"]:
        """Return `[..., A]` differential entropies in nats."""
        del valid
        return jnp.asarray(self._normal(outputs).entropy())

    def to_env(
        self, action: Float[Array, "*batch A"], tradable: Bool[Array, "*batch A"] | None = None
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` target weights; cash is the rest."""
        del tradable
        cash_score = jnp.zeros_like(action[..., :1])
        return jax.nn.softmax(jnp.concatenate([action, cash_score], axis=-1), axis=-1)[..., :-1]

    def position_after(
        self,
        action: Float[Array, "*batch A"],
        weight: Float[Array, "*batch A"],
        tradable: Bool[Array, "*batch A"] | None = None,
    ) -> Float[Array, "*batch A"]:
        """Return the weights that an action leads to."""
        del weight
        return self.to_env(action, tradable)


Head = DiscreteHead | LevelsHead | WeightsHead | BandsHead
PathHead = WeightsHead | BandsHead
"""Heads whose actions are numbers: what an account earns has derivatives by them."""


def head_for(
    action: str, num_assets: int = 30, cap: float | None = None, cost: float = 2e-4, *, hold_cash: bool = True
) -> Head:
    """Return the head of an environment's action form.

    Args:
        action: of `EnvConfig`: `discrete`, `levels`, `weights` or `bands`.
        num_assets: A; what follows is read by `levels` and `bands` alone.
        cap: largest weight of an asset; three times an equal part, at most 1, without it.
        cost: of a trade per side, as a fraction.
        hold_cash: whether bands may leave a part of the account in cash.
    """
    cap = min(1.0, 3 / num_assets) if cap is None else cap
    if action == "bands":
        return BandsHead.create(num_assets, cap, cost, hold_cash=hold_cash)
    if action == "levels":
        return LevelsHead(cap)
    return DiscreteHead() if action == "discrete" else WeightsHead()
