"""The same trading and updates on CPU and GPU, compared number by number."""

# ruff: noqa: B023 - functions are used in the turn of the loop that defines them

import os
import re
import subprocess
import sys

from benchmarks.gpu.stages.markets import market_of
from benchmarks.gpu.stages.measuring import row, start_jax
from benchmarks.gpu.stages.plan import CARRIED, SCRIPT, TINY, WORK

SMOKE_PARTS = ("default", "all rules", "shared", "flat")


def smoke_work(where, part):
    """The same things on CPU and GPU: 40 bars of trading with given actions, two updates of PPO; a part per process."""
    jax = start_jax()
    import jax.numpy as jnp
    import numpy as np

    from benchmarks.measure_speed import ALL_RULES
    from ploutos_jax.agents.network import Network
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.policy.actor_critic import PolicyConfig
    from ploutos_jax.train.config import TrainConfig
    from ploutos_jax.train.ppo.learner import Learner

    out = {}
    market = market_of(5)
    rng = np.random.default_rng(0)
    actions = jnp.asarray(rng.integers(0, 3, (40, 64, 5)), jnp.int8)
    noise = jnp.asarray(rng.normal(size=(40, 64, 5)), jnp.float32)
    for name, rules in (("default", EnvConfig()), ("all rules", ALL_RULES)):
        if name != part:
            continue
        env = TradingEnv(rules)
        params = env.default_params(market)
        starts = jnp.asarray(rng.integers(30, 200, 64), jnp.int32)
        _, state = jax.vmap(lambda s: env.reset_at(s, s + 100, params))(starts)

        def step(state, inputs):
            action, noisy = inputs
            drawn = noisy if rules.slippage_noise is not None else None
            if drawn is None:
                _, state, reward, _, _, info = jax.vmap(lambda s, a: env.advance(s, a, None, params))(state, action)
            else:
                _, state, reward, _, _, info = jax.vmap(lambda s, a, n: env.advance(s, a, n, params))(
                    state, action, drawn
                )
            return state, (info["equity"], info["cash"], info["num_trades"], reward)

        _, (equity, cash, trades, reward) = jax.jit(lambda s: jax.lax.scan(step, s, (actions, noise)))(state)
        out |= {f"{name}.equity": equity, f"{name}.cash": cash, f"{name}.trades": trades, f"{name}.reward": reward}
    nets = {"shared": PolicyConfig(), "flat": PolicyConfig(torso="flat", hidden=(64, 64), credit="joint")}
    for name, policy in nets.items():
        if name != part:
            continue
        config = TrainConfig(
            num_envs=64,
            rollout_length=16,
            total_timesteps=64 * 16 * 100,
            policy=policy,
            ratio="per_asset" if name == "shared" else "joint",
        )
        env = TradingEnv(EnvConfig(episode_length=100))
        params = env.default_params(market)
        network = Network.create(policy, "discrete", 5, config.chunk_bytes)
        learner = Learner(config=config, env=env, network=network)
        state = learner.init(jax.random.key(0), params)
        update = jax.jit(learner.update)
        hyper = jax.tree.map(jnp.float32, config.hyper())
        for number in (1, 2):
            state, metrics = update(state, params, hyper)
            out |= {f"{name}.{number}.{k}": v for k, v in metrics.items()}
        out |= {f"{name}.weights.{i}": x for i, x in enumerate(jax.tree.leaves(state.agent.network))}
    np.savez(WORK / f"smoke_{where}_{part}.npz", **{k: np.asarray(v) for k, v in out.items()})
    row(where=where, part=part, done=True, device=str(jax.devices()[0]))


def stage_smoke():
    import numpy as np

    for old in WORK.glob("smoke_*"):
        old.unlink()
    if not (WORK / "market_5.pkl").exists() and not (CARRIED / "market_5.pkl").exists():
        subprocess.run([sys.executable, str(SCRIPT), "market", "5"], env={**os.environ, "JAX_PLATFORMS": "cpu"})
    where = {
        "cpu": {**os.environ, "JAX_PLATFORMS": "cpu"},
        "gpu": {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    }
    parts = SMOKE_PARTS if not TINY else SMOKE_PARTS[::3]
    jobs = [
        subprocess.Popen([sys.executable, str(SCRIPT), "smoke_work", w, p], env=e)
        for w, e in where.items()
        for p in parts
    ]
    row(codes=[j.wait() for j in jobs])
    a, b = {}, {}
    for p in parts:
        pair = [WORK / f"smoke_{w}_{p}.npz" for w in where]
        if all(f.exists() for f in pair):
            a |= dict(np.load(pair[0]))
            b |= dict(np.load(pair[1]))
    worst = {}
    for key in a:
        x, y = a[key].astype(np.float64), b[key].astype(np.float64)
        same = np.array_equal(x, y, equal_nan=True)
        scale = max(float(np.nanmax(np.abs(x))) if x.size else 0.0, 1e-12)
        worst[key] = 0.0 if same else float(np.nanmax(np.abs(x - y)) / scale)
    trades = {k: int((a[k] != b[k]).sum()) for k in a if k.endswith("trades")}
    groups = {}
    for key, value in worst.items():
        group = re.sub(r"\.\d+$", "", key) if "weights" in key else key
        groups[group] = max(groups.get(group, 0), value)
    row(
        largest_relative_difference_gpu_cpu={k: v for k, v in sorted(groups.items(), key=lambda kv: -kv[1])[:24]},
        bars_with_other_fills=trades,
    )
    row(
        first_kl={k: float(b[k]) for k in b if k.endswith("first_kl")},
        first_kl_cpu={k: float(a[k]) for k in a if k.endswith("first_kl")},
    )
