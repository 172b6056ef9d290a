"""The environment as other libraries know it: here for Gymnasium, beside it for Stable-Baselines3 and gymnax.

Randomness is the same for all that count seeds: environment i of a vector seeded with s is the environment seeded with
s + i; its episode e starts with `reset_key(key(seed), e)` and its step n since the seeding draws `step_key(key, n)`.
"""

import functools
import typing
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ploutos_jax.env.adapters.gymnax import GymnaxEnv, GymnaxParams, observation_size
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import Array, EnvParams, EnvState, Info

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space

    _Env, _VectorEnv = gymnasium.Env, VectorEnv
except ImportError:
    if TYPE_CHECKING:
        raise
    gymnasium, _Env, _VectorEnv = None, object, object


@typing.no_type_check
class Stream(struct.PyTreeNode):
    """One environment of a vector on its way.

    Attributes:
        state: the account.
        key: of the last seeding.
        episode: uint32, episodes begun before this one since the seeding.
        step: uint32, steps taken since the seeding.
    """

    state: EnvState
    key: Array
    episode: Array
    step: Array


def reset_key(key: Array, episode: Array | int) -> Array:
    """Return the key that an episode starts with."""
    return jax.random.fold_in(jax.random.fold_in(key, 0), episode)


def step_key(key: Array, step: Array | int) -> Array:
    """Return the key of a step."""
    return jax.random.fold_in(jax.random.fold_in(key, 1), step)


class GymnasiumEnv(_Env):
    """One account as a `gymnasium.Env`.

    Observations are the vector of `TradingEnv.flatten`. Actions are those of `TradingEnv`: `MultiDiscrete([3] * A)`, or
    `Discrete(3)` for one asset, or a `Box` of A + 1 weights, cash last. `info` has the figures of `TradingEnv.step_env`
    but for the fills, as floats, ints and arrays.

    `reset(options={"start": bar})` starts at that bar instead of a random one.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, env: TradingEnv, params: EnvParams, seed: int = 0) -> None:
        """Make an environment.

        Args:
            env: rules.
            params: numbers and market.
            seed: of all random numbers until `reset` is given another.

        Raises:
            ImportError: if Gymnasium is not installed.
        """
        _require_gymnasium("GymnasiumEnv")
        self.env, self.params = env, params
        self.render_mode = None
        self.observation_space, self.action_space = _spaces(env, params)
        self._key, self._episode, self._step = _keys([seed])[0], 0, 0
        self._state: EnvState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same seed gives the same episodes.

        Raises:
            ValueError: if `options["start"]` is a bar at which no episode may start.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._key, self._episode, self._step = _keys([seed])[0], 0, 0
        if options and "start" in options:
            start = self._check_start(options["start"])
            observation, self._state = _reset_at(self.env, start, start + self.env.config.episode_length, self.params)
        else:
            key = _reset_key(self._key, np.uint32(self._episode))
            observation, self._state = _reset(self.env, key, self.params)
        self._episode += 1
        return np.array(_flatten(self.env, observation, self.params)), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance one bar.

        Raises:
            ValueError: if no episode is running or the action has not one number for each asset.
        """
        if self._state is None:
            raise ValueError("No episode is running: call reset() before the first step and after an episode's end.")
        action = _shaped(action, self.action_space, ())
        key = _step_key(self._key, np.uint32(self._step))
        observation, state, *outcome, info = _step_env(self.env, key, self._state, action, self.params)
        outputs = _flatten(self.env, observation, self.params), *outcome, _without_fills(info)
        vector, reward, terminated, truncated, info = jax.device_get(outputs)
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


class GymnasiumVectorEnv(_VectorEnv):
    """Many accounts as a `gymnasium.vector.VectorEnv`, stepped by one compiled program.

    An episode that ends is followed by the next in the same step (`AutoresetMode.SAME_STEP`): the observation returned
    is the first of the new episode, `infos["final_obs"]` and `infos["final_info"]` have the last of the old one. So no
    step is spent on a reset, and a learner finds what it has to bootstrap from. Gymnasium's wrappers of observations
    want `NEXT_STEP`: then a step after an end takes no action but starts the next episode, with a reward of 0.
    """

    def __init__(
        self, env: TradingEnv, params: EnvParams, num_envs: int, seed: int = 0, *, autoreset_mode: Any = "SameStep"
    ) -> None:
        """Make `num_envs` environments; see `GymnasiumEnv`.

        Args:
            env: rules.
            params: numbers and market.
            num_envs: environments side by side.
            seed: environment i is seeded with `seed + i`, until `reset` is given another.
            autoreset_mode: `AutoresetMode.SAME_STEP` or `NEXT_STEP`, or their names `SameStep` and `NextStep`.

        Raises:
            ImportError: if Gymnasium is not installed.
            ValueError: if `num_envs` is below 1 or the mode is another.
        """
        _require_gymnasium("GymnasiumVectorEnv")
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1.")
        self.env, self.params, self.num_envs = env, params, num_envs
        modes = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
        if autoreset_mode not in (*modes, *(mode.value for mode in modes)):
            raise ValueError(f"autoreset_mode={autoreset_mode!r} is not supported; use 'SameStep' or 'NextStep'.")
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode(autoreset_mode)}
        self._same_step = AutoresetMode(autoreset_mode) == AutoresetMode.SAME_STEP
        self.render_mode = None
        self.single_observation_space, self.single_action_space = _spaces(env, params)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._keys = _keys(range(seed, seed + num_envs))
        self._streams: Stream | None = None
        self._ended = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: environment i is seeded with `seed + i`, or with `seed[i]` of a list; None goes on with new episodes.
            options: not used.

        Raises:
            ValueError: if there is not one seed for each environment.
        """
        del options
        one = isinstance(seed, int | np.integer)
        super().reset(seed=seed if one else None)
        if seed is not None:
            seeds = range(seed, seed + self.num_envs) if one else list(seed)
            if len(seeds) != self.num_envs:
                raise ValueError(f"{len(seeds)} seeds were given for {self.num_envs} environments; give one for each.")
            self._keys, self._streams = _keys(seeds), None
        self._streams, vectors = _begin_all(self.env, self.params, self._keys, self._streams)
        self._ended = np.zeros(self.num_envs, bool)
        return np.array(vectors), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all environments one bar; see the class for what follows an episode's end.

        Raises:
            ValueError: if `reset` was not called before, or `actions` has another shape.
        """
        if self._streams is None:
            raise ValueError("No episode is running: call reset() before the first step.")
        actions = _shaped(actions, self.single_action_space, (self.num_envs,))
        restarted = self._ended
        self._streams, *outputs = _step_all(
            self.env, self.params, self._streams, actions, None if self._same_step else restarted
        )
        vectors, final, rewards, terminated, truncated, info = jax.tree.map(np.array, jax.device_get(outputs))
        done = terminated | truncated
        if self._same_step:
            return vectors, rewards, terminated, truncated, _vector_info(info, final, done)
        self._ended = done
        return vectors, rewards, terminated, truncated, {} if restarted.all() else _masked(info, ~restarted)


def _vector_info(info: dict[str, np.ndarray], final: np.ndarray, done: np.ndarray) -> dict[str, Any]:
    """Return figures and masks as Gymnasium lays them out: what ended is in `final_info`, and 0 outside of it."""
    if not done.any():
        return _masked(info, ~done)
    running = {} if done.all() else _masked(info, ~done)
    observations = np.full(len(done), None, object)
    for place in np.flatnonzero(done):
        observations[place] = final[place]
    return {
        **running,
        "final_obs": observations,
        "_final_obs": done.copy(),
        "final_info": _masked(info, done),
        "_final_info": done.copy(),
    }


def _masked(info: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    masked = {}
    for name, values in info.items():
        kept = mask.reshape(-1, *(1,) * (values.ndim - 1))
        masked |= {name: np.where(kept, values, np.zeros_like(values)), f"_{name}": mask.copy()}
    return masked


def _require_gymnasium(name: str) -> None:
    if gymnasium is None:
        raise ImportError(f"{name} needs Gymnasium: pip install 'ploutos_jax[gym]'.")


def _spaces(env: TradingEnv, params: EnvParams) -> tuple[Any, Any]:
    """Return Gymnasium's spaces of one environment. They do not depend on the data, so agents move between markets."""
    limit = np.finfo(np.float32).max
    observations = spaces.Box(-limit, limit, (observation_size(env, params),), np.float32)
    num_assets = params.market.num_assets
    if env.config.action == "weights":
        return observations, spaces.Box(0.0, 1.0, (num_assets + 1,), np.float32)
    return observations, spaces.Discrete(3) if num_assets == 1 else spaces.MultiDiscrete([3] * num_assets)


def _shaped(actions: Any, space: Any, batch: tuple[int, ...]) -> np.ndarray:
    """Return actions as `TradingEnv` takes them, `[..., A]` or `[..., A + 1]`."""
    actions = np.asarray(actions)
    shape = (*batch, *(space.shape or (1,)))
    if actions.size != np.prod(shape) or actions.shape[: len(batch)] != batch:
        raise ValueError(f"The action has shape {actions.shape}; this environment takes {(*batch, *space.shape)}.")
    return actions.reshape(shape).astype(np.float32 if space.dtype == np.float32 else np.int32)


def _keys(seeds: Any) -> Array:
    return jax.vmap(jax.random.key)(np.array([int(seed) % 2**32 for seed in seeds], np.uint32))


# A single account runs the very programs of `jax.jit(env.step_env)` and so on: one program of them all would round
# differently here and there.
_reset_key, _step_key = jax.jit(reset_key), jax.jit(step_key)
_reset, _reset_at = (jax.jit(f, static_argnums=0) for f in (TradingEnv.reset, TradingEnv.reset_at))
_step_env, _flatten = (jax.jit(f, static_argnums=0) for f in (TradingEnv.step_env, TradingEnv.flatten))


def _without_fills(info: Info) -> Info:
    return {name: value for name, value in info.items() if name != "fills"}


def _begin(env: TradingEnv, params: EnvParams, key: Array, episode: Array) -> tuple[Stream, Array]:
    observation, state = env.reset(reset_key(key, episode), params)
    return Stream(state=state, key=key, episode=episode, step=jnp.uint32(0)), env.flatten(observation, params)


@functools.partial(jax.jit, static_argnums=0)
def _begin_all(env: TradingEnv, params: EnvParams, keys: Array, before: Stream | None) -> tuple[Stream, Array]:
    """Start episodes in all environments: the first of each key, or those that follow the ones `before`."""
    begin = jax.vmap(functools.partial(_begin, env), in_axes=(None, 0, 0))
    if before is None:
        return begin(params, keys, jnp.zeros(keys.shape[0], jnp.uint32))
    streams, vectors = begin(params, keys, before.episode + 1)
    return streams.replace(step=before.step), vectors


@functools.partial(jax.jit, static_argnums=0)
def _step_all(
    env: TradingEnv, params: EnvParams, streams: Stream, actions: Array, ended: Array | None
) -> tuple[Any, ...]:
    """Step all environments, but for those that begin anew: in the step that ends them, or where they `ended` before.

    The last observations are returned beside those to go on with.
    """

    def step(stream: Stream, action: Array, ended: Array | None) -> tuple[Any, ...]:
        observation, state, reward, terminated, truncated, info = env.step_env(
            step_key(stream.key, stream.step), stream.state, action, params
        )
        moved, final = stream.replace(state=state, step=stream.step + 1), env.flatten(observation, params)
        fresh, first = _begin(env, params, stream.key, stream.episode + 1)
        restart = terminated | truncated if ended is None else ended
        fresh = fresh.replace(step=moved.step if ended is None else stream.step)
        moved, vector = jax.tree.map(lambda a, b: jnp.where(restart, a, b), (fresh, first), (moved, final))
        if ended is not None:
            reward, terminated, truncated = jnp.where(ended, 0, reward), terminated & ~ended, truncated & ~ended
        return moved, vector, final, reward, terminated, truncated, _without_fills(info)

    return jax.vmap(step)(streams, actions, ended)


__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "GymnaxEnv", "GymnaxParams", "Stream", "reset_key", "step_key"]
