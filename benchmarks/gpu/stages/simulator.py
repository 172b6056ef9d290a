"""Environment steps alone: speed by assets and environments, and with flags of CUDA graphs."""

import os
import subprocess
import sys
import time

from benchmarks.gpu.stages.markets import market_of
from benchmarks.gpu.stages.measuring import peak, row, start_jax
from benchmarks.gpu.stages.plan import ENV, FLAGS, ON_CPU, SCRIPT, TINY


def env_program(jax, assets, envs, steps, keep):
    import jax.numpy as jnp

    import benchmarks.measure_speed as speed
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.rollout import rollout, start_runner
    from ploutos_jax.env.trading import TradingEnv

    env = TradingEnv(EnvConfig())
    params = jax.device_put(env.default_params(market_of(assets)))
    runner = jax.jit(lambda p: start_runner(env, p, jax.random.key(0), envs, staggered=True))(params)

    def policy(keys, _):
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (assets,)))(keys)
        return (3 * uniform).astype(jnp.int8), None

    def record(step):
        return step.observation, step.reward, step.info["cost"]

    def play(runner, params):
        if keep == "mean":
            return speed.play_at_random(env, steps, runner, params)
        runner, _, records = rollout(env, params, policy, runner, steps, record)
        return runner, records

    began = time.perf_counter()
    compiled = jax.jit(play, donate_argnums=0).lower(runner, params).compile()
    return compiled, runner, params, time.perf_counter() - began


def stage_env(which=None):
    if which is None and not ON_CPU and not TINY:  # compile all at once first, each in a process
        began = time.time()
        env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        children = [subprocess.Popen([sys.executable, str(SCRIPT), "env", str(i)], env=env) for i in range(len(ENV))]
        deadline = time.time() + 75
        for c in children:
            try:
                c.wait(timeout=max(1, deadline - time.time()))
            except subprocess.TimeoutExpired:
                c.kill()
        row(all_compiled_s=round(time.time() - began, 1))
    jax = start_jax()
    if which is not None:
        assets, envs, steps, keep = ENV[int(which)]
        *_, seconds = env_program(jax, assets, envs, steps, keep)
        row(what=f"compile env A={assets} E={envs} {keep}", seconds=round(seconds, 1))
        return
    for assets, envs, steps, keep in ENV:
        try:
            compiled, runner, params, seconds = env_program(jax, assets, envs, steps, keep)
            took = []
            for _ in range(7):
                began = time.perf_counter()
                runner, records = compiled(runner, params)
                jax.block_until_ready(records)
                took.append(time.perf_counter() - began)
            took = sorted(took[2:])
            memory = compiled.memory_analysis()
            row(
                what=f"env A={assets} E={envs} {keep}",
                assets=assets,
                envs=envs,
                steps=steps,
                keep=keep,
                steps_per_second=envs * steps / took[len(took) // 2],
                fastest=envs * steps / took[0],
                microseconds_per_step=took[len(took) // 2] / steps * 1e6,
                compile_s=round(seconds, 1),
                temp_mib=memory.temp_size_in_bytes / 2**20,
                peak_mib=peak(jax),
            )
            del compiled, runner, params, records
        except Exception as error:
            row(what=f"env A={assets} E={envs} {keep}", error=repr(error)[:300])


def stage_flags(which=None):
    if which is None:
        for name in FLAGS if not ON_CPU else list(FLAGS)[:1]:
            try:
                subprocess.run([sys.executable, str(SCRIPT), "flags", name], timeout=45)
            except subprocess.TimeoutExpired:
                row(what=f"flags: {name}", error="took more than 45 s")
        return
    jax = start_jax(cache=False, flags="" if ON_CPU else FLAGS[which])
    assets, envs, steps, keep = ENV[0][0], ENV[0][1], ENV[0][2], "store"
    compiled, runner, params, seconds = env_program(jax, assets, envs, steps, keep)

    took = []
    for _ in range(6):
        began = time.perf_counter()
        runner, records = compiled(runner, params)
        jax.block_until_ready(records)
        took.append(time.perf_counter() - began)
    row(
        what=f"flags: {which}",
        steps_per_second=envs * steps / sorted(took[1:])[2],
        microseconds_per_step=sorted(took[1:])[2] / steps * 1e6,
        compile_s=round(seconds, 1),
    )
