"""What programs must do: kernels, bytes and multiplications of compiled programs, and how often a run compiles.

python -m benchmarks.counts             print the counts beside those recorded
python -m benchmarks.counts --record    write benchmarks/counts.json anew, after a change that is meant

Unlike times they are the same in every run, so that a test can hold them: what was recorded once is what a program may
do. They belong to a version of jaxlib. A program that does more is not always slower: then measure, and record.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDED = Path(__file__).with_name("counts.json")
ALLOWED = {"kernels": 1.03, "megabytes": 1.03, "megaflops": 1.001, "compilations": 1.0}
"""Times the recorded count. Compilers for processors of another kind split a few kernels otherwise."""
ENVS, STEPS = 64, 16

_QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
"""For the compiler: less work on machine code, in a third of the time; what is counted comes before that."""

Counts = dict[str, dict[str, float]]


def count() -> Counts:
    """Return the counts of every program, from a process of its own: flags of the caller's compiler do not matter."""
    env = {**os.environ, "XLA_FLAGS": _QUICK, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.counts", "--here"], env=env, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"The programs could not be counted: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def excesses(counts: Counts, recorded: Counts) -> list[str]:
    """Return a sentence for each count that is above what is recorded."""
    found = []
    for name, row in counts.items():
        for what, number in row.items():
            before = recorded.get(name, {}).get(what)
            if before is None:
                found.append(f"{name}: {what} {number:g}, none recorded.")
            elif number > before * ALLOWED[what]:
                found.append(f"{name}: {what} {number:g}, {before:g} recorded ({number / before - 1:+.1%}).")
    return found


def _count_here() -> Counts:
    import jax
    import jax.numpy as jnp

    from benchmarks.measure_speed import LEARNERS, RULES, play_at_random, start_of
    from ploutos_jax.env.rollout import start_runner
    from ploutos_jax.env.trading import TradingEnv

    counts = {}
    for rules, num_assets in (("env, defaults", 1), ("env, defaults", 30), ("env, all rules", 30)):
        env = TradingEnv(RULES[rules])
        params = env.default_params(_market(num_assets))
        runner = start_runner(env, params, jax.random.key(0), ENVS, staggered=True)
        program = jax.jit(lambda runner, params, env=env: play_at_random(env, STEPS, runner, params))
        counts[f"{rules}, {num_assets}"] = _counts_of(program, runner, params)
    for name, num_assets in (*((name, 30) for name in LEARNERS if name != "train 2x128"), ("train 2x128", 1)):
        learner, state, params = start_of(name, num_assets, ENVS, STEPS)
        hyper = jax.tree.map(jnp.float32, learner.config.hyper())
        counts[f"{name}, {num_assets}"] = _counts_of(jax.jit(learner.update), state, params, hyper)
    return {**counts, "a short run": {"compilations": _compilations()}}


def _market(num_assets: int) -> Any:
    from benchmarks.measure_speed import _market

    return _market(num_assets)


def _counts_of(program: Any, *args: Any) -> dict[str, float]:
    from benchmarks.gpu.structure import describe

    facts = describe(program.lower(*args).compile().as_text())
    return {
        "kernels": facts["kernels"],
        "megabytes": round(1e3 * facts["gigabytes"], 3),
        "megaflops": round(1e3 * sum(facts["dots"].values()), 3),
    }


def _compilations() -> float:
    """Return how many programs a run of three updates compiles, its market ready: what a start takes is mostly that."""
    import jax

    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.train.config import TrainConfig
    from ploutos_jax.train.loop import train

    market, compiled = _market(2), []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    config = TrainConfig(num_envs=8, rollout_length=8, total_timesteps=3 * 64)
    train(config, market, TradingEnv(EnvConfig()))
    return len(compiled)


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    if args == ["--here"]:
        print(json.dumps(_count_here()))
        return 0
    counts = count()
    if args == ["--record"]:
        told = {"jaxlib": version("jaxlib"), "counts": counts}
        RECORDED.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return 0
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["counts"]
    for name, row in counts.items():
        before = recorded.get(name, {})
        print(f"{name}: " + ", ".join(f"{what} {number:g} ({before.get(what, 0):g})" for what, number in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
