"""The environment with the interface of gymnax, so that JAX trainers of others run on it."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from ploutos_jax.env.adapters.masks import masks_in
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import LEVELS, EnvParams, EnvState, Info


def observation_size(env: TradingEnv, params: EnvParams) -> int:
    """Return the length of the vector of `TradingEnv.flatten`."""
    observation, _ = jax.eval_shape(env.reset_at, 0, 1, params)
    return jax.eval_shape(env.flatten, observation, params).shape[0]


@typing.no_type_check
class GymnaxParams(struct.PyTreeNode):
    """What trainers hand through as `env_params`.

    Attributes:
        trading: numbers and market.
        max_steps_in_episode: bars in an episode, for trainers that ask.
    """

    trading: EnvParams
    max_steps_in_episode: int = struct.field(pytree_node=False)


class GymnaxEnv:
    """The environment with the interface of a gymnax environment, so that JAX trainers of others run on it.

    Observations are the vector of `TradingEnv.flatten`. gymnax 1.0 returns
    `(observation, state, reward, terminated, truncated, info)` from `step`. Trainers written for gymnax before 1.0
    (rejax 0.1.3, which trains on this view unchanged, and PureJaxRL) unpack five values: with `joint_done=True` `step`
    returns `(observation, state, reward, terminated | truncated, info)`. Either way `info` has `terminated`,
    `truncated`, `final_observation` (the true last one, to bootstrap from), `discount` (0 where terminated, else 1) and
    the figures of `TradingEnv.step_env` that are numbers; and `action_masks` of the observation returned, where a rule
    takes actions away (see `masks.action_masks`).

    One asset takes an integer (hold, buy, sell; or keep and four levels); weights are a `Box` of A + 1, cash last,
    bands one of `(A, 2)`. gymnax has no space of several discrete actions, so with `action="discrete"` or `"levels"`
    and more assets there is no `action_space`; `step` takes them all the same.
    """

    def __init__(self, env: TradingEnv, params: EnvParams | None = None, *, joint_done: bool = False) -> None:
        """Make the view.

        Args:
            env: rules.
            params: numbers and market of `default_params`.
            joint_done: return termination and truncation as one flag, as gymnax did before 1.0.
        """
        self.env, self.joint_done = env, joint_done
        self._params = params

    @property
    def name(self) -> str:
        """Name of the environment."""
        return "TradingEnv"

    @property
    def default_params(self) -> GymnaxParams:
        """The parameters given, as trainers hand them through.

        Raises:
            ValueError: if none were given.
        """
        if self._params is None:
            raise ValueError("The environment has no market: make it with GymnaxEnv(env, env.default_params(market)).")
        return GymnaxParams(trading=self._params, max_steps_in_episode=self.env.config.episode_length)

    @property
    def num_actions(self) -> int:
        """Actions of one asset (3, or 5 of levels), or how many numbers an action is."""
        if self.env.config.is_choice:
            return 3 if self.env.config.action == "discrete" else len(LEVELS) + 1
        num_assets = self.default_params.trading.market.num_assets
        return 2 * num_assets if self.env.config.action == "bands" else num_assets + 1

    def reset(
        self, key: PRNGKeyArray, params: GymnaxParams | None = None
    ) -> tuple[Float[Array, " observation"], EnvState]:
        """Start an episode; see `TradingEnv.reset`."""
        trading = self._resolve(params)
        observation, state = self.env.reset(key, trading)
        return self.env.flatten(observation, trading), state

    reset_env = reset

    def step(
        self,
        key: PRNGKeyArray,
        state: EnvState,
        action: Num[Array | np.ndarray, "..."] | int,
        params: GymnaxParams | None = None,
    ) -> Any:
        """Advance one bar, and start a new episode after the last; see the class for what is returned."""
        trading = self._resolve(params)
        observation, state, reward, terminated, truncated, info = self.env.step(
            key, state, self._shaped(action, trading), trading
        )
        final = self.env.flatten(info["final_observation"], trading)
        figures = {**_ends(terminated, truncated), **_figures(info), "final_observation": final}
        figures = masks_in(figures, self.env.config, observation)
        vector = self.env.flatten(observation, trading)
        if self.joint_done:
            return vector, state, reward, terminated | truncated, figures
        return vector, state, reward, terminated, truncated, figures

    def step_env(
        self,
        key: PRNGKeyArray,
        state: EnvState,
        action: Num[Array | np.ndarray, "..."] | int,
        params: GymnaxParams | None = None,
    ) -> tuple[Float[Array, " observation"], EnvState, Float[Array, ""], Bool[Array, ""], Info]:
        """Advance one bar without starting a new episode; the flag is `terminated`, or both with `joint_done`."""
        trading = self._resolve(params)
        observation, state, reward, terminated, truncated, info = self.env.step_env(
            key, state, self._shaped(action, trading), trading
        )
        done = terminated | truncated if self.joint_done else terminated
        figures = masks_in({**_ends(terminated, truncated), **_figures(info)}, self.env.config, observation)
        return self.env.flatten(observation, trading), state, reward, done, figures

    def is_terminated(self, state: EnvState, params: GymnaxParams | None = None) -> Bool[Array, ""]:
        """Return whether the account is ruined."""
        trading = self._resolve(params)
        return state.equity < trading.ruin_pct * trading.initial_cash

    def is_truncated(self, state: EnvState, params: GymnaxParams | None = None) -> Bool[Array, ""]:
        """Return whether the episode's last bar is reached."""
        return ~self.is_terminated(state, params) & (state.t >= state.end)

    def is_terminal(self, state: EnvState, params: GymnaxParams | None = None) -> Bool[Array, ""]:
        """Return the flag of `step_env`."""
        ended = self.is_terminated(state, params)
        return ended | self.is_truncated(state, params) if self.joint_done else ended

    def observation_space(self, params: GymnaxParams | None = None) -> Any:
        """Return gymnax's `Box` of the observations."""
        limit = float(np.finfo(np.float32).max)
        return _gymnax_spaces().Box(-limit, limit, (observation_size(self.env, self._resolve(params)),), jnp.float32)

    def action_space(self, params: GymnaxParams | None = None) -> Any:
        """Return gymnax's space of the actions.

        Raises:
            ValueError: if actions are discrete and there is more than one asset.
        """
        num_assets = self._resolve(params).market.num_assets
        if self.env.config.action == "weights":
            return _gymnax_spaces().Box(0.0, 1.0, (num_assets + 1,), jnp.float32)
        if self.env.config.action == "bands":
            return _gymnax_spaces().Box(0.0, 1.0, (num_assets, 2), jnp.float32)
        if num_assets > 1:
            raise ValueError(
                f"gymnax has no space of {num_assets} discrete actions; use EnvConfig(action='weights') or one asset."
            )
        return _gymnax_spaces().Discrete(3 if self.env.config.action == "discrete" else len(LEVELS) + 1)

    def _resolve(self, params: GymnaxParams | None) -> EnvParams:
        return (self.default_params if params is None else params).trading

    def _shaped(self, action: Array | np.ndarray | int, params: EnvParams) -> Array:
        action = jnp.asarray(action)
        return action.reshape(params.market.num_assets) if self.env.config.is_choice else action


def _ends(terminated: Array, truncated: Array) -> Info:
    return {
        "terminated": terminated,
        "truncated": truncated,
        "discount": jnp.where(terminated, 0.0, 1.0),
    }


def _figures(info: Info) -> Info:
    """Return what of `info` is one number: trainers stack it for every step."""
    return {name: value for name, value in info.items() if getattr(value, "ndim", None) == 0}


def _gymnax_spaces() -> Any:
    try:
        from gymnax.environments import spaces as gymnax_spaces  # pyright: ignore[reportMissingImports]  # extra
    except ImportError as error:
        raise ImportError("Spaces of a GymnaxEnv are those of gymnax: pip install gymnax.") from error
    return gymnax_spaces
