"""What an account looks like to Gymnasium: spaces, the shape of actions, the figures of `info`."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Num

from ploutos_jax.env.adapters.gymnax import observation_size
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import LEVELS, EnvParams, Info

try:
    from gymnasium import spaces
except ImportError:
    if TYPE_CHECKING:
        raise
    spaces = None


def require_gymnasium(name: str) -> None:
    """Make sure that Gymnasium is there for a class of that name.

    Raises:
        ImportError: if it is not.
    """
    if spaces is None:
        raise ImportError(f"{name} needs Gymnasium: pip install 'ploutos_jax[gym]'.")


def spaces_of(env: TradingEnv, params: EnvParams) -> tuple[Any, Any]:
    """Return Gymnasium's spaces of one environment. They do not depend on the data, so agents move between markets."""
    limit = np.finfo(np.float32).max
    observations = spaces.Box(-limit, limit, (observation_size(env, params),), np.float32)
    num_assets = params.market.num_assets
    if env.config.action == "weights":
        return observations, spaces.Box(0.0, 1.0, (num_assets + 1,), np.float32)
    if env.config.action == "bands":
        return observations, spaces.Box(0.0, 1.0, (num_assets, 2), np.float32)
    choices = len(LEVELS) + 1 if env.config.action == "levels" else 3
    return observations, spaces.Discrete(choices) if num_assets == 1 else spaces.MultiDiscrete([choices] * num_assets)


def shaped(actions: Any, space: Any, batch: tuple[int, ...]) -> Num[np.ndarray, "*batch actions"]:
    """Return actions as `TradingEnv` takes them, `[..., A]`, `[..., A + 1]` or `[..., A, 2]`.

    Raises:
        ValueError: if there is not one number for each asset, for each environment of `batch`.
    """
    actions = np.asarray(actions)
    shape = (*batch, *(space.shape or (1,)))
    if actions.size != np.prod(shape) or actions.shape[: len(batch)] != batch:
        raise ValueError(f"The action has shape {actions.shape}; this environment takes {(*batch, *space.shape)}.")
    return actions.reshape(shape).astype(np.float32 if space.dtype == np.float32 else np.int32)


def single_figures(info: Info) -> Info:
    """Return what of `info` is numbers and arrays, and no record of the broker."""
    return {name: value for name, value in info.items() if name not in ("fills", "order_moment")}
