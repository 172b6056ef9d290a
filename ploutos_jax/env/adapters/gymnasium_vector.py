"""Many accounts as a vector environment of Gymnasium."""

import functools
import typing
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Key, UInt32

from ploutos_jax.env.adapters.masks import action_masks, masks_in
from ploutos_jax.env.adapters.seeding import keys_of, reset_key, step_key
from ploutos_jax.env.adapters.spaces import require_gymnasium, shaped, single_figures, spaces_of
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState

try:
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError:
    if TYPE_CHECKING:
        raise
    VectorEnv = object


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
    key: Key[Array, "*E"]
    episode: UInt32[Array, "*E"]
    step: UInt32[Array, "*E"]


class GymnasiumVectorEnv(VectorEnv):
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
        require_gymnasium("GymnasiumVectorEnv")
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1.")
        self.env, self.params, self.num_envs = env, params, num_envs
        modes = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
        if autoreset_mode not in (*modes, *(mode.value for mode in modes)):
            raise ValueError(f"autoreset_mode={autoreset_mode!r} is not supported; use 'SameStep' or 'NextStep'.")
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode(autoreset_mode)}
        self._same_step = AutoresetMode(autoreset_mode) == AutoresetMode.SAME_STEP
        self.render_mode = None
        self.single_observation_space, self.single_action_space = spaces_of(env, params)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._keys = keys_of(range(seed, seed + num_envs))
        self._streams: Stream | None = None
        self._ended = np.zeros(num_envs, bool)
        self._masks: Bool[np.ndarray, "E actions"] | None = None

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float[np.ndarray, "E observation"], dict[str, Any]]:
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
            self._keys, self._streams = keys_of(seeds), None
        self._streams, vectors, masks = _begin_all(self.env, self.params, self._keys, self._streams)
        self._ended = np.zeros(self.num_envs, bool)
        self._masks = np.array(masks)
        return np.array(vectors), self._masks_of_all()

    def action_masks(self) -> Bool[np.ndarray, "E actions"]:
        """Return which actions there are now in every environment; see `GymnasiumEnv.action_masks`.

        Raises:
            ValueError: if `reset` was not called before.
        """
        if self._masks is None:
            raise ValueError("No episode is running: call reset() before asking for masks.")
        return self._masks.copy()

    def _masks_of_all(self) -> dict[str, Any]:
        """Return the masks as `infos` has them, where a rule takes actions away: those of the observations returned."""
        if not self.env.config.masks_actions:
            return {}
        return {"action_masks": self.action_masks(), "_action_masks": np.ones(self.num_envs, bool)}

    def step(
        self, actions: Any
    ) -> tuple[
        Float[np.ndarray, "E observation"],
        Float[np.ndarray, " E"],
        Bool[np.ndarray, " E"],
        Bool[np.ndarray, " E"],
        dict[str, Any],
    ]:
        """Advance all environments one bar; see the class for what follows an episode's end.

        Raises:
            ValueError: if `reset` was not called before, or `actions` has another shape.
        """
        if self._streams is None:
            raise ValueError("No episode is running: call reset() before the first step.")
        actions = shaped(actions, self.single_action_space, (self.num_envs,))
        restarted = self._ended
        self._streams, *outputs = _step_all(
            self.env, self.params, self._streams, actions, None if self._same_step else restarted
        )
        outputs = jax.tree.map(np.array, jax.device_get(outputs))
        vectors, self._masks, final, rewards, terminated, truncated, info = outputs
        done = terminated | truncated
        if self._same_step:
            infos = {**_vector_info(info, final, done), **self._masks_of_all()}
            return vectors, rewards, terminated, truncated, infos
        self._ended = done
        infos = {} if restarted.all() else _masked(info, ~restarted)
        return vectors, rewards, terminated, truncated, {**infos, **self._masks_of_all()}


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


def _begin(env: TradingEnv, params: EnvParams, key: Array, episode: Array) -> tuple[Stream, Array, Array]:
    observation, state = env.reset(reset_key(key, episode), params)
    stream = Stream(state=state, key=key, episode=episode, step=jnp.uint32(0))
    return stream, env.flatten(observation, params), action_masks(env.config, observation)


@functools.partial(jax.jit, static_argnums=0)
def _begin_all(env: TradingEnv, params: EnvParams, keys: Array, before: Stream | None) -> tuple[Stream, Array, Array]:
    """Start episodes in all environments: the first of each key, or those that follow the ones `before`."""
    begin = jax.vmap(functools.partial(_begin, env), in_axes=(None, 0, 0))
    if before is None:
        return begin(params, keys, jnp.zeros(keys.shape[0], jnp.uint32))
    streams, vectors, masks = begin(params, keys, before.episode + 1)
    return streams.replace(step=before.step), vectors, masks


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
        masks = action_masks(env.config, observation)
        fresh, first, first_masks = _begin(env, params, stream.key, stream.episode + 1)
        restart = terminated | truncated if ended is None else ended
        fresh = fresh.replace(step=moved.step if ended is None else stream.step)
        moved, vector, masks = jax.tree.map(
            lambda a, b: jnp.where(restart, a, b), (fresh, first, first_masks), (moved, final, masks)
        )
        if ended is not None:
            reward, terminated, truncated = jnp.where(ended, 0, reward), terminated & ~ended, truncated & ~ended
        figures = masks_in(single_figures(info), env.config, observation)
        return moved, vector, masks, final, reward, terminated, truncated, figures

    return jax.vmap(step)(streams, actions, ended)
