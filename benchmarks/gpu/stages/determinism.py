"""Are updates the same twice, in one process and in two, and is a resumed run the run."""

import os
import subprocess
import sys
import time

from benchmarks.gpu.stages.markets import market_of
from benchmarks.gpu.stages.measuring import digest, row, start_jax
from benchmarks.gpu.stages.plan import ON_CPU, SCRIPT, TINY, WORK
from benchmarks.gpu.stages.updates import learner_of

DETERMINISTIC = "" if ON_CPU else "--xla_gpu_deterministic_ops=true"


def stage_repeat(net, flag):
    """Three updates twice in this process, from one state; prints the result."""
    jax = start_jax(cache=False, flags=DETERMINISTIC if flag == "1" else "")
    # more rows per minibatch than bars, so that the table mode with its scatter-add is what runs
    learner, config, market, params, state, hyper = learner_of(
        jax, net=net, A=3 if TINY else 30, E=128 if TINY else 512, S=16 if TINY else 32, feat=0, chunk=256
    )
    update = jax.jit(learner.update)
    digests, seconds = [], 0.0
    for _ in range(2):
        now = state
        for _ in range(3):
            began = time.perf_counter()
            now, metrics = update(now, params, hyper)
            jax.block_until_ready(metrics)
            seconds = time.perf_counter() - began
        digests.append(digest(jax, now.agent.network))
    row(
        what=f"repeat {net} deterministic={flag}",
        digests=digests,
        same_in_process=digests[0] == digests[1],
        seconds_per_update=seconds,
        table_mode=market.num_bars <= config.timesteps_per_update // config.num_minibatches,
    )


def resume_config():
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.train.config import TrainConfig

    config = TrainConfig(
        num_envs=64 if TINY else 512,
        rollout_length=16 if TINY else 32,
        total_timesteps=(64 * 16 if TINY else 512 * 32) * 4,
    )
    return config, market_of(3 if TINY else 30), TradingEnv(EnvConfig())


def stage_resume(part):
    jax = start_jax(cache=False, flags=DETERMINISTIC)
    from ploutos_jax.train.loop import train

    config, market, env = resume_config()
    folder = WORK / "resumed"
    if part == "1":
        whole = train(config, market, env)
        row(what="resume: straight", digest=digest(jax, whole.params))
        again = train(config, market, env)
        row(what="resume: straight, again", digest=digest(jax, again.params))
        train(config, market, env, output=folder, should_stop=lambda: True)
        row(what="resume: first part done")
    else:
        agent = train(config, market, env, output=folder, resume=True)
        row(what="resume: second part, another process", digest=digest(jax, agent.params), step=agent.step)


def stage_determinism():
    me = [sys.executable, str(SCRIPT)]
    env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    began = time.time()
    jobs = [("default", "0"), ("default", "0"), ("default", "1"), ("default", "1"), ("2x128", "0"), ("2x128", "1")]
    if TINY:
        jobs = jobs[1:3]
    children = [subprocess.Popen([*me, "repeat", n, f], env=env) for n, f in jobs]
    import shutil

    shutil.rmtree(WORK / "resumed", ignore_errors=True)
    first = subprocess.run([*me, "resume", "1"], env=env)
    second = subprocess.run([*me, "resume", "2"], env=env)
    row(
        codes=[c.wait() for c in children],
        resume=[first.returncode, second.returncode],
        seconds=round(time.time() - began, 1),
    )
