"""Everything that the first minutes on a GPU should tell, written down row by row so that a time limit loses nothing.

python benchmarks/gpu/first_light.py all --seconds 520                                on a GPU
JAX_PLATFORMS=cpu python benchmarks/gpu/first_light.py all --tiny --seconds 900       rehearse without one
python benchmarks/gpu/first_light.py all --only env,ppo_2x128                         some stages alone

Writes $OUT/first_light.json (anew after every row), $OUT/first_light.log and $OUT/tests.xml; $OUT is a folder of the
system's temporary files if it is not set. Each stage is a process of its own; one that fails or is too slow is written
down, and the next one starts. benchmarks/gpu/README.md says more.
"""

# ruff: noqa: B023 - functions are used in the turn of the loop that defines them

import argparse
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(os.environ.get("OUT") or Path(tempfile.gettempdir()) / "first_light_out")
WORK = Path(os.environ.get("FL_WORK") or Path(tempfile.gettempdir()) / "first_light_work")
TINY = os.environ.get("FL_TINY") == "1"
ON_CPU = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
BEGAN = time.time()

# What is measured.
# env rows: assets, envs, steps, what the recorder keeps ("mean" is the project's own benchmark; "store" keeps [E] rows)
ENV = [
    (1, 4096, 128, "mean"),
    (1, 65536, 64, "mean"),
    (1, 65536, 64, "store"),
    (1, 262144, 32, "store"),
    (1, 1048576, 16, "store"),
    (503, 4096, 16, "mean"),
    (503, 4096, 16, "store"),
    (503, 16384, 8, "store"),
    (30, 4096, 32, "store"),
    (30, 65536, 16, "store"),
]
# ppo rows: name, network, assets, envs, steps, features, precision of float32 products, chunk MB
PPO = {
    "ppo_2x128": dict(net="2x128", A=1, E=4096, S=128, feat=0, prec=None, chunk=256, profile=1),
    "ppo_2x128_wide": dict(net="2x128", A=1, E=65536, S=32, feat=0, prec=None, chunk=2048),
    "ppo_1024_tf32": dict(net="1024", A=503, E=4096, S=16, feat=85, prec=None, chunk=2048, profile=1),
    "ppo_1024_bf16": dict(net="1024bf16", A=503, E=4096, S=16, feat=85, prec=None, chunk=2048),
    "ppo_1024_fp32": dict(net="1024", A=503, E=4096, S=16, feat=85, prec="float32", chunk=2048),
    "ppo_default_1": dict(net="default", A=1, E=4096, S=128, feat=0, prec=None, chunk=256),
    "ppo_default_503": dict(net="default", A=503, E=2048, S=16, feat=0, prec=None, chunk=2048, profile=1),
    "ppo_default_30": dict(net="default", A=30, E=4096, S=32, feat=0, prec=None, chunk=2048),
}
if TINY:
    ENV = [(a, max(8, e // 4096), 4, r) for a, e, s, r in ENV if a == 1][:3]
    PPO = {k: dict(v, A=min(v["A"], 3), E=32, S=8) for k, v in PPO.items() if k in ("ppo_2x128", "ppo_1024_bf16")}
BARS = 300 if TINY else 1260
# stage: (command line, seconds it needs at least, seconds it may take)
STAGES = [
    ("machine", ["machine"], 5, 40),
    ("markets", ["markets"], 20, 90),
    ("smoke", ["smoke"], 30, 110),
    ("env", ["env"], 30, 120),
    ("ppo_2x128", ["ppo", "ppo_2x128"], 25, 90),
    ("ppo_1024_tf32", ["ppo", "ppo_1024_tf32"], 25, 90),
    ("ppo_1024_bf16", ["ppo", "ppo_1024_bf16"], 25, 80),
    ("ppo_default_503", ["ppo", "ppo_default_503"], 25, 80),
    ("determinism", ["determinism"], 40, 110),
    ("ppo_default_1", ["ppo", "ppo_default_1"], 20, 70),
    ("ppo_2x128_wide", ["ppo", "ppo_2x128_wide"], 20, 70),
    ("tests", ["tests"], 30, 110),
    ("ppo_1024_fp32", ["ppo", "ppo_1024_fp32"], 25, 80),
    ("ppo_default_30", ["ppo", "ppo_default_30"], 25, 80),
    ("flags", ["flags"], 25, 90),
    ("features", ["features"], 30, 120),
]


def row(**figures):
    print("ROW " + json.dumps(figures, default=float), flush=True)


# Orchestration.
class Book:
    def __init__(self):
        OUT.mkdir(parents=True, exist_ok=True)
        WORK.mkdir(parents=True, exist_ok=True)
        self.rows, self.stages, self.lock = [], {}, threading.Lock()
        self.log = (OUT / "first_light.log").open("a", encoding="utf-8")

    def line(self, stage, text):
        with self.lock:
            self.log.write(f"{time.time() - BEGAN:7.1f} [{stage}] {text}\n")
            self.log.flush()
            if text.startswith("ROW "):
                try:
                    self.rows.append({"stage": stage, "at": round(time.time() - BEGAN, 1), **json.loads(text[4:])})
                    self.save()
                    print(f"{time.time() - BEGAN:6.1f} {stage}: {text[4:400]}", flush=True)
                except ValueError:
                    pass

    def save(self):
        part = OUT / "first_light.part"
        part.write_text(json.dumps({"stages": self.stages, "rows": self.rows}, indent=1), encoding="utf-8")
        part.replace(OUT / "first_light.json")


def run_stage(book, name, args, limit, extra_env=None):
    env = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "FL_TINY": "1" if TINY else "0",
        "OUT": str(OUT),
        "FL_WORK": str(WORK),
    }
    env |= extra_env or {}
    began = time.time()
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    )

    def read():
        for text in child.stdout:
            book.line(name, text.rstrip("\n"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        code = child.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        code = "timeout"
    reader.join(timeout=5)
    return code, round(time.time() - began, 1)


def orchestrate(seconds, only):
    book = Book()
    for name, args, least, most in STAGES:
        if only and name not in only:
            continue
        if args[0] == "ppo" and args[1] not in PPO:
            continue
        left = seconds - (time.time() - BEGAN) - 5
        if left < least and not TINY:
            book.stages[name] = {"code": "skipped: too little time left", "left": round(left)}
            continue
        code, took = run_stage(book, name, args, min(most if not TINY else 900, max(left, 1)))
        book.stages[name] = {"code": code, "seconds": took}
        book.save()
    book.save()
    print(json.dumps(book.stages))
    table(book)


def table(book):
    print("\nsummary")
    for r in book.rows:
        if "steps_per_second" in r:
            print(
                f"  {r.get('what', r['stage']):34s} {r['steps_per_second']:14,.0f} steps/s"
                f"  peak {r.get('peak_mib', 0):8.0f} MiB"
                f"  compile {r.get('compile_s', 0):5.1f} s"
            )


# Stages (each in its own process).
def start_jax(cache=True, precision=None, flags=""):
    if flags:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    import warnings

    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(ROOT))
    import jax

    if cache:
        jax.config.update("jax_compilation_cache_dir", str(WORK / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if precision:
        jax.config.update("jax_default_matmul_precision", precision)
    return jax


def stage_machine():
    def ask(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
        except Exception as error:
            return repr(error)

    row(
        smi=ask(
            "nvidia-smi",
            "--query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem,power.limit",
            "--format=csv,noheader",
        )
    )
    names = [
        "jax",
        "jaxlib",
        "jax-cuda13-plugin",
        "jax-cuda13-pjrt",
        "numpy",
        "flax",
        "optax",
        "chex",
        "orbax-checkpoint",
        "distrax",
        "tfp-nightly",
        "dm-tree",
        "scipy",
        "pandas",
        "pyarrow",
        "nvidia-cublas",
        "nvidia-cudnn-cu13",
        "nvidia-cuda-runtime",
    ]
    import importlib.metadata as md

    def version(n):
        try:
            return md.version(n)
        except Exception:
            return None

    row(
        versions={n: version(n) for n in names},
        python=sys.version.split()[0],
        cpus=os.cpu_count(),
        kernel=ask("uname", "-r"),
    )
    began = time.time()
    jax = start_jax(cache=False)
    imported = time.time()
    devices = [str(d) for d in jax.devices()]
    row(
        import_jax_s=round(imported - began, 2),
        devices_s=round(time.time() - imported, 2),
        devices=devices,
        kind=jax.devices()[0].device_kind,
        limit_gib=(jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0) / 2**30,
    )
    import jax.numpy as jnp

    # The two ceilings: a copy, and products.
    n = 2**28 if not ON_CPU else 2**20
    x = jnp.ones(n, jnp.float32)
    copy = jax.jit(lambda x: x * 1.0000001)
    seconds = best(lambda: copy(x).block_until_ready())
    row(what="copy", gb_per_s=2 * 4 * n / seconds / 1e9)
    m = 8192 if not ON_CPU else 256
    a = jax.random.normal(jax.random.key(0), (m, m))
    for name, prec, dtype in (
        ("tf32 or default", None, jnp.float32),
        ("float32", "float32", jnp.float32),
        ("bf16", None, jnp.bfloat16),
    ):
        b = a.astype(dtype)
        f = jax.jit(lambda b, prec=prec: jnp.matmul(b, b, precision=prec))
        out = f(b)
        seconds = best(lambda: f(b).block_until_ready(), 3)
        exact = jnp.matmul(a[:64], a, precision="float32")
        error = float(jnp.linalg.norm(out[:64].astype(jnp.float32) - exact) / jnp.linalg.norm(exact))
        row(what=f"product {name}", tflops=2 * m**3 / seconds / 1e12, relative_error=error)
    tiny = jax.jit(lambda x: jax.lax.fori_loop(0, 1000, lambda i, c: jnp.sin(c) + c[::-1], x))
    y = jnp.ones(1024)
    tiny(y).block_until_ready()
    seconds = best(lambda: tiny(y).block_until_ready(), 3)
    row(what="loop of tiny steps", microseconds_per_iteration=seconds / 1000 * 1e6)


def best(call, repeats=5):
    call()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)


def market_of(assets, features=0):
    import numpy as np

    path = WORK / f"market_{assets}.pkl"
    carried = Path(__file__).resolve().parent / "markets" / path.name
    if not path.exists() and carried.exists():
        path = carried
    if path.exists():
        market = pickle.loads(path.read_bytes())
    else:
        import jax

        from ploutos_jax.market.features.build import build_market
        from ploutos_jax.market.synthetic.generate import synthetic_panel

        # Two cheap features, then as many drawn numbers as `core` has columns: compiling all indicators takes long, and
        # speed does not depend on what they hold. The stage `features` compares the real ones.
        market = build_market(synthetic_panel(jax.random.key(0), assets, BARS), ["log_return_1", "range"])
        market = jax.tree.map(np.asarray, market).replace(labels=market.labels)
        features = features or 28
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(market.replace(features=market.features[..., :1])))
        part.replace(path)
    features = features or 28
    if features:
        drawn = np.random.default_rng(0).normal(size=(*market.close.shape, features)).astype(np.float32)
        market = market.replace(features=drawn, feature_names=tuple(f"f{i}" for i in range(features)))
    return market


def stage_markets():
    """Build the markets on the CPU, one process each, at once."""
    wanted = sorted({e[0] for e in ENV} | {p["A"] for p in PPO.values()} | {3, 5, 30} if not TINY else {1, 3, 5})
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    began = time.time()
    there = Path(__file__).resolve().parent / "markets"
    wanted = [a for a in wanted if not (WORK / f"market_{a}.pkl").exists() and not (there / f"market_{a}.pkl").exists()]
    children = {a: subprocess.Popen([sys.executable, __file__, "market", str(a)], env=env) for a in wanted}
    codes = {a: c.wait() for a, c in children.items()}
    row(markets=codes, seconds=round(time.time() - began, 1))


def stage_market(assets):
    start_jax()
    market_of(int(assets))


def stage_markets_here():
    """On a machine with time to spare: build the markets into ./markets beside this file, to be carried along."""
    global WORK
    WORK = Path(__file__).resolve().parent / "markets"
    WORK.mkdir(exist_ok=True)
    start_jax(cache=False)
    for assets in (1, 3, 5, 30, 503):
        began = time.time()
        market_of(assets)
        row(
            assets=assets,
            seconds=round(time.time() - began, 1),
            mib=(WORK / f"market_{assets}.pkl").stat().st_size / 2**20,
        )


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
    if (
        not (WORK / "market_5.pkl").exists()
        and not (Path(__file__).resolve().parent / "markets" / "market_5.pkl").exists()
    ):
        subprocess.run([sys.executable, __file__, "market", "5"], env={**os.environ, "JAX_PLATFORMS": "cpu"})
    where = {
        "cpu": {**os.environ, "JAX_PLATFORMS": "cpu"},
        "gpu": {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    }
    parts = SMOKE_PARTS if not TINY else SMOKE_PARTS[::3]
    jobs = [
        subprocess.Popen([sys.executable, __file__, "smoke_work", w, p], env=e) for w, e in where.items() for p in parts
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


def features_work(where):
    jax = start_jax()
    import numpy as np

    from ploutos_jax.market.features.build import build_market
    from ploutos_jax.market.synthetic.generate import synthetic_panel

    began = time.time()
    with jax.default_device(jax.devices("cpu")[0]):
        panel = synthetic_panel(jax.random.key(0), 3, 320)
        panel = jax.tree.map(np.asarray, panel).replace(labels=panel.labels)
    market = build_market(panel, "core")
    np.savez(WORK / f"features_{where}.npz", features=np.asarray(market.features), names=np.array(market.feature_names))
    row(where=where, build_market_s=round(time.time() - began, 1))


def stage_features():
    import numpy as np

    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    gpu_env = {**os.environ} if ON_CPU else {**os.environ, "JAX_PLATFORMS": "cuda,cpu"}
    jobs = [
        subprocess.Popen([sys.executable, __file__, "features_work", "cpu"], env=env),
        subprocess.Popen([sys.executable, __file__, "features_work", "gpu"], env=gpu_env),
    ]
    row(codes=[j.wait() for j in jobs])
    a, b = np.load(WORK / "features_cpu.npz"), np.load(WORK / "features_gpu.npz")
    apart = np.abs(a["features"].astype(np.float64) - b["features"]).max(axis=(0, 1))
    row(
        what="features, largest difference GPU to CPU",
        by_feature={str(n): float(d) for n, d in sorted(zip(a["names"], apart, strict=True), key=lambda x: -x[1])[:12]},
    )


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
        children = [subprocess.Popen([sys.executable, __file__, "env", str(i)], env=env) for i in range(len(ENV))]
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


def peak(jax):
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20


def learner_of(jax, net, A, E, S, feat, chunk, **_):
    import jax.numpy as jnp

    from ploutos_jax.agents.network import Network
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.policy.actor_critic import PolicyConfig
    from ploutos_jax.train.config import TrainConfig
    from ploutos_jax.train.ppo.learner import Learner

    flat = dict(torso="flat", credit="joint")
    policy = {
        "default": PolicyConfig(),
        "2x128": PolicyConfig(hidden=(128, 128), **flat),
        "1024": PolicyConfig(hidden=(1024, 512, 256) if not TINY else (64, 32, 16), **flat),
        "1024bf16": PolicyConfig(hidden=(1024, 512, 256) if not TINY else (64, 32, 16), precision="bfloat16", **flat),
    }[net]
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


def stage_ppo(name):
    spec = PPO[name]
    jax = start_jax(precision=spec["prec"])
    from benchmarks.matrix_work import matrix_flops
    from ploutos_jax.train.memory import estimate_memory

    learner, config, market, params, state, hyper = learner_of(jax, **spec)
    before = peak(jax)
    flops = matrix_flops(learner.update, state, params, hyper)
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
    if spec.get("profile"):
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


def digest(jax, tree):
    import numpy as np

    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()[:16]


def stage_repeat(net, flag):
    """Three updates twice in this process, from one state; prints the result."""
    jax = start_jax(cache=False, flags="--xla_gpu_deterministic_ops=true" if flag == "1" else "")
    # more rows per minibatch than bars, so that the table mode with its scatter-add is what runs
    learner, config, market, params, state, hyper = learner_of(
        jax, net=net, A=3 if TINY else 30, E=64 if TINY else 512, S=16 if TINY else 32, feat=0, chunk=256
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
    jax = start_jax()
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
    me = [sys.executable, __file__]
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


TEST_FILES = (
    "tests/env/broker/test_golden_traces.py",
    "tests/env/test_precision.py",
    "tests/env/broker/test_stops.py",
    "tests/env/test_rollout.py",
    "tests/train/ppo/test_losses.py",
    "tests/train/ppo/test_gradients.py",
    "tests/train/ppo/test_learner.py",
    "tests/train/ppo/test_advantages.py",
)


def stage_tests():
    env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if not ON_CPU:
        env["JAX_PLATFORMS"] = "cuda,cpu"
    base = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "-o",
        "filterwarnings=default",
    ]
    holders = [
        str(f.relative_to(ROOT))
        for f in (ROOT / "tests").rglob("test_*.py")
        if "mark.gpu" in f.read_text(encoding="utf-8")
    ]
    if holders:
        marked = subprocess.run(
            [*base, "-n", "0", "-m", "gpu", *holders], env=env, cwd=ROOT, capture_output=True, text=True, timeout=100
        )
        print(marked.stdout[-3000:], marked.stderr[-1500:])
        row(what="pytest -m gpu", files=holders, code=marked.returncode, end=marked.stdout.strip().splitlines()[-1:])
    else:
        row(what="pytest -m gpu", code="no test in tests/ is marked gpu")
    files = [f for f in (TEST_FILES[:1] if TINY else TEST_FILES) if (ROOT / f).exists()]
    done = subprocess.run(
        [
            *base,
            "-n",
            "1" if TINY else "8",
            "-m",
            "not slow and not gpu and not realdata",
            f"--junitxml={OUT}/tests.xml",
            "--maxfail=40",
            *files,
        ],
        env=env,
        cwd=ROOT,
    )
    row(what="the CPU suite's tests on this device", code=done.returncode)


def stage_flags(which=None):
    variants = {
        "as it is": "",
        "no command buffers": "--xla_gpu_enable_command_buffer=",
        "loops inside command buffers": "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL",
        "loops inside command buffers, unrolled": "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL"
        " --xla_gpu_command_buffer_unroll_loops=true",
    }
    if which is None:
        for name in variants if not ON_CPU else list(variants)[:1]:
            try:
                subprocess.run([sys.executable, __file__, "flags", name], timeout=45)
            except subprocess.TimeoutExpired:
                row(what=f"flags: {name}", error="took more than 45 s")
        return
    jax = start_jax(cache=False, flags="" if ON_CPU else variants[which])
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


def main():
    global TINY
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("args", nargs="*")
    parser.add_argument("--seconds", type=float, default=520)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default="")
    wanted = parser.parse_args()
    if wanted.stage == "all":
        if wanted.tiny and not TINY:
            os.environ["FL_TINY"] = "1"
            os.execv(sys.executable, [sys.executable, *sys.argv])
        orchestrate(wanted.seconds, {x for x in wanted.only.split(",") if x})
        return 0
    try:
        globals()[wanted.stage if wanted.stage.endswith("_work") else f"stage_{wanted.stage}"](*wanted.args)
        return 0
    except Exception:
        traceback.print_exc()
        row(error=traceback.format_exc().strip().splitlines()[-1][:300])
        return 1


if __name__ == "__main__":
    sys.exit(main())
