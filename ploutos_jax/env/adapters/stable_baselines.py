"""Many accounts side by side for Stable-Baselines3, whose import brings PyTorch: hence a module of its own."""

from typing import Any

import numpy as np
from jaxtyping import Float, Num

from ploutos_jax.env.adapters.gymnasium import GymnasiumVectorEnv
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams

try:
    from stable_baselines3.common.vec_env import VecEnv  # pyright: ignore[reportMissingImports]  # extra
except ImportError as error:
    raise ImportError("StableBaselinesVecEnv needs Stable-Baselines3: pip install 'ploutos_jax[bench]'.") from error


class StableBaselinesVecEnv(VecEnv):
    """Many accounts as a `VecEnv` of Stable-Baselines3, stepped by one compiled program.

    `VecEnv` is a class of its own, so Stable-Baselines3 does not take a vector environment of Gymnasium (a single
    `GymnasiumEnv` it takes as it is).

    Args:
        env: rules.
        params: numbers and market.
        num_envs: environments side by side.
        seed: environment i is seeded with `seed + i`, until `seed()` is called.
    """

    def __init__(self, env: TradingEnv, params: EnvParams, num_envs: int, seed: int = 0) -> None:
        self.vector = GymnasiumVectorEnv(env, params, num_envs, seed)
        self.env, self.params = env, params
        self._actions: Any = None
        super().__init__(num_envs, self.vector.single_observation_space, self.vector.single_action_space)

    def reset(self) -> Float[np.ndarray, "E observation"]:
        seeds = None if self._seeds[0] is None else [seed or 0 for seed in self._seeds]
        self._reset_seeds()
        self._reset_options()
        return self.vector.reset(seed=seeds)[0]

    def step_async(self, actions: Num[np.ndarray, "..."]) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        vectors, rewards, terminated, truncated, info = self.vector.step(self._actions)
        done = terminated | truncated
        infos = _per_environment(info, self.num_envs)
        for place in np.flatnonzero(done):
            last = {name: value[place] for name, value in info["final_info"].items() if name[0] != "_"}
            infos[place] = {
                **last,
                "terminal_observation": info["final_obs"][place],
                "TimeLimit.truncated": bool(truncated[place]),
            }
        return vectors, rewards, done, infos

    def close(self) -> None:
        self.vector.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.vector, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("The environments share one compiled program; make a new one to change it.")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> Any:
        if method_name == "action_masks":  # of the maskable PPO of sb3-contrib
            masks = self.vector.action_masks()
            return [masks[place] for place in self._get_indices(indices)]
        raise NotImplementedError(f"The environments share one compiled program; {method_name} cannot be called.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def _per_environment(info: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return a dictionary of the single numbers of `info` for each environment."""
    figures = {
        name: value.tolist() for name, value in info.items() if not name.startswith(("_", "final_")) and value.ndim == 1
    }
    return [{name: values[place] for name, values in figures.items()} for place in range(num_envs)]
