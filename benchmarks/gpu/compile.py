"""What programs become on a GPU that is not there: kernels, loops, bytes, memory, from XLA's own compiler.

python benchmarks/gpu/compile.py simulator --assets 1 --envs 4096 --steps 128
python benchmarks/gpu/compile.py update --network 2x128 --card h200 --deterministic --top 20

Needs JAX's CUDA plug-in (`pip install jax-cuda13-plugin jax-cuda13-pjrt` of JAX's version) and no GPU, no CUDA. Prints
one JSON object; `--top N` adds the kernels that move most bytes. Compiled without autotuning: which kernel of a library
multiplies a matrix is decided on the card.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))


def abstract(tree: Any, sharding: Any) -> Any:
    """Return the shapes of a tree's arrays, as those of the device that is compiled for."""
    import jax

    def shape(leaf: Any) -> Any:
        dtype = leaf.dtype if hasattr(leaf, "dtype") else jax.numpy.result_type(leaf)
        return jax.ShapeDtypeStruct(jax.numpy.shape(leaf), dtype, sharding=sharding)

    return jax.tree.map(shape, tree)


def simulator(wanted: argparse.Namespace) -> tuple[Any, tuple[Any, ...], None]:
    """Return random play of the environment, every observation, reward and cost stored, and its arguments."""
    import jax
    import jax.numpy as jnp

    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.rollout import rollout, start_runner
    from ploutos_jax.env.trading import TradingEnv

    env = TradingEnv(EnvConfig())
    params = env.default_params(market(wanted.assets, wanted.features))

    def policy(keys: Any, _: Any) -> Any:
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (wanted.assets,)))(keys)
        return (3 * uniform).astype(jnp.int8), None

    def play(runner: Any, params: Any) -> Any:
        record = lambda step: (step.observation, step.reward, step.info["cost"])  # noqa: E731
        runner, _, records = rollout(env, params, policy, runner, wanted.steps, record)
        return runner, records

    runner = jax.eval_shape(lambda p: start_runner(env, p, jax.random.key(0), wanted.envs, staggered=True), params)
    return play, (runner, params), None


def update(wanted: argparse.Namespace) -> tuple[Any, tuple[Any, ...], Any]:
    """Return one update of PPO, its arguments, and the estimate of its memory."""
    import jax
    import jax.numpy as jnp

    from benchmarks.gpu.stages.updates import policy_of
    from ploutos_jax.agents.network import Network
    from ploutos_jax.agents.scaling import fit_features
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv
    from ploutos_jax.train.config import TrainConfig
    from ploutos_jax.train.memory import estimate_memory
    from ploutos_jax.train.ppo.learner import Learner

    policy, bars = policy_of(wanted.network), market(wanted.assets, wanted.features)
    config = TrainConfig(
        num_envs=wanted.envs,
        rollout_length=wanted.steps,
        total_timesteps=100 * wanted.envs * wanted.steps,
        policy=policy,
        chunk_megabytes=float(wanted.chunk),
        ratio="per_asset" if policy.torso == "shared" else "joint",
    )
    env = TradingEnv(EnvConfig())
    params = env.default_params(bars)
    learner = Learner(config, env, Network.create(policy, "discrete", wanted.assets, config.chunk_bytes))
    scaling = fit_features(bars.features[:50], bars.tradable[:50])
    state = jax.eval_shape(lambda p: learner.init(jax.random.key(0), p, scaling), params)
    hyper = jax.tree.map(jnp.float32, config.hyper())
    return learner.update, (state, params, hyper), estimate_memory(config, bars, "discrete")


def market(num_assets: int, num_features: int) -> Any:
    """Return a market of the given shape; what its features hold makes no difference to a program."""
    import jax
    import numpy as np

    from ploutos_jax.market.features.build import build_market
    from ploutos_jax.market.synthetic.generate import synthetic_panel

    made = build_market(synthetic_panel(jax.random.key(0), num_assets, 1260), ["log_return_1"])
    features = np.zeros((*made.close.shape, num_features), np.float32)
    return made.replace(features=features, feature_names=tuple(f"f{i}" for i in range(num_features)))


def compiled(wanted: argparse.Namespace) -> tuple[Any, Any]:
    """Return the program compiled for the card, and the estimate of its memory if there is one."""
    import jax
    import numpy as np
    from jax.experimental import topologies

    text = (HERE / f"{wanted.card}.txtpb").read_text(encoding="utf-8")
    topology = topologies.get_topology_desc(platform="cuda", target_config=text, topology="1x1x1")
    mesh = jax.sharding.Mesh(np.array(topology.devices).reshape(1), ("device",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    # Where the program is traced there is no GPU to be asked.
    from ploutos_jax.policy import layers
    from ploutos_jax.train.learning import table_gradients

    with (
        mock.patch.object(layers, "alignment", lambda: 16),  # refuses a name that the module does not have
        mock.patch.object(table_gradients, "asked_to_repeat", lambda: wanted.deterministic),
    ):
        program, arguments, estimate = {"simulator": simulator, "update": update}[wanted.program](wanted)
        lowered = jax.jit(program, donate_argnums=0).lower(*abstract(arguments, sharding))
    return lowered.compile(), estimate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=["simulator", "update"])
    parser.add_argument("--card", choices=["h100", "h200"], default="h100")
    parser.add_argument("--assets", type=int, default=1)
    parser.add_argument("--envs", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--features", type=int, default=28, help="of each asset")
    parser.add_argument("--network", default="2x128", help="default, 2x128, 1024 or 1024bf16")
    parser.add_argument("--chunk", type=float, default=2048, help="megabytes of the widest array of an update")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--top", type=int, default=0, help="kernels to list, those that move most first")
    wanted = parser.parse_args()

    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
    flags = "--xla_gpu_autotune_level=0" + " --xla_gpu_deterministic_ops=true" * wanted.deterministic
    os.environ["XLA_FLAGS"] = flags  # before JAX is imported
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    from benchmarks.gpu.structure import describe

    program, estimate = compiled(wanted)
    memory = program.memory_analysis()
    facts = describe(program.as_text(), wanted.top)
    facts["temporary_mib"] = memory.temp_size_in_bytes / 2**20
    facts["arguments_mib"] = memory.argument_size_in_bytes / 2**20
    facts["estimate_mib"] = None if estimate is None else estimate.total / 2**20
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
