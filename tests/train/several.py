"""A short run on several devices or hosts, in processes of its own: `python -m tests.train.several JSON`.

The JSON holds fields of `TrainConfig`, and `devices`, `output`, `resume`, `hosts`, `host`, `port`, `pause` (seconds
between two calls). The last line that is printed is the JSON of the rows of figures and a digest of the weights.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_COMPILED_SOON = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
SIZES = {"num_envs": 64, "rollout_length": 16, "num_minibatches": 2, "num_epochs": 2}


def start(devices_here: int = 1, **asked: Any) -> "subprocess.Popen[str]":
    """Start a run in a process that sees so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices_here} {_COMPILED_SOON}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.train.several", json.dumps(asked)],
        env=environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def result_of(process: "subprocess.Popen[str]", seconds: float = 300) -> dict[str, Any]:
    """Return what a run printed; an error of its own shows what it said."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def run(devices_here: int = 1, **asked: Any) -> dict[str, Any]:
    """Do a run and return what it printed."""
    return result_of(start(devices_here, **asked))


def main(asked: dict[str, Any]) -> None:
    """Train, in this process."""
    from ploutos_jax.train.hosts import HostLostError, join

    if "hosts" in asked:
        join(f"127.0.0.1:{asked.pop('port')}", asked.pop("hosts"), asked.pop("host"))
    from ploutos_jax.agents.checksum import digest_of
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.train.config import TrainConfig
    from ploutos_jax.train.loop import train_seeds
    from tests.train.worlds import SHARED, random_market

    arguments = {name: asked.pop(name) for name in ("devices", "output", "resume") if name in asked}
    pause, updates = asked.pop("pause", 0.0), asked.pop("updates", 4)
    env = TradingEnv(EnvConfig(episode_length=12, **asked.pop("env", {})))
    policy = dataclasses.replace(SHARED, **asked.pop("policy", {}))
    sizes = SIZES | asked
    steps = sizes["num_envs"] * sizes["rollout_length"] * updates
    config = TrainConfig(**{"policy": policy, "total_timesteps": steps, "checkpoint_every": 1, **sizes})
    rows: list[Any] = []

    def watch(progress: Any) -> None:
        rows.extend(progress.rows)
        print(json.dumps({"update": progress.rows[-1]["update"]}), flush=True)
        time.sleep(pause)

    most = {"max_updates_per_call": 1} if pause else {}
    try:
        agents = train_seeds(config, random_market(), env, observers=[watch], **arguments, **most)
    except Exception as error:
        # Without the farewell that JAX would wait for.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(75 if isinstance(error, HostLostError) else 1)
    weights = [[float(x) for x in leaf.ravel()] for each in agents for leaf in leaves(each.params.network)]
    print(json.dumps({"rows": rows, "digest": digest_of([a.params for a in agents]), "weights": weights}), flush=True)


def leaves(tree: Any) -> list[Any]:
    """Return the arrays of a tree."""
    import jax
    import numpy as np

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
