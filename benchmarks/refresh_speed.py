"""What a new market every few updates costs: processor time of updates with a draw before them, and of those without.

python benchmarks/refresh_speed.py             30 assets, 16 paths x 1,260 bars, 85 features, 1,024 x 64 steps
python benchmarks/refresh_speed.py --stress-prob 0.25
"""

import dataclasses
import json
import resource
import sys
import time

import jax
import numpy as np
import tyro

from ploutos_jax.cli.terminal import exit_codes, result_console
from ploutos_jax.datasets.samplers import SyntheticSampler
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.synthetic.multi_path import MarketSpec
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train
from ploutos_jax.train.progress import Progress


@dataclasses.dataclass(frozen=True)
class Probe:
    """Measure what a refresh costs.

    Attributes:
        recipe: markets.
        stress_prob: of a path to be stressed.
        every: updates between two draws.
        num_envs: environments.
        rollout_length: steps of each between updates.
        plain_updates: updates to time without a refresh, in a program of their own.
    """

    recipe: MarketSpec = MarketSpec(num_assets=30, num_bars=1260, num_paths=16, features="standard")
    stress_prob: float = 0.0
    every: int = 10
    num_envs: int = 1024
    rollout_length: int = 64
    plain_updates: int = 4


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    probe = tyro.cli(Probe, args=args)
    stream = SyntheticSampler(probe.recipe, probe.stress_prob).stream(jax.random.key(1))
    market = stream.first()
    config = TrainConfig(
        num_envs=probe.num_envs,
        rollout_length=probe.rollout_length,
        total_timesteps=probe.num_envs * probe.rollout_length * (probe.every + 1),
        market_refresh=probe.every,
        policy=PolicyConfig(hidden=(128, 128)),
    )
    env = TradingEnv()
    refreshed = cpu_seconds(config, market, env, stream)
    plain_steps = config.timesteps_per_update * probe.plain_updates
    plain = dataclasses.replace(config, market_refresh=None, total_timesteps=plain_steps)
    alone = cpu_seconds(plain, market, env, stream)
    update = float(np.median(refreshed[1:-1]))
    draw = refreshed[-1] - update
    result = {
        "update_cpu_seconds": update,
        "update_cpu_seconds_lowest_highest": [min(refreshed[1:-1]), max(refreshed[1:-1])],
        "update_with_draw_cpu_seconds": refreshed[-1],
        "slower_by": draw / (probe.every * update),
        "slower_by_every_10": draw / (10 * update),
        "unrefreshed_update_cpu_seconds": float(np.median(alone[1:])),
        "market_mebibytes": sum(x.nbytes for x in jax.tree.leaves(market)) / 2**20,
        "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "device": str(jax.devices()[0]),
    }
    console = result_console()
    console.print_json(json.dumps(result | {"probe": dataclasses.asdict(probe)}))
    console.print(f"A refresh every {probe.every} updates slows training by {result['slower_by']:.1%}.")
    return 0


def cpu_seconds(config: TrainConfig, market: Market, env: TradingEnv, stream: MarketDraw) -> list[float]:
    """Train one update a call, as those longer than two seconds are; return the processor's seconds of each.

    The first ones hold the compiling. Other work on the machine counts little in them, unlike in time by the clock.
    """
    moments: list[float] = []
    draw = None if config.market_refresh is None else stream

    def observe(progress: Progress) -> None:
        moments.extend([time.process_time()] * len(progress.rows))

    began = time.process_time()
    train(config, market, env, draw=draw, observers=[observe])
    return np.diff([began, *moments]).tolist()


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
