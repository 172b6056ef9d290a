"""Backtests against what can be worked out by hand, and against the environment stepped by hand."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import MONTH, ORACLE, RULES, buy_and_hold, cash, equal_weight
from ploutos_jax.evaluate.backtest.run import _play_agent, backtest, baselines, baselines_by_rule, hold, random_actions
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import COSTLY, FREE, NUM_ASSETS, NUM_BARS, make_agent, make_panel


@pytest.mark.thorough
@pytest.mark.parametrize("events", [False, True], ids=["plain", "dividends and splits"])
def test_holding_one_asset_earns_its_total_return(events):
    panel = make_panel(seed=1, num_assets=1)
    shares, dividends = 1.0, 0.0
    if events:
        split, dividend = np.ones((NUM_BARS, 1)), np.zeros((NUM_BARS, 1))
        split[30], split[60], dividend[10], dividend[45] = 4.0, 0.5, 0.9, 0.3
        factor = np.cumprod(split, axis=0)
        prices = {name: getattr(panel, name) / factor for name in ("open", "high", "low", "close")}
        panel = panel.replace(**prices, split=split, dividend=dividend)
        # One share bought in bar 1 pays its first dividend alone, and the second after the split as four.
        shares, dividends = 2.0, 0.9 + 4 * 0.3
    expected = (shares * panel.close[-1, 0] + dividends) / panel.open[1, 0]
    ledger = hold(build_market(panel, "minimal"), FREE)
    assert ledger.name == "A"
    assert ledger.equity[-1] / ledger.equity[0] == pytest.approx(expected, rel=1e-6)
    assert ledger.cost.sum() == 0
    assert len(ledger.fills) == 1 and ledger.fills["bar"].iloc[0] == 1


@pytest.mark.thorough
def test_buy_and_hold_is_the_mean_of_its_assets(market):
    ledger = baselines_by_rule(market, FREE, {"buy and hold": buy_and_hold})["buy and hold"]
    growth = np.asarray(market.close[-1], np.float64) / np.asarray(market.open[1], np.float64)
    assert ledger.equity[-1] / ledger.equity[0] == pytest.approx(growth.mean(), rel=1e-5)
    assert list(ledger.fills["bar"]) == [1] * NUM_ASSETS
    assert ledger.turnover[1] == pytest.approx(1, rel=1e-5) and ledger.turnover[2:].sum() == 0


def test_equal_weight_equals_a_computation_in_pandas(market):
    """Dollars in each asset grow by its returns overnight and inside the bar; no shares, no broker."""
    month = market.calendar.sessions_in(MONTH)
    opens, close = (pd.DataFrame(np.asarray(x, np.float64)) for x in (market.open, market.close))
    overnight, inside = opens / close.shift() - 1, close / opens - 1
    parts, idle, equity = pd.Series(0.0, close.columns), 100_000.0, [100_000.0]
    for t in range(1, NUM_BARS):
        parts = parts * (1 + overnight.loc[t])
        if (t - 1) % month == 0:  # sized by the equity of the close before; sales pay for buys
            change = equity[-1] / NUM_ASSETS - parts
            idle -= change.clip(upper=0).sum()
            buys = change.clip(lower=0) * min(1.0, idle / change.clip(lower=0).sum())
            idle -= buys.sum()
            parts = parts + change.clip(upper=0) + buys
        parts = parts * (1 + inside.loc[t])
        equity.append(parts.sum() + idle)
    ledger = baselines_by_rule(market, FREE, {"equal weight": equal_weight})["equal weight"]
    np.testing.assert_allclose(ledger.equity, equity, rtol=1e-5)
    assert set(ledger.fills["bar"]) == set(range(1, NUM_BARS, month))


def test_rules_leave_alone_what_does_not_trade(eventful):
    tradable = np.asarray(eventful.tradable)
    targets = equal_weight(eventful)
    rows = np.arange(0, NUM_BARS, eventful.calendar.sessions_in(MONTH))
    assert np.isnan(np.delete(targets, rows, axis=0)).all()
    np.testing.assert_array_equal(np.isnan(targets[rows]), ~tradable[rows])
    np.testing.assert_allclose(np.nansum(targets[rows], axis=1), 1)
    assert (cash(eventful) == 0).all() and cash(eventful).shape == (NUM_BARS, NUM_ASSETS)
    first = buy_and_hold(eventful)
    assert np.isnan(first[1:]).all() and first[0].sum() == pytest.approx(1)


def regrouped(agent, market):
    """Return the agent as one that was trained with every asset in a sector that the market does not give it."""
    own = 0 if market.sector is None else (np.asarray(market.sector) + 1) % 11
    return dataclasses.replace(agent, sectors=tuple(np.broadcast_to(own, market.num_assets).tolist()))


@pytest.mark.thorough
def test_a_loop_of_ones_own_names_the_step_that_backtest_takes(agent, market):
    other = regrouped(agent, market)
    env = TradingEnv(dataclasses.replace(agent.env_config, episode_length=5))
    params = env.default_params(market)
    observation, _ = env.reset_at(0, 5, params)
    several = jax.tree.map(lambda x: jax.numpy.stack([x, x]), observation)
    for act in (lambda p: other.act(observation, p), lambda p: other.act_batch(several, p)):
        with pytest.raises(ValueError, match=f"other sectors of {market.symbols[0]}.*with_own_sectors"):
            act(params)
        act(env.default_params(other.with_own_sectors(market)))
    # Compiled code sees arrays only, and a market without labels names no assets.
    assert jax.jit(other.act)(observation, params).shape == (market.num_assets,)
    assert other.act(observation, env.default_params(market.replace(labels=None))).shape == (market.num_assets,)


def test_an_agent_without_tickers_acts_anywhere(agent, market):
    env = TradingEnv(dataclasses.replace(agent.env_config, episode_length=5))
    params = env.default_params(market)
    observation, _ = env.reset_at(0, 5, params)
    nameless = dataclasses.replace(regrouped(agent, market), symbols=(), sectors=())
    assert nameless.act(observation, params).shape == (market.num_assets,)


@pytest.mark.parametrize("cut", ["market", "panel", "twice"])
def test_rules_say_that_their_history_was_cut_off(market, cut):
    short = {
        "market": lambda: market.window(60),
        "panel": lambda: build_market(make_panel().window(60), "minimal"),
        "twice": lambda: market.window(20).window(40),
    }[cut]()
    assert short.labels.cut_off == 60
    rules = {"momentum": RULES["momentum"], "cash": cash}
    with pytest.warns(UserWarning, match="^momentum: the market was cut .* 0 of that history are left before the span"):
        baselines_by_rule(short, FREE, rules)


def test_rules_with_all_the_history_there_is_say_nothing(market):
    baselines_by_rule(market, FREE, {"momentum": RULES["momentum"]}, 60)
    baselines_by_rule(market.window(60), FREE, {"cash": cash, "equal weight": equal_weight})
    baselines_by_rule(market.window(None, 60), FREE, {"momentum": RULES["momentum"]})


@pytest.mark.thorough
def test_agent_does_what_it_does_when_stepped_by_hand(agent, market):
    env = TradingEnv(dataclasses.replace(agent.env_config, episode_length=NUM_BARS - 1))
    params = env.default_params(market)

    def step(state, observation):
        action = agent.act(observation, params)
        observation, state, _, _, truncated, info = env.step_env(jax.random.key(0), state, action, params)
        return state, observation, truncated, action, info

    step = jax.jit(step)
    observation, state = env.reset_at(0, NUM_BARS - 1, params)
    equity, money, fills, actions = [env.config.initial_cash], [env.config.initial_cash], [], []
    for t in range(1, NUM_BARS):
        state, observation, truncated, action, info = step(state, observation)
        assert bool(truncated) == (t == NUM_BARS - 1)
        equity.append(float(info["equity"]))
        money.append(float(info["cash"]))
        actions.append(np.asarray(action))
        fills += [
            (t, market.symbols[a], float(fill.shares[a]))
            for fill in info["fills"]
            for a in np.flatnonzero(np.asarray(fill.shares))
        ]
    assert {0, 1, 2} == set(np.unique(actions)), "an agent that always does the same would prove nothing"
    ledger = backtest(agent, market)
    np.testing.assert_allclose(ledger.equity, equity, rtol=1e-6)
    np.testing.assert_allclose(ledger.cash, money, rtol=1e-6, atol=0.01)
    signed = np.where(ledger.fills["side"] == "buy", 1, -1) * ledger.fills["shares"]
    assert list(zip(ledger.fills["bar"], ledger.fills["ticker"], strict=True)) == [fill[:2] for fill in fills]
    np.testing.assert_allclose(signed, [fill[2] for fill in fills], rtol=1e-5, atol=1e-3)


def test_agents_of_one_network_share_a_program(agent, market):
    """What makes many checkpoints on one market cheap: another agent is other numbers, not another program."""
    first = backtest(agent, market)
    programs = _play_agent._cache_size()
    weights = jax.tree.map(lambda x: -x, agent.params.network)
    other = dataclasses.replace(agent, params=dataclasses.replace(agent.params, network=weights))
    second = backtest(other, market, name="other")
    assert _play_agent._cache_size() == programs
    assert not np.allclose(first.equity, second.equity)


def test_a_ledger_keeps_the_candles(agent, market):
    ledger = backtest(agent, market, 10, 30)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(ledger, name), np.asarray(getattr(market, name))[10:30])
    with pytest.raises(ValueError, match="low has shape"):
        dataclasses.replace(ledger, low=ledger.low[:-1])


def test_first_decision_fills_at_the_open_of_the_second_bar(agent, market):
    ledger = backtest(agent, market, seed=0)
    np.testing.assert_array_equal(ledger.times, market.times)
    assert ledger.equity[0] == ledger.cash[0] == ledger.initial_cash == 100_000
    for name in ("gross_exposure", "turnover", "cost"):
        assert getattr(ledger, name)[0] == 0
    first = ledger.fills[ledger.fills["bar"] == 1]
    assert (first["side"] == "buy").any() and ledger.fills["bar"].min() == 1
    for fill in first[first["side"] == "buy"].itertuples():
        opened = float(market.open[1, market.symbols.index(fill.ticker)])
        assert fill.reference_price == pytest.approx(opened, rel=1e-6)
        assert fill.price == pytest.approx(opened * (1 + 8e-4), rel=1e-6)
        assert np.datetime64(fill.date) == market.times[1]
    np.testing.assert_array_equal(ledger.close, np.asarray(market.close, np.float64))
    np.testing.assert_allclose(ledger.gross_exposure, ledger.equity - ledger.cash, atol=0.05)


def test_a_span_is_a_window(agent, market):
    """The same bars by date, by row and as a window of their own give the same ledger."""
    first, last = market.times[20].astype("datetime64[D]"), market.times[60].astype("datetime64[D]")
    ledgers = [
        backtest(agent, market, str(first), str(last)),
        backtest(agent, market, 20, 61),
        backtest(agent, market.window(20, 61)),
    ]
    for ledger in ledgers:
        np.testing.assert_array_equal(ledger.times, market.times[20:61])
        np.testing.assert_array_equal(ledger.equity, ledgers[0].equity)


def test_seeds_decide_random_actions_and_draws(agent, market):
    first, again, other = (random_actions(market, COSTLY, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.equity, again.equity)
    assert not np.array_equal(first.equity, other.equity)
    np.testing.assert_array_equal(baselines(market, COSTLY)["random"].equity, first.equity)
    likeliest, drawn, repeated, differently = (backtest(agent, market, seed=seed) for seed in (None, 5, 5, 6))
    np.testing.assert_array_equal(drawn.equity, repeated.equity)
    assert not np.array_equal(drawn.equity, differently.equity)
    assert not np.array_equal(drawn.equity, likeliest.equity)


def test_costs_reduce_equity(market):
    free, costly = baselines(market, FREE), baselines(market, COSTLY)
    for name in (*RULES, "random"):
        assert free[name].cost.sum() == 0
        assert costly[name].cost.sum() > 0 or free[name].fills.empty
    for name in ("buy and hold", "equal weight", "mean reversion"):
        assert costly[name].equity[-1] < free[name].equity[-1]


def test_rules_know_no_stops_and_limits(market):
    """They stand beside an agent with tight limits at its costs, but hold what they hold."""
    strict = dataclasses.replace(COSTLY, stop_loss=0.005, take_profit=0.005, max_position_pct=0.1)
    invested = {name: RULES[name] for name in ("buy and hold", "equal weight")}
    for name, ledger in baselines_by_rule(market, strict, invested).items():
        assert set(ledger.fills["reason"]) == {"order"}, name
        assert ledger.gross_exposure[1] > 0.95 * ledger.equity[1]


@pytest.mark.thorough
def test_names_and_keys(agent, market):
    assert list(baselines(market, COSTLY)) == [*RULES, "random"]
    assert list(RULES)[:3] == ["cash", "buy and hold", "equal weight"]
    assert list(baselines(market, COSTLY, 70, with_oracle=True)) == [*RULES, ORACLE, "random"]
    assert all(name == ledger.name for name, ledger in baselines(market, COSTLY).items())
    assert backtest(agent, market).name == "agent"
    assert backtest(agent, market, name="mine").name == "mine"
    idle = baselines_by_rule(market, COSTLY, {"cash": cash})["cash"]
    assert idle.name == "cash" and (idle.equity == idle.initial_cash).all() and idle.fills.empty


def test_environment_may_be_another_one(agent, market):
    rich = TradingEnv(dataclasses.replace(FREE, initial_cash=5_000.0))
    ledger = backtest(agent, market, env=rich)
    assert ledger.initial_cash == ledger.equity[0] == 5_000
    assert ledger.cost.sum() == 0


@pytest.mark.thorough
def test_weights_are_played_too(market):
    config = dataclasses.replace(COSTLY, action="weights", stop_loss=None, take_profit=None)
    ledger = backtest(make_agent(market, config), market)
    assert (ledger.cash >= 0).all()
    assert (ledger.gross_exposure[1:] > 0).all()
    assert random_actions(market, config).fills["bar"].iloc[0] == 1


@pytest.mark.thorough
@pytest.mark.parametrize("action", ["discrete", "bands", "levels"])
def test_a_backtest_decides_at_its_first_bar_and_then_every_so_many(market, action):
    config = dataclasses.replace(COSTLY, action=action, stop_loss=None, take_profit=None, decide_every=4)
    agent = make_agent(market, config)
    assert market.tradable.all(), "where an asset has no bar its order would wait"
    for ledger, first in (
        (backtest(agent, market, seed=1), 0),
        (backtest(agent, market, start=3, seed=1), 3),
        (random_actions(market, config), 0),
    ):
        assert len(ledger.times) == market.num_bars - first
        bars = ledger.fills["bar"].to_numpy()
        assert bars.min() == 1 and len(np.unique(bars)) > 3
        assert (bars % 4 == 1).all(), "rows of a ledger are counted from its start"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (5, 6, "holds one bar; a backtest needs at least two"),
        ("2019-01-04", "2019-01-04", "holds one bar"),
        ("2019-02-01", "2019-01-20", "holds no bar"),
        ("2030-01-01", None, "holds no bar; the data covers 2019-01-02"),
        ("soon", None, "start='soon' is not a date"),
    ],
)
def test_spans_too_short_are_refused(agent, market, start, end, said):
    for play in (lambda: backtest(agent, market, start, end), lambda: baselines(market, COSTLY, start, end)):
        with pytest.raises(ValueError) as error:
            play()
        assert said in str(error.value)


@pytest.mark.thorough
def test_markets_that_do_not_fit_the_agent_are_refused(agent, market):
    other = build_market(make_panel(), list(market.feature_names[:-3]))
    with pytest.raises(ValueError, match="other features than the agent was trained with; they differ in"):
        backtest(agent, other)
    flat = make_agent(market, COSTLY, torso="flat")
    two = build_market(make_panel(num_assets=2), "minimal")
    with pytest.raises(ValueError, match="trained on 3, the market has 2. Select the tickers agent.symbols"):
        backtest(flat, two)
    assert backtest(agent, two).symbols == ("A", "B"), "a shared network is bound to no number of assets"
