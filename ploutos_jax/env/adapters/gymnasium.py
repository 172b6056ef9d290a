"""The environment as other libraries know it: here for Gymnasium, beside it for Stable-Baselines3 and gymnax."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from ploutos_jax.env.adapters.gymnasium_vector import GymnasiumVectorEnv, Stream
from ploutos_jax.env.adapters.gymnax import GymnaxEnv, GymnaxParams
from ploutos_jax.env.adapters.masks import action_masks, masks_in
from ploutos_jax.env.adapters.seeding import keys_of, reset_key, step_key
from ploutos_jax.env.adapters.spaces import require_gymnasium, shaped, single_figures, spaces_of
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState

try:
    from gymnasium import Env
except ImportError:
    if TYPE_CHECKING:
        raise
    Env = object


class GymnasiumEnv(Env):
    """One account as a `gymnasium.Env`.

    Observations are the vector of `TradingEnv.flatten`. Actions are those of `TradingEnv`: `MultiDiscrete([3] * A)`, or
    `Discrete(3)` for one asset (5 instead of 3 for levels), or a `Box` of A + 1 weights, cash last, or of `(A, 2)`
    bands. `info` has the figures of `TradingEnv.step_env` but for the fills, as floats, ints and arrays; where a rule
    takes actions away, it has the `action_masks` of the observation returned, which `action_masks()` gives too, as the
    maskable PPO of sb3-contrib asks for them.

    `reset(options={"start": bar})` starts at that bar instead of a random one.
    """

    def __init__(self, env: TradingEnv, params: EnvParams, seed: int = 0) -> None:
        """Make an environment.

        Args:
            env: rules.
            params: numbers and market.
            seed: of all random numbers until `reset` is given another.

        Raises:
            ImportError: if Gymnasium is not installed.
        """
        require_gymnasium("GymnasiumEnv")
        self.env, self.params = env, params
        self.render_mode = None
        self.observation_space, self.action_space = spaces_of(env, params)
        self._key, self._episode, self._step = keys_of([seed])[0], 0, 0
        self._state: EnvState | None = None
        self._masks: Bool[np.ndarray, " actions"] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float[np.ndarray, " observation"], dict[str, Any]]:
        """Start an episode; the same seed gives the same episodes.

        Raises:
            ValueError: if `options["start"]` is a bar at which no episode may start.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._key, self._episode, self._step = keys_of([seed])[0], 0, 0
        if options and "start" in options:
            start = self._check_start(options["start"])
            observation, self._state = _reset_at(self.env, start, start + self.env.config.episode_length, self.params)
        else:
            key = _reset_key(self._key, np.uint32(self._episode))
            observation, self._state = _reset(self.env, key, self.params)
        self._episode += 1
        self._masks = np.array(_masks(self.env.config, observation))
        info = masks_in({}, self.env.config, observation)
        return np.array(_flatten(self.env, observation, self.params)), {n: np.array(x) for n, x in info.items()}

    def action_masks(self) -> Bool[np.ndarray, " actions"]:
        """Return which actions there are now; see `masks.action_masks`.

        Raises:
            ValueError: if `reset` was not called before.
        """
        if self._masks is None:
            raise ValueError("No episode is running: call reset() before asking for masks.")
        return self._masks.copy()

    def step(self, action: Any) -> tuple[Float[np.ndarray, " observation"], float, bool, bool, dict[str, Any]]:
        """Advance one bar.

        Raises:
            ValueError: if no episode is running or the action has not one number for each asset.
        """
        if self._state is None:
            raise ValueError("No episode is running: call reset() before the first step and after an episode's end.")
        action = shaped(action, self.action_space, ())
        key = _step_key(self._key, np.uint32(self._step))
        observation, state, *outcome, info = _step_env(self.env, key, self._state, action, self.params)
        masks = _masks(self.env.config, observation)
        info = single_figures(info) if observation.valid is None else {**single_figures(info), "action_masks": masks}
        outputs = _flatten(self.env, observation, self.params), *outcome, info
        vector, reward, terminated, truncated, info = jax.device_get(outputs)
        self._masks = np.array(masks)
        self._state = None if terminated or truncated else state
        self._step += 1
        figures = {name: value.item() if value.ndim == 0 else np.array(value) for name, value in info.items()}
        return np.array(vector), float(reward), bool(terminated), bool(truncated), figures

    def _check_start(self, start: Any) -> np.int32:
        starts = np.asarray(self.params.starts)
        if start not in starts:
            raise ValueError(
                f"options['start']={start!r} is no bar at which an episode of {self.env.config.episode_length} bars"
                f" may start; use one from {starts.min()} to {starts.max()}, in params.starts."
            )
        return np.int32(start)


# A single account runs the very programs of `jax.jit(env.step_env)` and so on: one program of them all would round
# differently here and there.
_reset_key, _step_key = jax.jit(reset_key), jax.jit(step_key)
_reset, _reset_at = (jax.jit(f, static_argnums=0) for f in (TradingEnv.reset, TradingEnv.reset_at))
_masks = jax.jit(action_masks, static_argnums=0)
_step_env, _flatten = (jax.jit(f, static_argnums=0) for f in (TradingEnv.step_env, TradingEnv.flatten))


__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "GymnaxEnv", "GymnaxParams", "Stream", "reset_key", "step_key"]
