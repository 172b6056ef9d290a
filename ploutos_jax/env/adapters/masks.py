"""Which actions there are, as other libraries ask for them."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, UInt8

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import LEVELS, MAY_BUY, MAY_SELL, Info, Observation

NUM_ORDERS = 3
"""Hold, buy, sell."""


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


def read_masks(masks: Bool[Array, "E actions"], num_assets: int) -> UInt8[Array, "E A"]:
    """Return `Observation.valid` from what `action_masks` made of it, one or several masks for each asset.

    Raises:
        ValueError: if there is not one number of masks for every asset.
    """
    per_asset, rest = divmod(masks.shape[-1], num_assets)
    if masks.ndim != 2 or rest or per_asset not in (1, NUM_ORDERS, 1 + len(LEVELS)):
        raise ValueError(
            f"action_masks of shape {masks.shape[1:]} are none of {num_assets} assets: give those of the environment's"
            " action_masks(), for each observation."
        )
    masks = masks.reshape(len(masks), num_assets, per_asset)
    buys, sells = (masks[..., 1], masks[..., 2]) if per_asset == NUM_ORDERS else (masks[..., -1], masks[..., -1])
    return (jnp.where(buys, MAY_BUY, 0) | jnp.where(sells, MAY_SELL, 0)).astype(jnp.uint8)


def masks_in(info: Info, config: EnvConfig, observation: Any) -> Info:
    """Return `info` with the `action_masks` of the observation, where a rule takes actions away."""
    if observation.valid is None:
        return info
    return {**info, "action_masks": action_masks(config, observation)}
