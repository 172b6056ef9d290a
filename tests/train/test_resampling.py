"""Training on synthetic markets that are drawn anew inside the compiled loop."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.network import Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.synthetic.planted import PlantedDraw
from ploutos_jax.train import calls, resampling
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train, train_seeds
from ploutos_jax.train.memory import estimate_memory
from ploutos_jax.train.ppo.learner import Learner
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.train.worlds import SHARED, assert_identical, largest_difference

pytestmark = pytest.mark.thorough

DRAW = PlantedDraw(num_assets=2, num_bars=30, num_paths=3, num_noise=1).stream(jax.random.key(11))
ENV = TradingEnv(EnvConfig(episode_length=12))
CONFIG = TrainConfig(
    num_envs=8,
    rollout_length=16,
    total_timesteps=8 * 16 * 6,
    num_minibatches=2,
    num_epochs=1,
    learning_rate_schedule="constant",
    market_refresh=2,
    policy=SHARED,
)


@pytest.fixture(scope="module")
def first():
    return DRAW.first()


class Watched:
    """The compiled loop: how often it was compiled, and what became of the market that each call was given."""

    def __init__(self, jitted):
        self.jitted, self.num_programs, self.donated, self.markets = jitted, 0, [], []

    def lower(self, *arguments):
        program = self.jitted.lower(*arguments).compile()
        self.num_programs += 1

        def call(states, market, *rest):
            result = program(states, market, *rest)
            self.donated.append(all(leaf.is_deleted() for leaf in jax.tree.leaves(market)))
            self.markets.append(np.array(result[1].close.copy()))
            return result

        return SimpleNamespace(compile=lambda: call)


@pytest.fixture(scope="module")
def run(first, tmp_path_factory):
    """A run of six updates with draws before the third and the fifth, one update a call."""
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(resampling._run_refreshed)
        patch.setattr(resampling, "_run_refreshed", watched)
        patch.setattr(calls, "_calls_for", lambda count, seconds: 1)
        folder, told = tmp_path_factory.mktemp("refresh") / "run", []
        agent = train(CONFIG, first, ENV, draw=DRAW, output=folder, observers=[told.append])
    rows = [row for progress in told for row in progress.rows]
    return SimpleNamespace(agent=agent, rows=rows, folder=folder, watched=watched)


def test_markets_change_when_they_should_within_one_program(run):
    watched = run.watched
    assert watched.num_programs == 1 and watched.donated == [True] * 6
    number = [0, 0, 1, 1, 2, 2]
    for market, index in zip(watched.markets, number, strict=True):
        np.testing.assert_allclose(market, DRAW.number(index).close, rtol=1e-5)
    assert [row["update"] for row in run.rows] == [1, 2, 3, 4, 5, 6]


def test_a_run_resumed_on_either_side_of_a_draw_has_the_same_bits(run, first, tmp_path, monkeypatch):
    for stop_after in (3, 4):
        folder, told = tmp_path / f"stopped-{stop_after}", []
        monkeypatch.setattr(calls, "_calls_for", lambda count, seconds: 1)
        stopping = {"observers": [told.append], "should_stop": lambda n=stop_after, told=told: len(told) == n}
        train(CONFIG, first, ENV, draw=DRAW, output=folder, **stopping)
        monkeypatch.setattr(calls, "_calls_for", lambda count, seconds: 64)
        resumed = []
        agent = train(CONFIG, first, ENV, draw=DRAW, output=folder, resume=True, observers=[resumed.append])
        assert [row["update"] for progress in resumed for row in progress.rows] == list(range(stop_after + 1, 7))
        assert_identical(agent.params, run.agent.params)


def test_figures_do_not_depend_on_how_updates_are_dealt_out(run, first, monkeypatch):
    monkeypatch.setattr(calls, "_calls_for", lambda count, seconds: 64)
    config = dataclasses.replace(CONFIG, checkpoint_every=CONFIG.total_timesteps)
    told = []
    agent = train(config, first, ENV, draw=DRAW, observers=[told.append])
    assert [len(progress.rows) for progress in told] == [1, 5]
    assert_identical(agent.params, run.agent.params)
    rows = [row for progress in told for row in progress.rows]
    times = MACHINE_FIGURES
    plain = [[{k: v for k, v in row.items() if k not in times} for row in rs] for rs in (rows, run.rows)]
    assert plain[0] == plain[1]


def test_without_a_draw_between_them_updates_are_those_of_an_unrefreshed_run(run, first):
    """The first two updates run on the first market; programs differ in their last bits."""
    told = []
    config = dataclasses.replace(CONFIG, market_refresh=None)
    stopping = {"observers": [told.append], "should_stop": lambda: len(told) == 2}
    train(config, first, ENV, **stopping)
    rows = [row for progress in told for row in progress.rows]
    for name in ("reward_per_step", "policy_loss", "value_loss", "entropy"):
        assert rows[0][name] == pytest.approx(run.rows[0][name], rel=1e-3, abs=1e-6)


def test_a_draw_ends_every_episode_and_forgets_running_sums_alone(first):
    learner = Learner(config=CONFIG, env=ENV, network=Network.create(SHARED, "discrete", 2, CONFIG.chunk_bytes))
    params = ENV.default_params(first)
    state = learner.init(jax.random.key(0), params)
    # As if in the middle of a rollout.
    held = state.runner.state.replace(shares=jnp.ones((8, 2)), cash=jnp.full(8, 7.0), episode_return=jnp.ones(8))
    state = state.replace(
        runner=state.runner.replace(state=held, step=jnp.uint32(16)),
        returns=state.returns.replace(running=jnp.ones_like(state.returns.running)),
    )
    other = params.replace(market=jax.tree.map(jnp.asarray, DRAW.number(1)))
    fresh = jax.jit(lambda s, p: resampling.restart(learner, s, p))(state, other)
    account = fresh.runner.state
    np.testing.assert_array_equal(account.cash, np.full(8, ENV.config.initial_cash))
    assert not account.shares.any() and not account.episode_return.any() and not fresh.returns.running.any()
    assert (account.t <= account.end).all() and (account.end <= np.asarray(first.path_end)[account.t]).all()
    np.testing.assert_array_equal(fresh.runner.observation.t, account.t)
    assert_identical(fresh.returns.moments, state.returns.moments)
    assert_identical(fresh.agent, state.agent)
    assert_identical((fresh.runner.keys, fresh.runner.step), (state.runner.keys, state.runner.step))
    assert len(set(np.asarray(account.t).tolist())) > 3, "starts are staggered"
    later = jax.jit(lambda s, p: resampling.restart(learner, s, p))(
        state.replace(runner=state.runner.replace(step=state.runner.step + 16)), other
    )
    assert (later.runner.state.t != account.t).any()


@pytest.mark.slow
def test_seeds_share_their_markets(first):
    config = dataclasses.replace(CONFIG, num_seeds=2, total_timesteps=8 * 16 * 3)
    both = train_seeds(config, first, ENV, draw=DRAW)
    alone = train(dataclasses.replace(config, num_seeds=1, seed=1), first, ENV, draw=DRAW)
    assert largest_difference(both[1].params, alone.params) < 1e-4
    assert largest_difference(both[0].params.network, alone.params.network) > 0.05


def test_the_estimate_counts_the_market_that_is_being_drawn(first):
    parts = [
        estimate_memory(dataclasses.replace(CONFIG, market_refresh=every), first, "discrete") for every in (None, 5)
    ]
    assert parts[1].market == 2 * parts[0].market and parts[1].rollout == parts[0].rollout


def test_what_cannot_be_drawn_is_refused(first):
    with pytest.raises(ValueError, match="market_refresh=2 needs markets that can be redrawn"):
        train(CONFIG, first, ENV)
    with pytest.raises(ValueError, match="market_refresh=0 must be at least 1"):
        dataclasses.replace(CONFIG, market_refresh=0)
    with pytest.raises(ValueError, match=r"first market's close has the shape \(60, 2\), drawn ones have \(90, 2\)"):
        train(CONFIG, first.window(0, 60), ENV, draw=DRAW)
