"""Which actions there are, as other libraries ask for them."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import LEVELS, MAY_BUY, MAY_SELL, Info, Observation


def action_masks(config: EnvConfig, observation: Observation) -> Bool[Array, " actions"]:
    """Return where an action is one that there is, all True where no rule takes any away.

    Asset by asset: for `discrete` hold, buy and sell (`[3A]`), for `levels` keep and the four levels (`[5A]`), as the
    maskable PPO of sb3-contrib reads them; for `weights` and `bands` whether an asset's numbers count (`[A]`).
    """
    num_assets, valid = observation.positions.shape[0], observation.valid
    if valid is None:
        valid = jnp.full(num_assets, MAY_BUY | MAY_SELL, jnp.uint8)
    if not config.is_choice:
        return valid > 0
    holds = jnp.ones(num_assets, bool)
    others = [valid & bit > 0 for bit in (MAY_BUY, MAY_SELL)]
    if config.action == "levels":
        others = [valid > 0] * len(LEVELS)
    return jnp.stack([holds, *others], axis=-1).reshape(-1)


def masks_in(info: Info, config: EnvConfig, observation: Any) -> Info:
    """Return `info` with the `action_masks` of the observation, where a rule takes actions away."""
    if observation.valid is None:
        return info
    return {**info, "action_masks": action_masks(config, observation)}
