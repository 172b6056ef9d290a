"""Gradient steps whose loss or gradient is not finite: which term it was, when a run gives up, and what to try."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ploutos_jax.agents.parts import WHOLE, Parts

MAX_SKIPPED_IN_ROW = 5
"""A run stops after so many skipped gradient steps in a row."""

_CHECK_SOURCES = "Look for extreme prices, signals or fees in the data, and at a reward function of your own."
_LOWER_STEPS = "Lower learning_rate or max_grad_norm."

FAULTS = {
    "rewards": f"The environment gave them before any loss was taken. {_CHECK_SOURCES}",
    "values": f"The critic gave them from the observations. {_LOWER_STEPS} {_CHECK_SOURCES}",
    "advantages": "They overflowed although rewards and values are finite. Lower gamma or gae_lambda.",
    "policy loss": f"A probability ratio overflowed. {_LOWER_STEPS} Or set target_kl, such as 0.02.",
    "value loss": f"The critic overflowed. {_LOWER_STEPS} Or lower value_coef.",
    "entropy": f"The action distribution degenerated. {_LOWER_STEPS} Or raise entropy_coef.",
    "gradient norm": f"The losses are finite, their gradient is not. {_LOWER_STEPS}",
}
"""What can be not finite, in the order of cause and effect, and what to try. Codes count from 1; 0 is no fault."""


class DivergedError(ValueError):
    """Training was stopped because too many gradient steps in a row could not be taken."""


def rollout_fault(
    rewards: Float[Array, "..."], values: Float[Array, "..."], advantages: Float[Array, "..."], parts: Parts = WHOLE
) -> Int[Array, ""]:
    """Return the int32 code of the first term of a rollout that is not finite; 0 if all are."""
    return _first_fault([parts.all_true(jnp.isfinite(x).all()) for x in (rewards, values, advantages)], first_code=1)


def step_fault(of_rollout: Int[Array, ""], losses: Any, norm: Float[Array, ""]) -> Int[Array, ""]:
    """Return the int32 code of the first term that is not finite in a gradient step; 0 if it can be taken.

    Args:
        of_rollout: what `rollout_fault` gave; it explains the step's fault where it is not 0.
        losses: means of the minibatch: `policy`, `value` and `entropy`.
        norm: global norm of its gradient.
    """
    finite = [jnp.isfinite(x) for x in (losses.policy, losses.value, losses.entropy, norm)]
    own = _first_fault(finite, first_code=4)
    return jnp.where((own > 0) & (of_rollout > 0), of_rollout, own)


def _first_fault(finite: list[Array], first_code: int) -> Array:
    bad = ~jnp.stack(finite)
    return jnp.where(bad.any(), jnp.argmax(bad) + first_code, 0).astype(jnp.int32)


def describe_fault(code: int, update: int, seed: int | None, where: str) -> str:
    """Return the message of a run that gives up.

    Args:
        code: of the term, from 1.
        update: the update that failed.
        seed: the one of several that failed, or None.
        where: what became of the last good state, one sentence.
    """
    name, advice = list(FAULTS.items())[code - 1]
    of_seed = "" if seed is None else f" of seed {seed}"
    verb = "were" if name.endswith("s") and not name.endswith("loss") else "was"
    return (
        f"Training{of_seed} stopped in update {update}: {MAX_SKIPPED_IN_ROW} gradient steps in a row were skipped"
        f" because the {name} {verb} not finite. {advice} {where}"
    )
