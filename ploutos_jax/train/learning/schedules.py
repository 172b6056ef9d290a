"""Numbers of PPO that change over a run; kinds of schedules are leaves too, so that one program serves all."""

import jax.numpy as jnp
from jaxtyping import Array, Int

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
