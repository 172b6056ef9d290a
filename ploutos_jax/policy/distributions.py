"""Action distributions per asset. The only importer of distrax.

Both heads treat assets as independent given the observation: probabilities, entropies and divergences come back per
asset, and the learner decides whether to join them.
"""

import dataclasses
import functools
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, PRNGKeyArray

if TYPE_CHECKING:
    import distrax


NUM_CHOICES = 3
"""Hold, buy, sell."""


@functools.cache
def _distrax() -> ModuleType:
    """Load distrax, which takes a second; perhaps while a program is traced, whose arrays it must not hold."""
    with jax.ensure_compile_time_eval():
        import distrax
    return distrax


def _log_softmax(logits: Float[Array, "*batch A 3"]) -> tuple[Float[Array, "*batch A"], ...]:
    """Return the logarithms of the three probabilities, `[..., A]` each.

    Choice by choice, not along an axis of length 3: whatever follows from them is then one pass over the logits, where
    sums along an axis write every step out, which costs a wide market more than its matrix products.
    """
    choices = [logits[..., choice] for choice in range(NUM_CHOICES)]
    top = jax.lax.stop_gradient(functools.reduce(jnp.maximum, choices))
    shifted = [x - top for x in choices]
    total = jnp.log(sum(jnp.exp(x) for x in shifted))
    return tuple(x - total for x in shifted)


@dataclasses.dataclass(frozen=True)
class DiscreteHead:
    """Hold, buy or sell of each asset: categorical with logits `[..., A, 3]`, actions int8 `[..., A]`."""

    num_outputs: int = NUM_CHOICES
    action_dtype = jnp.int8

    def sample(self, key: PRNGKeyArray, logits: Float[Array, "*batch A 3"]) -> Integer[Array, "*batch A"]:
        """Draw actions by inverting the cumulative distribution: one uniform number per asset."""
        hold, buy, _ = (jnp.exp(x) for x in _log_softmax(logits))
        uniform = jax.random.uniform(key, logits.shape[:-1], logits.dtype)
        return (uniform > hold).astype(jnp.int8) + (uniform > hold + buy).astype(jnp.int8)

    def mode(self, logits: Float[Array, "*batch A 3"]) -> Integer[Array, "*batch A"]:
        """Return the greedy action of each asset."""
        return jnp.argmax(logits, axis=-1).astype(jnp.int8)

    def log_prob(
        self, logits: Float[Array, "*batch A 3"], action: Integer[Array, "*batch A"]
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` log-probabilities."""
        hold, buy, sell = _log_softmax(logits)
        return jnp.where(action == 0, hold, jnp.where(action == 1, buy, sell))

    def entropy(self, logits: Float[Array, "*batch A 3"]) -> Float[Array, "*batch A"]:
        """Return `[..., A]` entropies in nats."""
        hold, buy, sell = (jnp.exp(x) * x for x in _log_softmax(logits))
        return -(hold + buy + sell)

    def to_env(self, action: Integer[Array, "*batch A"]) -> Integer[Array, "*batch A"]:
        """Return what `TradingEnv.step` takes."""
        return action


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

    def sample(self, key: PRNGKeyArray, outputs: Float[Array, "*batch A 2"]) -> Float[Array, "*batch A"]:
        """Draw scores."""
        normal = self._normal(outputs)
        noise = jax.random.normal(key, outputs.shape[:-1], outputs.dtype)
        return jnp.asarray(normal.loc + normal.scale * noise)

    def mode(self, outputs: Float[Array, "*batch A 2"]) -> Float[Array, "*batch A"]:
        """Return the mean scores."""
        return outputs[..., 0]

    def log_prob(
        self, outputs: Float[Array, "*batch A 2"], action: Float[Array, "*batch A"]
    ) -> Float[Array, "*batch A"]:
        """Return `[..., A]` log-densities of the scores."""
        return jnp.asarray(self._normal(outputs).log_prob(action))

    def entropy(self, outputs: Float[Array, "*batch A 2"]) -> Float[Array, "*batch A"]:
        """Return `[..., A]` differential entropies in nats."""
        return jnp.asarray(self._normal(outputs).entropy())

    def to_env(self, action: Float[Array, "*batch A"]) -> Float[Array, "*batch A"]:
        """Return `[..., A]` target weights; cash is the rest."""
        cash_score = jnp.zeros_like(action[..., :1])
        return jax.nn.softmax(jnp.concatenate([action, cash_score], axis=-1), axis=-1)[..., :-1]


Head = DiscreteHead | WeightsHead


def head_for(action: str) -> Head:
    """Return the head of an environment's action form, `discrete` or `weights`."""
    return DiscreteHead() if action == "discrete" else WeightsHead()
