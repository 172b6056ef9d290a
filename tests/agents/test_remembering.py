"""Networks that remember: rows know of those before them on their path, in whatever way they are encoded and played."""

import dataclasses
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ploutos_jax as pj
from ploutos_jax.agents.acting import encode_market, path_starts, started_warm
from ploutos_jax.agents.network import Network
from ploutos_jax.datasets.splits import Window
from ploutos_jax.evaluate.backtest.grid import play_points
from ploutos_jax.evaluate.backtest.handover import play_segments
from ploutos_jax.evaluate.backtest.sensitivity import gradient_of
from ploutos_jax.evaluate.backtest.vectorized import backtest_many
from ploutos_jax.live.next_bar import with_next_bar
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.policy.recurrent import WARM_UP
from tests.evaluate.backtest.worlds import COSTLY, NUM_BARS, make_agent, make_market, make_panel
from tests.train.worlds import largest_difference, random_market

pytestmark = pytest.mark.thorough

POLICY = PolicyConfig(hidden=(8, 8), width=8, time="recurrent", time_width=6)
ATTENTION = dataclasses.replace(POLICY, time="attention", time_width=4, time_window=8)
START, BARS = 40, 30


MINGRU = POLICY
LRU = dataclasses.replace(POLICY, time_cell="lru")


@pytest.fixture(params=[POLICY, LRU, ATTENTION], ids=["mingru", "lru", "attention"])
def memory(request, monkeypatch):
    """Each kind of memory, of the agents that the test makes."""
    monkeypatch.setattr(sys.modules[__name__], "POLICY", request.param)


each = pytest.mark.usefixtures("memory")


def remembering(market: Market, config: pj.EnvConfig = COSTLY, chunk_bytes: int = 2**20) -> pj.Agent:
    """Return an agent with memory that has learnt nothing and reacts to all it sees."""
    agent = make_agent(market, config)
    network = Network.create(POLICY, config.action, market.num_assets, chunk_bytes)
    weights = jax.tree.map(lambda x: 2 * x, network.init(jax.random.key(4), market.num_features))
    return dataclasses.replace(agent, network=network, params=agent.params.replace(network=weights))


def with_gaps(seed: int = 0, num_bars: int = 60) -> Market:
    return random_market(seed, num_bars=num_bars, missing=0.2)


def table_of(agent: pj.Agent, market: Market) -> dict:
    market = jax.tree.map(jnp.asarray, market)
    return jax.device_get(jax.jit(partial(encode_market, agent.network))(agent.params, market))


def close_to(ours: dict, theirs: dict, tolerance: float = 1e-5) -> None:
    if POLICY != MINGRU:
        tolerance = 1e-4  # twice the weights in every layer, and a norm over a few numbers, enlarge what is rounded
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), ours, theirs)


def rows_of(table: dict, rows: slice) -> dict:
    return jax.tree.map(lambda x: x[rows], table)


@each
def test_two_paths_end_to_end_are_each_alone():
    one, two = with_gaps(0), with_gaps(1)
    ends = np.concatenate([one.path_end, 60 + two.path_end])
    arrays = [market.replace(labels=None) for market in (one, two)]
    both = jax.tree.map(lambda *x: np.concatenate(x), *arrays).replace(path_end=ends, feature_names=one.feature_names)
    assert np.flatnonzero(path_starts(both)).tolist() == [0, 60]
    agent = remembering(one)
    table = table_of(agent, both)
    close_to(rows_of(table, slice(0, 60)), table_of(agent, one), 5e-6)
    close_to(rows_of(table, slice(60, 120)), table_of(agent, two), 5e-6)


@each
def test_later_bars_change_no_earlier_row_and_earlier_ones_every_later_row():
    market = with_gaps()
    agent = remembering(market)
    later = market.replace(features=np.where(np.arange(60)[:, None, None] >= 25, 3.0, market.features))
    before, after = table_of(agent, market), table_of(agent, later.replace(features=later.features.astype(np.float32)))
    jax.tree.map(np.testing.assert_array_equal, rows_of(before, slice(0, 25)), rows_of(after, slice(0, 25)))
    if POLICY.time == "attention":
        return  # what reaches how far is a test of the layer
    first = market.replace(features=market.features + 2 * (np.arange(60) == 0)[:, None, None].astype(np.float32))
    assert (np.abs(table_of(agent, first)["actor"] - before["actor"]).max(axis=(1, 2)) > 1e-6).all()


@each
@pytest.mark.parametrize("chunk_bytes", [4_000, 9_000])
def test_chunks_are_the_whole_and_so_are_their_gradients(chunk_bytes: int):
    market = with_gaps(num_bars=61)
    whole, chunked = remembering(market), remembering(market, chunk_bytes=chunk_bytes)
    arrays = jax.tree.map(jnp.asarray, market)
    assert whole.network._num_chunks(arrays.features) == 1 < chunked.network._num_chunks(arrays.features)
    close_to(table_of(chunked, market), table_of(whole, market))
    weight = np.random.default_rng(1).normal(size=(61, 3, 8)).astype(np.float32)

    def gradient(agent: pj.Agent) -> dict:
        def loss(weights: dict) -> jax.Array:
            params = agent.params.replace(network=weights)
            return (weight * encode_market(agent.network, params, arrays)["actor"]).sum()

        return jax.jit(jax.grad(loss))(agent.params.network)

    allowed = 1e-5 if POLICY == MINGRU else 1e-4
    assert largest_difference(gradient(chunked), gradient(whole)) < allowed


@each
@pytest.mark.parametrize("several", [False, True], ids=["one", "ensemble"])
def test_bars_as_they_come_are_the_table(several: bool):
    market = with_gaps(num_bars=30)
    agent = remembering(market)
    if several:
        other = jax.tree.map(lambda x: 0.7 * x, agent.params.network)
        agent = pj.ensemble([agent, dataclasses.replace(agent, params=agent.params.replace(network=other))])
    network, params = agent.network, agent.params
    blank = network.model.blank_state()
    state = jnp.stack([blank] * 2) if several else blank
    starts, rows = np.asarray(path_starts(market)), []
    step = jax.jit(lambda *x: network.encode_on(params.network, params.scaling, *x))
    for t in range(30):
        one = slice(t, t + 1)
        row, state = step(*(jnp.asarray(x[one]) for x in (market.features, market.tradable, starts)), state)
        rows.append(row)
    close_to(jax.tree.map(lambda *x: np.concatenate(x), *rows), table_of(agent, market))


def test_rows_without_order_are_refused():
    market = with_gaps()
    agent = remembering(market)
    with pytest.raises(ValueError, match="give rows in order of time, and reset="):
        agent.network.encode(
            agent.params.network, agent.params.scaling, *map(jnp.asarray, (market.features, market.tradable))
        )
    with pytest.raises(ValueError, match="This agent remembers the bars before, and a flat vector holds one"):
        agent.predict(np.zeros((1, 53), np.float32))


# --- played


@each
def test_an_account_that_begins_later_remembers_the_bars_before():
    """However it is played: by itself, side by side with others, after another agent, at several costs, for a slope."""
    market = make_market()
    agent = remembering(market, dataclasses.replace(COSTLY, episode_length=BARS))
    ledger = pj.backtest(agent, market, START, START + BARS + 1)
    of_whole = backtest_many(agent, market, [START], BARS)
    np.testing.assert_allclose(ledger.equity, of_whole.equity[0, 0, 0, 0], rtol=1e-6)
    assert np.ptp(ledger.equity) > 1
    cold = pj.backtest(agent, market.window(START, START + BARS + 1))
    assert np.abs(cold.equity - ledger.equity).max() > 1, "without them it is another account"

    halves = [(Window(START + 1, START + 15), agent), (Window(START + 15, START + BARS + 1), agent)]
    turns = play_segments("turns", market, halves, agent.env_config)
    np.testing.assert_allclose(turns.equity[:15], ledger.equity[:15], rtol=1e-6)
    span = market.window(START, START + BARS + 1, lead=agent.network.warm_up)
    points = play_points(agent, span, agent.env_config, [{"spread_bps": 10.0}, {"spread_bps": 50.0}])
    np.testing.assert_allclose(points.equity[0], ledger.equity, rtol=1e-6)
    value = gradient_of("total_return", agent, market, START, START + BARS + 1, by=("spread",)).value
    assert value == pytest.approx(ledger.equity[-1] / ledger.equity[0] - 1, rel=1e-3)
    led = agent.led_by(market.window(START, START + BARS + 1), market)
    np.testing.assert_array_equal(pj.backtest(agent, led).equity, ledger.equity)
    # A span of a span has the bars before both.
    first = max(START - agent.network.warm_up, 0)
    within = led.window(10, BARS + 1, lead=WARM_UP)
    np.testing.assert_array_equal(within.lead.tradable, market.tradable[first : START + 10])
    np.testing.assert_array_equal(within.lead.features, market.features[first : START + 10])


def test_a_span_of_an_agent_without_memory_carries_nothing():
    market = make_market()
    agent = make_agent(market, COSTLY)
    span = market.window(START, START + BARS)
    assert agent.led_by(span, market) is span and span.lead is None
    assert market.window(0, BARS, lead=WARM_UP).lead is None
    assert market.window(START, START + BARS, lead=7).lead.tradable.shape[0] == 7


@each
def test_act_sees_what_a_backtest_sees():
    market = make_market()
    agent = remembering(market)
    env = pj.TradingEnv(dataclasses.replace(COSTLY, episode_length=10))
    params = env.default_params(market)
    rows = jnp.arange(20, 60)
    observation, _ = jax.vmap(lambda row: env.reset_at(row, row + 10, params))(rows)
    outputs = agent.network.act(
        agent.params.network,
        agent.params.scaling,
        jax.tree.map(lambda x: jnp.asarray(x[20:60]), table_of(agent, market)),
        params.market.tradable[rows],
        observation.assets,
        observation.account,
    )[0]
    best = np.sort(outputs, axis=-1)
    is_clear = best[..., -1] - best[..., -2] > 1e-4
    actions = np.asarray(agent.act_batch(observation, params))
    np.testing.assert_array_equal(actions[is_clear], np.asarray(outputs).argmax(axis=-1)[is_clear])
    assert is_clear.mean() > 0.9 and len(np.unique(actions)) > 1


# --- trained


def test_episodes_begin_where_enough_bars_were_seen():
    ends = np.repeat([499, 799], [500, 300]).astype(np.int32)
    market = random_market(num_bars=800).replace(path_end=ends)
    env = pj.TradingEnv(pj.EnvConfig(episode_length=20))
    params = env.default_params(market)
    assert started_warm(params, 0) is params
    starts = np.asarray(started_warm(params, WARM_UP).starts)
    assert starts.tolist() == list(range(WARM_UP, 480)), "the second path is too short"
    with pytest.raises(ValueError, match="sees 490 bars of a path before an episode begins"):
        started_warm(params, 490)


@each
def test_orders_of_today_are_those_of_a_backtest_with_one_more_bar():
    panel = make_panel()
    longer = build_market(with_next_bar(panel), "minimal")
    agent = remembering(longer, dataclasses.replace(COSTLY, action="weights"))
    fills = pj.backtest(agent, longer, NUM_BARS - 1).fills
    orders = pj.orders_for_today(agent, panel)
    assert len(fills) > 0 and orders["ticker"].tolist() == fills["ticker"].tolist()
    np.testing.assert_allclose(orders["shares"], fills["shares"], rtol=1e-6)
