"""Numbers of PPO that change over a run; kinds of schedules are leaves too, so that one program serves all.

One schedule follows what was measured, not the clock: `adapted_rate`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ploutos_jax.train.config import Hyper


def hyper_at(hyper: Hyper, update: Int[Array, ""]) -> Hyper:
    """Return the numbers that hold in an update: learning rate and entropy coefficient as their schedules say.

    With d, the share of the run that is done: linear is `1 − d`, cosine `(1 + cos πd) / 2`, constant 1.

    Args:
        hyper: numbers at the start of the run.
        update: int32, updates done.
    """
    done = jnp.minimum(update / hyper.num_updates, 1.0)
    rate = 1 - hyper.decay * done - hyper.cosine_decay * (1 - jnp.cos(jnp.pi * done)) / 2
    return hyper.replace(
        learning_rate=hyper.learning_rate * rate,
        entropy_coef=hyper.entropy_coef * (1 - hyper.entropy_decay * done),
    )


USUAL_KL = 0.02
"""Aimed at where no `target_kl` is set."""
_STEP = 1.5
_LOWEST, _HIGHEST = 0.01, 10.0


def adapted_rate(rate: Float[Array, ""], kl: Float[Array, ""], target_kl: Float[Array, ""] | float) -> Float[Array, ""]:
    """Return the factor on the learning rate in the next update, by how far this one has moved the policy.

    Divided by 1.5 above twice the target, times 1.5 below half of it, between a hundredth and ten. A KL that is not a
    number, of an update whose steps were all skipped, changes nothing.

    Source: Heess et al. 2017, "Emergence of Locomotion Behaviours in Rich Environments", who adapt the weight of a
    penalty so; Schulman's and later implementations of PPO adapt the step size.

    Args:
        rate: the factor in this update; 1 at first.
        kl: mean KL of the policy after its last epoch against the rollout's.
        target_kl: `TrainConfig.target_kl`; infinite where there is none.
    """
    target_kl = jnp.where(jnp.isfinite(target_kl), target_kl, USUAL_KL)
    slower = jnp.where(kl > 2 * target_kl, rate / _STEP, rate)
    return jnp.clip(jnp.where(kl < target_kl / 2, rate * _STEP, slower), _LOWEST, _HIGHEST)
