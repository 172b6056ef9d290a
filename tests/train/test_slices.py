"""Training on one slice after the other of a market that is not on the device as a whole."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train import calls, slices
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.evolution_config import EvolutionConfig
from ploutos_jax.train.loop import train, train_seeds
from ploutos_jax.train.memory import estimate_memory
from ploutos_jax.train.resampling import restart
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from ploutos_jax.train.slices import Slices
from ploutos_jax.train.updates import States, run_updates, update_all
from tests.train.worlds import SHARED, assert_identical, largest_difference, make_learner, random_market

EPISODE, LENGTH, EVERY = 12, 40, 2
ENV = TradingEnv(EnvConfig(episode_length=EPISODE))
CONFIG = TrainConfig(
    num_envs=8,
    rollout_length=16,
    total_timesteps=8 * 16 * 7,
    num_minibatches=2,
    num_epochs=1,
    market_refresh=EVERY,
    policy=SHARED,
)


def lying_in_files(market: Market, device_bars: int | None) -> Market:
    assert market.labels is not None
    return market.replace(labels=dataclasses.replace(market.labels, device_bars=device_bars))


MARKET = lying_in_files(random_market(num_bars=130, num_assets=2), LENGTH)


def watched(**arguments):
    told = []
    agent = train(CONFIG, MARKET, ENV, observers=[told.append], **arguments)
    return SimpleNamespace(agent=agent, rows=[row for progress in told for row in progress.rows])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of seven updates on four slices, one update a call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "_calls_for", lambda count, seconds: 1)
        return watched(output=tmp_path_factory.mktemp("slices") / "run")


def test_the_plan_leaves_the_bar_after_an_episode_in_its_slice():
    cut = Slices.create(MARKET, CONFIG, ENV, 0)
    assert cut is not None
    assert cut.plan.first == (0, 27, 54, 81, 90) and cut.every == EVERY
    params = cut.params_for(None, 1)
    assert np.asarray(params.starts).tolist() == list(range(LENGTH - EPISODE - 1))
    assert params.has_gaps is not None
    rows = cut.rows_at(0)
    np.testing.assert_array_equal(params.market.close, MARKET.close[rows])
    assert Slices.create(lying_in_files(MARKET, 130), CONFIG, ENV, 0) is None
    assert Slices.create(lying_in_files(MARKET, None), CONFIG, ENV, 0) is None


@pytest.mark.thorough
def test_a_run_is_that_of_updates_on_slices_laid_out_by_hand(run):
    """No thread, no plan of the run's own: windows of the market in memory, in the order that the seed says."""
    whole = lying_in_files(MARKET, None)
    whole = whole.replace(sector=with_sectors(whole.window(0, LENGTH)).sector)
    firsts = [0, 27, 54, 81, 90]
    order = np.random.default_rng([CONFIG.seed, 0]).permutation(5)
    learner, params, hyper = make_learner(CONFIG, whole, ENV.config)
    scaling = learner.network.fit_scaling(whole.features, whole.tradable)
    kept = jax.tree.map(np.array, scaling)

    def on(place):
        cut = ENV.default_params(whole.window(firsts[place], firsts[place] + LENGTH))
        return cut.replace(starts=cut.starts[:-1], has_gaps=jnp.zeros((), bool))

    state = learner.init(jax.random.key(CONFIG.seed), on(order[0]), scaling)
    again, rewards = jax.jit(partial(restart, learner)), []
    for turn, number in enumerate((2, 2, 2, 1)):
        params = on(order[turn])
        if turn:
            state = again(state, params)
        states, figures = run_updates(update_all, 64, learner, States(state), params, hyper, jnp.int32(number))
        state = states.now
        rewards += np.asarray(figures["reward_per_step"])[:number].tolist()
    assert [row["reward_per_step"] for row in run.rows] == pytest.approx(rewards, rel=1e-4, abs=1e-7)
    assert largest_difference(run.agent.params, state.agent) < 1e-4
    assert_identical(run.agent.params.scaling.features, kept)


@pytest.mark.thorough
def test_a_run_resumed_on_either_side_of_a_slice_has_the_same_bits(run, tmp_path, monkeypatch):
    for stop_after in (3, 4):
        folder, told = tmp_path / f"stopped-{stop_after}", []
        monkeypatch.setattr(calls, "_calls_for", lambda count, seconds: 1)
        train(
            CONFIG,
            MARKET,
            ENV,
            output=folder,
            observers=[told.append],
            should_stop=lambda n=stop_after, told=told: len(told) == n,
        )
        monkeypatch.setattr(calls, "_calls_for", lambda count, seconds: 64)
        rest = watched(output=folder, resume=True)
        assert [row["update"] for row in rest.rows] == list(range(stop_after + 1, 8))
        assert_identical(rest.agent.params, run.agent.params)
    with pytest.raises(ValueError, match="device_bars: 40 -> 44"):
        train(CONFIG, lying_in_files(MARKET, 44), ENV, output=folder, resume=True)


@pytest.mark.thorough
def test_figures_do_not_depend_on_how_updates_are_dealt_out(run, monkeypatch):
    monkeypatch.setattr(calls, "_calls_for", lambda count, seconds: 64)
    whole = watched()
    assert_identical(whole.agent.params, run.agent.params)
    plain = [
        [{k: v for k, v in row.items() if k not in MACHINE_FIGURES} for row in rows] for rows in (whole.rows, run.rows)
    ]
    assert plain[0] == plain[1]
    assert all(0 <= row["data_wait_share"] <= 1 for row in run.rows)


@pytest.mark.thorough
def test_what_a_slow_disk_costs_is_told(monkeypatch):
    fetch, seconds = Slices._fetch, 0.4

    def slowly(self, turn):
        import time

        time.sleep(seconds)
        return fetch(self, turn)

    monkeypatch.setattr(slices.Slices, "_fetch", slowly)
    monkeypatch.setattr(calls, "_calls_for", lambda count, took: 1)
    rows = watched().rows
    waited = [row["data_wait_share"] for row in rows]
    # Before the third, fifth and seventh update.
    assert min(waited[2], waited[4], waited[6]) > 0.1 and max(waited[1], waited[3], waited[5]) == 0


@pytest.mark.thorough
def test_seeds_share_their_slices():
    config = dataclasses.replace(CONFIG, num_seeds=2, total_timesteps=8 * 16 * 3)
    both = train_seeds(config, MARKET, ENV)
    alone = train(dataclasses.replace(config, num_seeds=1), MARKET, ENV)
    assert largest_difference(both[0].params, alone.params) < 1e-4
    assert largest_difference(both[1].params.network, alone.params.network) > 0.05


def test_a_memory_is_warm_before_an_episode_begins():
    config = dataclasses.replace(CONFIG, policy=PolicyConfig(torso="shared", width=8, hidden=(8,), time="recurrent"))
    market = lying_in_files(random_market(num_bars=900, num_assets=2), 500)
    warm_up = config.policy.warm_up
    cut = Slices.create(market, config, ENV, warm_up)
    assert cut is not None and cut.plan.first[1] == 500 - EPISODE - warm_up - 1


def test_two_slices_are_counted():
    part = MARKET.window(0, LENGTH)
    sizes = [
        estimate_memory(CONFIG_OF_FILE, market, "discrete").market for market in (part, lying_in_files(part, None))
    ]
    assert sizes[0] == 2 * sizes[1]


CONFIG_OF_FILE = dataclasses.replace(CONFIG, market_refresh=None)


@pytest.mark.parametrize(
    ("config", "arguments", "said"),
    [
        (dataclasses.replace(CONFIG, policy=PolicyConfig(forecast="add")), {}, "forecast='add' needs all bars at once"),
        (dataclasses.replace(CONFIG, evolution=EvolutionConfig(population=4)), {}, "population=4 needs all bars"),
        (CONFIG, {"devices": 2}, r"devices=2: slices of a market \(device_bars\) are of one device"),
        (CONFIG, {"params": ENV.default_params(random_market())}, "params= holds a market, and this one lies in files"),
    ],
)
def test_what_needs_all_bars_is_refused(config, arguments, said):
    with pytest.raises(ValueError, match=said):
        train(config, MARKET, ENV, **arguments)
