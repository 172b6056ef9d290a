"""Backtests against what can be worked out by hand, and against the environment stepped by hand."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest import backtest, baselines, baselines_by_rule, hold, random_actions
from ploutos_jax.evaluate.baselines import REBALANCE_BARS, RULES, buy_and_hold, cash, equal_weight
from ploutos_jax.market.features import build_market
from ploutos_jax.market.panel import Labels, Panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.agent import Agent, AgentParams, Network
from ploutos_jax.train.normalize import ObservationScaling, RunningMoments, fit_features

NUM_BARS, NUM_ASSETS = 90, 3
FREE = EnvConfig(spread_bps=0, tick_size=None, slippage_bps=0, fees="none", min_order_cash=0)
COSTLY = EnvConfig(
    spread_bps=10, tick_size=None, slippage_bps=3, fees="none", commission_bps=2, commission_per_share=0.005
)


def make_panel(seed=0, num_bars=NUM_BARS, num_assets=NUM_ASSETS, **fields):
    rng = np.random.default_rng(seed)
    shape = num_bars, num_assets
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opens = close * np.exp(rng.normal(0, 0.01, shape))
    days = np.busday_offset("2019-01-02", np.arange(num_bars), roll="forward")
    labels = Labels(tuple("ABCDEFG"[:num_assets]), ("Unknown",) * num_assets, days.astype("datetime64[ns]"))
    return Panel(
        open=opens,
        high=np.maximum(opens, close) * 1.01,
        low=np.minimum(opens, close) * 0.99,
        close=close,
        volume=np.full(shape, 1e6),
        tradable=np.ones(shape, bool),
        sessions=days.astype(np.int32),
        labels=labels,
        **fields,
    )


def make_eventful_panel():
    """Splits, dividends, missing bars, and an asset that ends."""
    panel = make_panel(seed=3)
    rng = np.random.default_rng(4)
    shape = panel.close.shape
    split = np.where(rng.random(shape) < 0.03, rng.choice([0.5, 2.0, 3.0], shape), 1.0)
    split[0] = 1.0
    missing = rng.random(shape) < 0.04
    missing[:5], missing[60:, 2] = False, True
    shares = np.cumprod(split, axis=0)
    prices = {n: np.where(missing, np.nan, getattr(panel, n) / shares) for n in ("open", "high", "low", "close")}
    dividend = np.where(rng.random(shape) < 0.05, rng.uniform(0, 0.02, shape) * np.nan_to_num(prices["close"]), 0.0)
    volume = np.where(missing, 0.0, panel.volume)
    return panel.replace(**prices, volume=volume, tradable=~missing, split=split, dividend=dividend)


@pytest.fixture(scope="module")
def market():
    return build_market(make_panel(), "minimal")


@pytest.fixture(scope="module")
def eventful():
    return build_market(make_eventful_panel(), "minimal")


def make_agent(market, config, torso="shared"):
    """Return an agent that has learnt nothing; its weights are large, so that it reacts to all it sees."""
    policy = PolicyConfig(torso=torso, hidden=(8, 8), width=8)
    network = Network.create(policy, config.action, market.num_assets, 2**20)
    weights = network.init(jax.random.key(3), market.num_features)
    scaling = ObservationScaling(
        features=fit_features(market.features, market.tradable),
        assets=RunningMoments.create(len(ASSET_FIELDS)),
        account=RunningMoments.create(len(ACCOUNT_FIELDS)),
    )
    return Agent(
        params=AgentParams(network=jax.tree.map(lambda x: 4 * x, weights), scaling=scaling),
        network=network,
        env_config=config,
        feature_names=market.feature_names,
        symbols=market.symbols,
        sectors=(-1,) * market.num_assets,
        trained_from="",
        trained_to="",
        step=0,
    )


@pytest.fixture(scope="module")
def agent(market):
    return make_agent(market, COSTLY)


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


def test_buy_and_hold_is_the_mean_of_its_assets(market):
    ledger = baselines_by_rule(market, FREE, {"buy and hold": buy_and_hold})["buy and hold"]
    growth = np.asarray(market.close[-1], np.float64) / np.asarray(market.open[1], np.float64)
    assert ledger.equity[-1] / ledger.equity[0] == pytest.approx(growth.mean(), rel=1e-5)
    assert list(ledger.fills["bar"]) == [1] * NUM_ASSETS
    assert ledger.turnover[1] == pytest.approx(1, rel=1e-5) and ledger.turnover[2:].sum() == 0


def test_equal_weight_agrees_with_a_loop(market):
    opens, close = np.asarray(market.open, np.float64), np.asarray(market.close, np.float64)
    money, shares, equity = 100_000.0, np.zeros(NUM_ASSETS), [100_000.0]
    for t in range(1, NUM_BARS):
        if (t - 1) % REBALANCE_BARS == 0:
            change = equity[-1] / NUM_ASSETS - shares * opens[t]
            money += np.maximum(-change, 0).sum()
            wanted = np.maximum(change, 0)
            bought = wanted * min(1, money / wanted.sum())
            money -= bought.sum()
            shares = shares + (bought - np.maximum(-change, 0)) / opens[t]
        equity.append(money + shares @ close[t])
    ledger = baselines_by_rule(market, FREE, {"equal weight": equal_weight})["equal weight"]
    np.testing.assert_allclose(ledger.equity, equity, rtol=1e-5)
    assert set(ledger.fills["bar"]) == set(range(1, NUM_BARS, REBALANCE_BARS))


def test_rules_leave_alone_what_does_not_trade(eventful):
    tradable = np.asarray(eventful.tradable)
    targets = equal_weight(eventful)
    rows = np.arange(0, NUM_BARS, REBALANCE_BARS)
    assert np.isnan(np.delete(targets, rows, axis=0)).all()
    np.testing.assert_array_equal(np.isnan(targets[rows]), ~tradable[rows])
    np.testing.assert_allclose(np.nansum(targets[rows], axis=1), 1)
    assert (cash(eventful) == 0).all() and cash(eventful).shape == (NUM_BARS, NUM_ASSETS)
    first = buy_and_hold(eventful)
    assert np.isnan(first[1:]).all() and first[0].sum() == pytest.approx(1)


def account_by_hand(ledger, market):
    """Return cash and equity by bar from the fills alone, `[N+1]` each."""
    close = np.asarray(market.close, np.float64)
    split, dividend = np.asarray(market.split, np.float64), np.asarray(market.dividend, np.float64)
    money, shares = ledger.initial_cash, np.zeros(market.num_assets)
    cash_by_bar, equity_by_bar = [money], [money]
    fills = {bar: rows for bar, rows in ledger.fills.groupby("bar")}
    for t in range(1, market.num_bars):
        shares = shares * split[t]
        money += shares @ dividend[t]
        for fill in fills[t].itertuples() if t in fills else ():
            sign = 1 if fill.side == "buy" else -1
            money -= sign * fill.shares * fill.price + fill.fee
            shares[market.symbols.index(fill.ticker)] += sign * fill.shares
        cash_by_bar.append(money)
        equity_by_bar.append(money + shares @ close[t])
    return np.array(cash_by_bar), np.array(equity_by_bar)


def test_fills_add_up_to_cash_and_equity(eventful):
    ledgers = baselines(eventful, COSTLY) | {"agent": backtest(make_agent(eventful, COSTLY), eventful, seed=1)}
    reasons = set()
    for name, ledger in ledgers.items():
        money, equity = account_by_hand(ledger, eventful)
        np.testing.assert_allclose(ledger.equity, equity, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(ledger.cash, money, rtol=1e-5, atol=1e-5 * ledger.initial_cash, err_msg=name)
        fills = ledger.fills
        paid = fills["fee"] + (fills["price"] - fills["reference_price"]).abs() * fills["shares"]
        by_bar = np.bincount(fills["bar"], paid, minlength=NUM_BARS)
        np.testing.assert_allclose(ledger.cost, by_bar, rtol=1e-4, atol=1e-2, err_msg=name)
        traded = np.bincount(fills["bar"], fills["price"] * fills["shares"], minlength=NUM_BARS)
        np.testing.assert_allclose(ledger.turnover[1:], traded[1:] / ledger.equity[:-1], rtol=1e-4, atol=1e-7)
        assert (ledger.cash >= 0).all() and (ledger.equity > 0).all()
        closed = ledger.trades["exit_reason"] != "open"
        assert set(ledger.trades.loc[closed, "exit_reason"]) <= {"order", "stop", "target", "delisted"}
        reasons |= set(fills["reason"])
    assert reasons == {"order", "stop", "target", "delisted"}


def test_profits_of_trades_add_up(market):
    """Without dividends and splits, what the trades earned is what the account gained."""
    for ledger in baselines(market, COSTLY).values():
        assert ledger.trades["pnl"].sum() == pytest.approx(ledger.equity[-1] - ledger.initial_cash, abs=1.0)
        assert ledger.trades["cost"].sum() == pytest.approx(ledger.cost.sum(), rel=1e-3, abs=0.1)


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
        assert costly[name].cost.sum() > 0
    for name in RULES:
        assert costly[name].equity[-1] < free[name].equity[-1]


def test_rules_know_no_stops_and_limits(market):
    """They stand beside an agent with tight limits at its costs, but hold what they hold."""
    strict = dataclasses.replace(COSTLY, stop_loss=0.005, take_profit=0.005, max_position_pct=0.1)
    for name, ledger in baselines_by_rule(market, strict, RULES).items():
        assert set(ledger.fills["reason"]) == {"order"}, name
        assert ledger.gross_exposure[1] > 0.95 * ledger.equity[1]


def test_names_and_keys(agent, market):
    assert list(baselines(market, COSTLY)) == ["buy and hold", "equal weight", "random"]
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


def test_weights_are_played_too(market):
    config = dataclasses.replace(COSTLY, action="weights", stop_loss=None, take_profit=None)
    ledger = backtest(make_agent(market, config), market)
    assert (ledger.cash >= 0).all()
    assert (ledger.gross_exposure[1:] > 0).all()
    assert random_actions(market, config).fills["bar"].iloc[0] == 1


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


def test_markets_that_do_not_fit_the_agent_are_refused(agent, market):
    other = build_market(make_panel(), list(market.feature_names[:-3]))
    with pytest.raises(ValueError, match="other features than the agent was trained with; they differ in"):
        backtest(agent, other)
    flat = make_agent(market, COSTLY, torso="flat")
    two = build_market(make_panel(num_assets=2), "minimal")
    with pytest.raises(ValueError, match="trained on 3, the market has 2. Select the tickers agent.symbols"):
        backtest(flat, two)
    assert backtest(agent, two).symbols == ("A", "B"), "a shared network is bound to no number of assets"
