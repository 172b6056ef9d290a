"""Measure one simulator or learner, in a process of its own; see `benchmarks/peers.py`, which starts it.

python -m benchmarks.measure_peer NAME [--quick]      prints one line of JSON
"""

import argparse
import functools
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.measure_speed import play_at_random
from ploutos_jax.agents.network import Network
from ploutos_jax.env.adapters.gymnasium import GymnasiumEnv, GymnasiumVectorEnv
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo.learner import Learner

NUM_BARS, EPISODE_LENGTH, HIDDEN, NUM_EPOCHS, NUM_MINIBATCHES = 1260, 252, (128, 128), 4, 4
SB3_ENVS, SB3_STEPS = 16, 128
"""Environments and steps per update of Stable-Baselines3: 2,048 samples, in minibatches of 512."""


def gym_trading_env_alone(quick: bool) -> dict[str, Any]:
    """Steps of gym-trading-env under random actions."""
    env = _gym_trading_env()
    return _time_single(env, 5_000 if quick else 20_000)


def gym_trading_env_ppo(quick: bool) -> dict[str, Any]:
    """Stable-Baselines3's PPO on gym-trading-env, whose environments stand in one `DummyVecEnv`."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    return _time_ppo(DummyVecEnv([_gym_trading_env] * SB3_ENVS), quick)


def gym_trading_env_ppo_defaults(quick: bool) -> dict[str, Any]:
    """The same with the library's own sizes: one environment, rollouts of 2,048 steps, minibatches of 64."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    return _time_ppo(DummyVecEnv([_gym_trading_env]), quick, num_steps=2048, batch_size=64)


def adapter_alone(quick: bool) -> dict[str, Any]:
    """Steps of a `GymnasiumEnv`, one call of the compiled program per step."""
    return _time_single(GymnasiumEnv(*_own()), 2_000 if quick else 10_000)


def vector_adapter_alone(quick: bool) -> dict[str, Any]:
    """Steps of a `GymnasiumVectorEnv` of 1,024 environments."""
    env = GymnasiumVectorEnv(*_own(), 1024)
    env.reset()
    env.action_space.seed(0)
    actions = env.action_space.sample()
    env.step(actions)

    def call() -> None:
        for _ in range(20):
            env.step(actions)

    return {"envs": 1024, **_rate(call, 20 * 1024, 3 if quick else 9)}


def adapter_ppo(quick: bool) -> dict[str, Any]:
    """Stable-Baselines3's PPO, with the same settings, on this environment through `StableBaselinesVecEnv`."""
    from ploutos_jax.env.adapters.stable_baselines import StableBaselinesVecEnv

    return _time_ppo(StableBaselinesVecEnv(*_own(), SB3_ENVS), quick)


def own_env_alone(quick: bool) -> dict[str, Any]:
    """Steps of this environment with its default rules, under random actions in one compiled loop."""
    return _time_own_env(EnvConfig(episode_length=EPISODE_LENGTH), quick)


def own_env_like_peer(quick: bool) -> dict[str, Any]:
    """Steps of this environment by the peer's rules: all in or out at the close just seen, for a fee alone."""
    config = EnvConfig(
        fill="same_close",
        commission_bps=2.0,
        spread_bps=0.0,
        tick_size=None,
        slippage_bps=0.0,
        fees="none",
        stop_loss=None,
        take_profit=None,
        buy_pct=1.0,
        max_position_pct=1.0,
        episode_length=EPISODE_LENGTH,
    )
    return _time_own_env(config, quick)


def _time_own_env(config: EnvConfig, quick: bool) -> dict[str, Any]:
    num_envs, num_steps = (1024, 64) if quick else (4096, 128)
    env = TradingEnv(config)
    params = env.default_params(_market())
    runner = start_runner(env, params, jax.random.key(0), num_envs, staggered=True)
    run = functools.partial(play_at_random, env, num_steps)
    return {"envs": num_envs, **_time_program(run, runner, (params,), num_envs * num_steps, quick)}


def own_ppo(quick: bool) -> dict[str, Any]:
    """This trainer end to end, flat network of the same width, as many epochs and minibatches."""
    num_envs, num_steps = (256, 32) if quick else (1024, 128)
    env, params = _own()
    config = TrainConfig(
        num_envs=num_envs,
        rollout_length=num_steps,
        num_epochs=NUM_EPOCHS,
        num_minibatches=NUM_MINIBATCHES,
        ratio="joint",
        policy=PolicyConfig(torso="flat", hidden=HIDDEN, credit="joint"),
    )
    network = Network.create(config.policy, "discrete", 1, config.chunk_bytes)
    learner = Learner(config=config, env=env, network=network)
    state = learner.init(jax.random.key(0), params)
    rest = (params, jax.tree.map(np.float32, config.hyper()))
    return {"envs": num_envs, **_time_program(learner.update, state, rest, num_envs * num_steps, quick)}


MEASURES: dict[str, Callable[[bool], dict[str, Any]]] = {
    "gym-trading-env": gym_trading_env_alone,
    "gymnasium adapter": adapter_alone,
    "gymnasium vector adapter": vector_adapter_alone,
    "ploutos_jax, default rules": own_env_alone,
    "ploutos_jax, the peer's rules": own_env_like_peer,
    "sb3 ppo on gym-trading-env": gym_trading_env_ppo,
    "sb3 ppo on gym-trading-env, its default sizes": gym_trading_env_ppo_defaults,
    "sb3 ppo on ploutos_jax": adapter_ppo,
    "ploutos_jax ppo": own_ppo,
}
"""What can be measured: environments alone, then whole training."""


def _market() -> Market:
    return build_market(synthetic_panel(jax.random.key(0), 1, NUM_BARS))


def _own() -> tuple[TradingEnv, EnvParams]:
    env = TradingEnv(EnvConfig(episode_length=EPISODE_LENGTH))
    return env, env.default_params(_market())


def _gym_trading_env() -> Any:
    """Return the peer on the same bars and features, with costs of 2 bps a side."""
    import pandas as pd

    # Its import segments every later warning of the process into an error; the filters are put back.
    with warnings.catch_warnings():
        from gym_trading_env.environments import TradingEnv as Peer  # pyright: ignore[reportMissingImports]
    market = _market()
    columns = {name: np.asarray(getattr(market, name))[:, 0] for name in ("open", "high", "low", "close", "volume")}
    features = np.asarray(market.features)[:, 0]
    columns |= {f"feature_{name}": features[:, i] for i, name in enumerate(market.feature_names)}
    table = pd.DataFrame(columns, index=pd.bdate_range("2015-01-01", periods=NUM_BARS))
    return Peer(table, positions=[0, 1], trading_fees=2e-4, max_episode_duration=EPISODE_LENGTH, verbose=0)


def _time_single(env: Any, num_steps: int) -> dict[str, Any]:
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(1000)]

    def call() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    call()
    return {"envs": 1, **_rate(call, len(actions), max(num_steps // len(actions), 1))}


def _time_ppo(
    vec_env: Any, quick: bool, num_steps: int = SB3_STEPS, batch_size: int = SB3_ENVS * SB3_STEPS // NUM_MINIBATCHES
) -> dict[str, Any]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    class Clock(BaseCallback):
        """Notes when each rollout begins: from one to the next is a whole update."""

        def __init__(self) -> None:
            super().__init__()
            self.times: list[float] = []

        def _on_rollout_start(self) -> None:
            self.times.append(time.perf_counter())

        def _on_step(self) -> bool:
            return True

    agent = PPO(
        "MlpPolicy",
        vec_env,
        n_steps=num_steps,
        batch_size=batch_size,
        n_epochs=NUM_EPOCHS,
        policy_kwargs={"net_arch": {"pi": list(HIDDEN), "vf": list(HIDDEN)}},
        device="cpu",
        seed=0,
    )
    clock, samples = Clock(), vec_env.num_envs * num_steps
    agent.learn((4 if quick else 10) * samples, callback=clock)
    # The first update warms up; the last has no successor to end it.
    return {"envs": vec_env.num_envs, **_rates(samples, np.diff(clock.times)[1:].tolist())}


def _time_program(function: Any, state: Any, rest: tuple[Any, ...], steps: int, quick: bool) -> dict[str, Any]:
    state = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf.copy(), x))(state)
    began = time.perf_counter()
    program = jax.jit(function, donate_argnums=0).lower(state, *rest).compile()
    compile_seconds = time.perf_counter() - began
    kept = [state]

    def call() -> None:
        kept[0], out = program(kept[0], *rest)
        jax.block_until_ready(out)

    call()
    return {**_rate(call, steps, 3 if quick else 7), "compile_seconds": compile_seconds}


def _rate(call: Callable[[], None], steps: int, repeats: int) -> dict[str, Any]:
    """Call several times; return steps per second of the median and of the fastest call."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return _rates(steps, seconds)


def _rates(steps: int, seconds: list[float]) -> dict[str, Any]:
    return {"steps_per_second": steps / statistics.median(seconds), "fastest": steps / min(seconds)}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MEASURES)
    parser.add_argument("--quick", action="store_true")
    wanted = parser.parse_args()
    print(json.dumps(MEASURES[wanted.name](wanted.quick)))


if __name__ == "__main__":
    main()
