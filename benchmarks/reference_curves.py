"""Learning curves of this PPO and of Stable-Baselines3's on the same environment, at equal steps.

python benchmarks/reference_curves.py      a few minutes; writes reference_curves.json and .png beside this file

One asset, no costs, and a column that tells the next bar's return with correlation 0.3. Both learners have the same
settings: networks of 2×64 (tanh, orthogonal, actor and critic apart), joint ratio, scaled inputs and rewards. Their
greedy actions are scored on bars that training never saw, against holding the asset whenever the column is above 0.
Stable-Baselines3 counts the value loss as the mean square, this trainer as half of it, so the coefficients differ by 2.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import act_on
from ploutos_jax.agents.network import Network
from ploutos_jax.env.adapters.masks import action_masks
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState, Observation
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo.learner import Learner
from ploutos_jax.train.updates import States, run_updates, update_all

NUM_BARS, SPLIT, CORRELATION, DEVIATION, NUM_NOISE = 3000, 1500, 0.3, 0.01, 3
HIDDEN, CLIP_INPUTS = (64, 64), 5.0
UPDATES_PER_SCORE = 4

CONFIG = TrainConfig(
    num_envs=32,
    rollout_length=64,
    total_timesteps=48 * 32 * 64,
    num_minibatches=4,
    num_epochs=4,
    learning_rate=1e-3,
    learning_rate_schedule="constant",
    gamma=0.9,
    gae_lambda=0.95,
    clip_range=0.2,
    entropy_coef=0.001,
    value_coef=1.0,
    max_grad_norm=0.5,
    ratio="joint",
    policy=PolicyConfig(torso="flat", hidden=HIDDEN, credit="joint"),
)
ENV = TradingEnv(
    EnvConfig(
        spread_bps=0.0,
        tick_size=None,
        slippage_bps=0.0,
        fees="none",
        stop_loss=None,
        take_profit=None,
        buy_pct=1.0,
        max_position_pct=1.0,
        episode_length=200,
    )
)

Act = Callable[[Any, Observation, EnvParams], jax.Array]
"""`(learned, observation, params) -> action [1]`."""

Curve = list[float]


@functools.cache
def planted_market() -> Market:
    """Return the market; `hint` at close t correlates with the return of bar t + 1, the other signals are noise."""
    rng = np.random.default_rng(0)
    returns = DEVIATION * rng.standard_normal((NUM_BARS + 1, 1))
    close = 100 * np.exp(np.cumsum(returns[:NUM_BARS], axis=0))
    opens = np.vstack([close[:1], close[:-1]])
    noise = rng.standard_normal((1 + NUM_NOISE, NUM_BARS, 1))
    hint = CORRELATION * returns[1:] / DEVIATION + np.sqrt(1 - CORRELATION**2) * noise[0]
    days = np.busday_offset("2010-01-04", np.arange(NUM_BARS), roll="forward")
    signals = {"hint": hint, **{f"noise_{i}": noise[i] for i in range(1, 1 + NUM_NOISE)}}
    panel = Panel(
        open=opens,
        high=np.maximum(opens, close),
        low=np.minimum(opens, close),
        close=close,
        volume=np.full(close.shape, 1e6),
        tradable=np.ones(close.shape, bool),
        sessions=days.astype(np.int32),
        signals=signals,
        labels=Labels(symbols=("P",), sectors=("Unknown",), times=days.astype("datetime64[ns]")),
    )
    return build_market(panel, [f"signal_{name}" for name in signals])


def own_curve(seed: int, score: Callable[[Act, Any], float], env: TradingEnv = ENV) -> Curve:
    """Train with this trainer; return the scores, the one before training first."""
    params = env.default_params(planted_market().window(0, SPLIT))
    network = Network.create(CONFIG.policy, "discrete", 1, CONFIG.chunk_bytes)
    learner = Learner(config=CONFIG, env=env, network=network)
    hyper = jax.tree.map(jnp.float32, CONFIG.hyper())
    state = learner.init(jax.random.key(seed), params)
    curve = [score(_act_of(network), state.agent)]
    states = States(state)
    for _ in range(CONFIG.num_updates // UPDATES_PER_SCORE):
        count = jnp.int32(UPDATES_PER_SCORE)
        states, _ = run_updates(update_all, 1, learner, states, params, hyper, count)
        curve.append(score(_act_of(network), states.now.agent))
    return curve


@functools.cache
def _act_of(network: Network) -> Act:
    def act(agent: Any, observation: Observation, params: EnvParams) -> jax.Array:
        one = jax.tree.map(lambda x: x[None], observation)
        return act_on(network, agent, params.market, one)[0]

    return act


def reference_curve(seed: int, score: Callable[[Act, Any], float], env: TradingEnv = ENV) -> Curve:
    """Train with Stable-Baselines3 through the adapter; return the scores, the one before training first.

    In an environment that takes actions away, with the maskable PPO of sb3-contrib.
    """
    import torch
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    from ploutos_jax.env.adapters.stable_baselines import StableBaselinesVecEnv

    torch.set_num_threads(1)
    params = env.default_params(planted_market().window(0, SPLIT))
    vec_env = VecNormalize(
        StableBaselinesVecEnv(env, params, CONFIG.num_envs, seed=1000 * seed), gamma=CONFIG.gamma, clip_obs=CLIP_INPUTS
    )
    learner = MaskablePPO if env.config.masks_actions else PPO
    agent = learner(
        "MlpPolicy",
        vec_env,
        n_steps=CONFIG.steps_per_rollout,
        batch_size=CONFIG.timesteps_per_update // CONFIG.num_minibatches,
        n_epochs=CONFIG.num_epochs,
        learning_rate=CONFIG.learning_rate,
        gamma=CONFIG.gamma,
        gae_lambda=CONFIG.gae_lambda,
        clip_range=CONFIG.clip_range,
        ent_coef=CONFIG.entropy_coef,
        vf_coef=CONFIG.value_coef / 2,
        max_grad_norm=CONFIG.max_grad_norm,
        policy_kwargs={"net_arch": {"pi": list(HIDDEN), "vf": list(HIDDEN)}},
        device="cpu",
        seed=seed,
    )
    curve = [score(reference_act, _weights(agent, vec_env))]
    for _ in range(CONFIG.num_updates // UPDATES_PER_SCORE):
        agent.learn(UPDATES_PER_SCORE * CONFIG.timesteps_per_update, reset_num_timesteps=False)
        curve.append(score(reference_act, _weights(agent, vec_env)))
    return curve


def _weights(agent: Any, vec_env: Any) -> dict[str, Any]:
    """Return the actor and the scaling of its inputs as arrays."""
    policy = agent.policy
    layers = [policy.mlp_extractor.policy_net[0], policy.mlp_extractor.policy_net[2], policy.action_net]
    read = lambda x: jnp.asarray(x.detach().numpy().copy())  # noqa: E731
    return {
        "layers": [(read(layer.weight), read(layer.bias)) for layer in layers],
        "mean": jnp.asarray(vec_env.obs_rms.mean, jnp.float32),
        "deviation": jnp.asarray(np.sqrt(vec_env.obs_rms.var + vec_env.epsilon), jnp.float32),
    }


def reference_act(weights: dict[str, Any], observation: Observation, params: EnvParams) -> jax.Array:
    """Return the greedy action of an actor of Stable-Baselines3."""
    vector = ENV.flatten(observation, params)
    x = jnp.clip((vector - weights["mean"]) / weights["deviation"], -CLIP_INPUTS, CLIP_INPUTS)
    *hidden, last = weights["layers"]
    for matrix, bias in hidden:
        x = jnp.tanh(matrix @ x + bias)
    scores = last[0] @ x + last[1]
    if observation.valid is not None:
        scores = jnp.where(action_masks(ENV.config, observation), scores, -jnp.inf)
    return jnp.argmax(scores)[None]


def oracle_act(learned: Any, observation: Observation, params: EnvParams) -> jax.Array:
    """Hold the asset when its hint is above 0."""
    del learned
    return jnp.where(params.market.features[observation.t, :, 0] > 0, 1, 2)


@functools.partial(jax.jit, static_argnums=(0, 1))
def play_once(env: TradingEnv, act: Act, learned: Any, params: EnvParams) -> tuple[jax.Array, jax.Array]:
    """Return the log return of playing all bars of a market once, and the number of orders that were refused."""
    last = params.market.num_bars - 1
    begin = env.reset_at(0, last, params)

    def step(carry: tuple[Observation, EnvState], _: None) -> tuple[tuple[Observation, EnvState], Any]:
        observation, state = carry
        action = act(learned, observation, params)
        result = env.step_env(jax.random.key(0), state, action, params)
        return result[:2], (result[2], result[-1]["rejected_orders"])

    rewards, refused = jax.lax.scan(step, begin, None, length=last)[1]
    return rewards.sum(), refused.sum()


def compare(num_seeds: int) -> dict[str, Any]:
    """Return curves of both learners as shares of the oracle's log return on unseen bars."""
    unseen = ENV.default_params(planted_market().window(SPLIT, NUM_BARS))
    oracle = float(play_once(ENV, oracle_act, None, unseen)[0])

    def score(act: Act, learned: Any) -> float:
        return float(play_once(ENV, act, learned, unseen)[0]) / oracle

    curves, seconds = {}, {}
    for name, learn in (("ploutos_jax", own_curve), ("stable_baselines3", reference_curve)):
        began = time.perf_counter()
        curves[name] = [learn(seed, score) for seed in range(num_seeds)]
        seconds[name] = round(time.perf_counter() - began, 1)
    steps = np.arange(len(curves["ploutos_jax"][0])) * UPDATES_PER_SCORE * CONFIG.timesteps_per_update
    bands = {name: interval_of(np.array(values)) for name, values in curves.items()}
    low, _, high = bands["stable_baselines3"]
    own_low, own, own_high = bands["ploutos_jax"]
    return {
        "oracle_log_return": oracle,
        "unseen_bars": NUM_BARS - SPLIT,
        "inputs": 1 + NUM_NOISE + len(ASSET_FIELDS) + len(ACCOUNT_FIELDS),
        "timesteps": steps.tolist(),
        "curves": curves,
        "intervals": {name: np.round(np.stack(band), 4).tolist() for name, band in bands.items()},
        "own_mean_within_their_interval": ((low <= own) & (own <= high)).tolist(),
        "intervals_overlap": ((own_low <= high) & (low <= own_high)).tolist(),
        "seconds": seconds,
    }


def interval_of(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower bound, mean and upper bound of the 95 % interval of the mean over seeds, `[N, K]` to `[K]` each."""
    # Two-sided 97.5 % points of Student's t by degrees of freedom.
    quantile = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
    num_seeds = len(curves)
    mean = curves.mean(axis=0)
    half = quantile.get(num_seeds - 1, 1.96) * curves.std(axis=0, ddof=1) / np.sqrt(num_seeds)
    return mean - half, mean, mean + half


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the curves: every seed thin, the mean thick, its interval shaded."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    labels = {
        "ploutos_jax": ("ploutos_jax", "#1f6feb"),
        "stable_baselines3": ("Stable-Baselines3, through the adapter", "#d9480f"),
    }
    for name, (label, colour) in labels.items():
        low, mean, high = np.array(result["intervals"][name])
        axes.fill_between(result["timesteps"], low, high, color=colour, alpha=0.18, linewidth=0)
        for curve in result["curves"][name]:
            axes.plot(result["timesteps"], curve, color=colour, alpha=0.25, linewidth=0.7)
        axes.plot(result["timesteps"], mean, color=colour, linewidth=2, label=label)
    axes.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
    axes.annotate("oracle", (result["timesteps"][-1], 1), xytext=(0, 4), textcoords="offset points", ha="right")
    axes.set(
        xlabel="environment steps",
        ylabel="share of the oracle's log return",
        title=f"Planted signal, {result['unseen_bars']:,} unseen bars, {len(result['curves']['ploutos_jax'])} seeds:"
        " mean and its 95 % interval",
        xlim=(0, result["timesteps"][-1]),
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def compare_and_draw(
    name: str, about: str | None, compare: Callable[[int], dict[str, Any]], draw: Callable[[dict[str, Any], Path], None]
) -> dict[str, Any]:
    """Read the command line, compare, write `name`.json and `name`.png, and return the figures."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs of each learner, at least 2")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    wanted = parser.parse_args()
    result = compare(wanted.seeds)
    (wanted.output / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, wanted.output / f"{name}.png")
    return result


def main() -> None:
    """Compare, write figures and picture, and print the table."""
    result = compare_and_draw("reference_curves", __doc__, compare, draw)
    print("| Steps | ploutos_jax | Stable-Baselines3 |\n|--:|--:|--:|")
    bands = [np.array(result["intervals"][name]) for name in ("ploutos_jax", "stable_baselines3")]
    for place, steps in enumerate(result["timesteps"]):
        cells = [f"{mean:.2f} ({low:.2f} to {high:.2f})" for low, mean, high in (band[:, place] for band in bands)]
        print(f"| {steps:,} | {cells[0]} | {cells[1]} |")
    print(f"\nSeconds: {result['seconds']}")


if __name__ == "__main__":
    main()
