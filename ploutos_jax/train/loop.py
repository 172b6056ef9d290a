"""The run: compile once, repeat updates on the device, hand reduced figures to the host every few seconds."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.forecast import Forecast, told_ahead
from ploutos_jax.agents.network import Network
from ploutos_jax.agents.spec import agent_from, describe
from ploutos_jax.env.rewards import resolve_reward
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.train.algorithm import MakeAlgorithm
from ploutos_jax.train.calls import MAX_UPDATES_PER_CALL, Calls, updates_of
from ploutos_jax.train.checkpoints.checkpoint import BestAgent, Checkpoints, PathLike
from ploutos_jax.train.checkpoints.resume import check_features, check_resumable, describe_run, with_rollout_of
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.devices import DevicesOf, layout_of
from ploutos_jax.train.held_out import HeldOut
from ploutos_jax.train.hosts import Hosts, telling
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.memory import device_bytes, fit_to_device
from ploutos_jax.train.population import first_state, make_hyperparams, of_seed
from ploutos_jax.train.progress import Observer
from ploutos_jax.train.resampling import Refresh
from ploutos_jax.train.run.folder import RunFolder, check_output
from ploutos_jax.train.run.loggers import Logger
from ploutos_jax.train.run.provenance import describe_making
from ploutos_jax.train.slices import Slices, describe_slices


def train(
    config: TrainConfig,
    market: Market,
    env: TradingEnv,
    *,
    params: EnvParams | None = None,
    hyper: Hyper | None = None,
    output: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    progress: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    held_out: HeldOut | None = None,
    draw: MarketDraw | None = None,
    loggers: Sequence[Logger] = (),
    algorithm: MakeAlgorithm = learner_of,
    devices: DevicesOf = 1,
) -> Agent:
    """Train an agent on all bars of a market; of several seeds, return the first (see `train_seeds`).

    Same arguments and seed give the same agent, bit for bit, on the same kind of machine; on a GPU only where XLA is
    asked for it (`XLA_FLAGS=--xla_gpu_deterministic_ops=true` before JAX starts, `--deterministic` of the commands):
    otherwise sums of gradients meet in any order there.

    Args:
        config: settings of the learner.
        market: bars and features to train on; the scaling of features is fitted on these rows. One that lies in files
            (`pj.load_long_market`) is put on the device a slice at a time.
        env: rules of the environment.
        params: its numbers; `env.default_params(market)` without them.
        hyper: numbers of the learner instead of those of `config`, for all seeds or `[num_seeds]`, one for each.
        output: run folder for checkpoints and figures; nothing is written without it.
        settings: what `config.yaml` in the run folder holds; the two configurations without it.
        resume: continue the run in `output` from its newest checkpoint; one that was ended before its first starts
            anew.
        observers: called with new figures every few seconds.
        progress: show a bar with the latest figures, on stderr or below a notebook's cell.
        should_stop: asked between calls; True ends the run early, after a checkpoint.
        held_out: how to score the agent on other bars during the run; the best one is kept beside the checkpoints.
        draw: with `config.market_refresh`, where the markets after the first come from; `market` is `draw.first()`.
        loggers: further receivers of the figures that go into the run folder, such as a tracking service; they are cut
            back with it when a run is resumed, and closed at the end.
        algorithm: makes the learner, that of `config.algorithm` without it; see `Algorithm`.
        devices: how many the environments (or seeds) are laid over, or "all"; the same agent up to rounding. Of
            several hosts, which have joined before (`train.hosts.join`), those of each; the first alone writes.

    Returns:
        The agent after the last update.

    Raises:
        ValueError: if an episode does not fit into the market, the reward is unknown, `output` holds another run, or
            there is nothing to resume or it was started with other data or settings, or the run does not fit into the
            memory of the device, or there are loggers but no `output`, or the devices do not divide the run.
        SaveError: an OSError, if a checkpoint cannot be written; earlier ones stay as they are.
        HostLostError: a RuntimeError, if another host does not answer.
        DivergedError: a ValueError, if too many gradient steps in a row could not be taken; the last good state is
            saved first.
    """
    return train_seeds(
        config,
        market,
        env,
        params=params,
        hyper=hyper,
        output=output,
        settings=settings,
        resume=resume,
        observers=observers,
        progress=progress,
        should_stop=should_stop,
        held_out=held_out,
        draw=draw,
        loggers=loggers,
        algorithm=algorithm,
        devices=devices,
    )[0]


@telling
def train_seeds(
    config: TrainConfig,
    market: Market,
    env: TradingEnv,
    *,
    params: EnvParams | None = None,
    hyper: Hyper | None = None,
    output: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    progress: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    held_out: HeldOut | None = None,
    draw: MarketDraw | None = None,
    loggers: Sequence[Logger] = (),
    algorithm: MakeAlgorithm = learner_of,
    devices: DevicesOf = 1,
    notes: Sequence[str] = (),
    max_updates_per_call: int = MAX_UPDATES_PER_CALL,
) -> tuple[Agent, ...]:
    """Train `config.num_seeds` agents side by side in one program and return them in order of their seeds.

    Each becomes what it would be in a run of its own, up to the rounding of floats. Arguments and errors are those of
    `train`, and in addition:

    Args:
        notes: lines that the text log of the run folder begins with.
        max_updates_per_call: updates after which observers are called and `should_stop` is asked at the latest; with 1
            after each, for which a run of small updates is slower.
    """
    # What can be refused is refused before anything is compiled or written.
    if loggers and output is None:
        raise ValueError("loggers receive what goes into the run folder: give output=, or use observers=.")
    sliced = Slices.create(market, config, env, config.policy.warm_up)
    if sliced is not None:
        params = sliced.params_for(params, devices)
    params = env.default_params(with_sectors(market)) if params is None else params
    params = _strongly_typed(started_warm(params, config.policy.warm_up))
    resolve_reward(env.config.reward)
    hosts = Hosts.here()
    resume = resume and output is not None
    output = output if hosts.is_first else None
    if output is not None and resume:
        config = with_rollout_of(output, config)
    if resume and hosts.number > 1:
        config = dataclasses.replace(config, rollout_length=hosts.first_says(config.steps_per_rollout)[0])
    layout = layout_of(devices, config)
    refresh = Refresh.create(draw, config.market_refresh, market) if sliced is None else None
    on_device = market if sliced is None else sliced.first_market()
    config = fit_to_device(config, on_device, env.config.action, device_bytes(), 1 if layout is None else layout.number)
    network = Network.for_env(config.policy, env.config, market.num_assets, config.chunk_bytes, market.feature_names)
    learner = algorithm(config, env, network)
    numbers = make_hyperparams(learner, hyper)
    meta = describe(network, env.config, market, params, config.num_seeds)
    meta |= describe_run(config, market, params, numbers)
    meta["train"] |= describe_slices(sliced)
    hosts.check_same(meta)
    if layout is not None:
        layout.on_each(learner)
    if held_out is not None and held_out.ends_training:
        meta |= held_out.described()
    goes_on = False
    if output is not None:
        check_output(Path(output), resume=resume)
        goes_on = resume and check_resumable(output, meta)
    goes_on = bool(hosts.first_says(goes_on)[0])
    params, forecast = _with_forecast(config, params, refresh)
    state = first_state(learner, params, refresh, forecast, None if sliced is None else market)
    if refresh is not None or sliced is not None:
        # Each market comes out of the compiled loop; the first one need not stay on the device.
        params = params.replace(market=None)

    def agents_of(state: TrainState) -> tuple[Agent, ...]:
        parts = [of_seed(state.acting, place, config.num_seeds) for place in range(config.num_seeds)]
        agents = [agent_from(meta, part, updates_of(state)) for part in parts]
        # A reward of the user's own is known here, though not in the description.
        return tuple(dataclasses.replace(agent, network=network, env_config=env.config) for agent in agents)

    if not hosts.is_first:
        observers, progress = (), False
    run = Calls(
        learner,
        params,
        numbers,
        observers,
        should_stop,
        held_out,
        agents_of,
        refresh if sliced is None else sliced,
        max_updates_per_call,
        progress,
        layout=layout,
        hosts=hosts,
    )
    if output is None:
        return agents_of(run.go(hosts.sent(state) if goes_on else state, None, None, None))
    settings = settings or {"train": dataclasses.asdict(config), "env": meta["env"]}
    with (
        RunFolder(Path(output), settings, resume=resume, loggers=loggers, notes=notes) as folder,
        Checkpoints(output, meta, keep=config.keep_checkpoints) as checkpoints,
        _best_agent(output, meta, held_out) as best,
    ):
        if goes_on:
            restored = checkpoints.restore(state)
            check_features(state, restored, tuple(market.feature_names))
            state = hosts.sent(restored)
        if resume:
            run.earlier = folder.cut_back(updates_of(state))
        weights = sum(leaf.size for leaf in jax.tree.leaves(state.agent.network)) // config.num_seeds
        folder.add(describe_making(market) | {"num_parameters": weights})
        folder.say(f"{weights:,} parameters, {config.num_updates} updates of {config.timesteps_per_update:,} steps")
        return agents_of(run.go(state, folder, checkpoints, best))


def _with_forecast(
    config: TrainConfig, params: EnvParams, refresh: Refresh | None
) -> tuple[EnvParams, Forecast | None]:
    """Return numbers whose market holds what a forecast tells, and the forecast; None where none is asked for."""
    if config.policy.forecast == "none":
        return params, None
    if refresh is not None and refresh.draw.source is not None:
        raise ValueError(
            f"forecast={config.policy.forecast!r}: bars that are resampled hold the returns that the forecast is"
            " fitted on, in another order, and would teach the agent to trust it too much. Train on the file itself"
            " (without bootstrap: and market_refresh), or set forecast='none'."
        )
    return told_ahead(params, is_redrawn=refresh is not None)


def _best_agent(
    output: PathLike, meta: Mapping[str, Any], held_out: HeldOut | None
) -> contextlib.AbstractContextManager[BestAgent | None]:
    return contextlib.nullcontext() if held_out is None else BestAgent(output, {**meta, **held_out.described()})


def _strongly_typed(params: EnvParams) -> EnvParams:
    """Return numbers on the device without weak types, which would make another program of the same numbers."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)
