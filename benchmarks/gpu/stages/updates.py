"""Whole updates of PPO: speed, memory, kernels."""

import time

from benchmarks.gpu.stages.markets import market_of
from benchmarks.gpu.stages.measuring import peak, row, start_jax
from benchmarks.gpu.stages.plan import FLAGS, ON_CPU, PPO, TINY, WORK


def policy_of(name):
    from ploutos_jax.policy.actor_critic import PolicyConfig

    flat = dict(torso="flat", credit="joint")
    wide = dict(hidden=(1024, 512, 256) if not TINY else (64, 32, 16), **flat)
    return {
        "default": PolicyConfig(),
        "2x128": PolicyConfig(hidden=(128, 128), **flat),
        "1024": PolicyConfig(**wide),
        "1024bf16": PolicyConfig(precision="bfloat16", **wide),
    }[name]


def learner_of(jax, net, A, E, S, feat, chunk, **_):
    import jax.numpy as jnp

    from ploutos_jax.agents.network import Network
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.train.config import TrainConfig
    from ploutos_jax.train.ppo.learner import Learner

    policy = policy_of(net)
    config = TrainConfig(
        num_envs=E,
        rollout_length=S,
        total_timesteps=1000 * E * S,
        policy=policy,
        chunk_megabytes=float(chunk),
        ratio="per_asset" if policy.torso == "shared" else "joint",
    )
    market = market_of(A, feat)
    env = TradingEnv(EnvConfig())
    params = jax.device_put(env.default_params(market))
    learner = Learner(config=config, env=env, network=Network.create(policy, "discrete", A, config.chunk_bytes))
    state = learner.init(jax.random.key(0), params)
    return learner, config, market, params, state, jax.tree.map(jnp.float32, config.hyper())


def stage_ppo(name, flags=None):
    spec = PPO[name]
    jax = start_jax(cache=flags is None, precision=spec["prec"], flags="" if flags is None or ON_CPU else FLAGS[flags])
    from benchmarks.matrix_work import matrix_flops
    from ploutos_jax.train.memory import estimate_memory

    learner, config, market, params, state, hyper = learner_of(jax, **spec)
    name = name if flags is None else f"{name}, {flags}"
    before = peak(jax)
    flops = matrix_flops(learner.update, state, params, hyper, turns=config.num_epochs)
    estimate = estimate_memory(config, market, "discrete")
    began = time.perf_counter()
    compiled = jax.jit(learner.update, donate_argnums=0).lower(state, params, hyper).compile()
    compile_s = time.perf_counter() - began
    memory = compiled.memory_analysis()
    row(
        what=name,
        compile_s=round(compile_s, 1),
        temp_mib=memory.temp_size_in_bytes / 2**20,
        argument_mib=memory.argument_size_in_bytes / 2**20,
        estimate_mib=estimate.total / 2**20,
        estimate=str(estimate),
    )
    state = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf.copy(), x))(state)
    took, first = [], None
    for _ in range(6):
        began = time.perf_counter()
        state, metrics = compiled(state, params, hyper)
        jax.block_until_ready(metrics)
        took.append(time.perf_counter() - began)
        first = first or {
            k: float(v)
            for k, v in metrics.items()
            if k
            in (
                "first_kl",
                "approx_kl",
                "clip_fraction",
                "entropy",
                "loss",
                "grad_norm",
                "skipped_steps",
                "reward_per_step",
            )
        }
    took = sorted(took[1:])
    steps, middle = config.timesteps_per_update, took[len(took) // 2]
    row(
        what=name,
        **{k: v for k, v in spec.items()},
        steps_per_second=steps / middle,
        fastest=steps / took[0],
        seconds_per_update=middle,
        matrix_tflops_per_s=flops / middle / 1e12,
        flops_per_step=flops / steps,
        compile_s=round(compile_s, 1),
        peak_mib=peak(jax),
        peak_before_mib=before,
        estimate_mib=estimate.total / 2**20,
        first_update=first,
    )
    began = time.perf_counter()
    for _ in range(3):
        state, metrics = compiled(state, params, hyper)
    jax.block_until_ready(metrics)
    row(what=name + " three updates without waiting", steps_per_second_async=3 * steps / (time.perf_counter() - began))
    if spec.get("profile") and flags is None:
        profile(jax, name, lambda s: compiled(s, params, hyper), state, middle)


def profile(jax, name, call, state, seconds):
    folder = WORK / f"profile_{name}"
    with jax.profiler.trace(str(folder)):
        state, metrics = call(state)
        jax.block_until_ready(metrics)
    try:
        files = sorted(folder.rglob("*.xplane.pb"))
        data = jax.profiler.ProfileData.from_file(str(files[-1]))
        kernels, spans = {}, []
        for plane in data.planes:
            if not (plane.name.startswith("/device:GPU") or (ON_CPU and "CPU" in plane.name)):
                continue
            for line in plane.lines:
                if not ON_CPU and not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    entry = kernels.setdefault(event.name, [0, 0.0])
                    entry[0] += 1
                    entry[1] += event.duration_ns / 1e3
                    spans.append((event.start_ns, event.start_ns + event.duration_ns))
        spans.sort()
        busy, end = 0.0, 0.0
        for a, b in spans:
            busy += max(0.0, b - max(a, end))
            end = max(end, b)
        top = sorted(kernels.items(), key=lambda kv: -kv[1][1])[:30]
        row(
            what=name + " profile",
            kernels=len(kernels),
            launches=sum(v[0] for v in kernels.values()),
            busy_ms=busy / 1e6,
            span_ms=(spans[-1][1] - spans[0][0]) / 1e6 if spans else 0,
            unprofiled_ms=seconds * 1e3,
            top=[{"kernel": k[:90], "times": v[0], "ms": round(v[1] / 1e3, 3)} for k, v in top],
        )
    except Exception as error:
        row(what=name + " profile", error=repr(error)[:300], files=[str(f) for f in folder.rglob("*")][:10])
