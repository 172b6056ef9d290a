"""Backtests against what can be worked out by hand, and against the environment stepped by hand."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments, fit_features
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import MONTH, ORACLE, RULES, buy_and_hold, cash, equal_weight
from ploutos_jax.evaluate.backtest.run import backtest, baselines, baselines_by_rule, hold, random_actions
from ploutos_jax.evaluate.ledger import FILL_COLUMNS
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel
from ploutos_jax.policy.actor_critic import PolicyConfig

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


PRICED = dataclasses.replace(
    COSTLY,
    spread_bps=20,
    tick_size=0.05,
    slippage_atr=0.03,
    impact=0.8,
    fees="alpaca@2024-05-22",
    commission_per_order=0.3,
    commission_min=1.0,
    cash_rate=0.02,
)


@pytest.fixture(scope="module", params=["fill", "day"])
def priced(request, eventful):
    config = dataclasses.replace(PRICED, fee_rounding=request.param)
    return request.param, backtest(make_agent(eventful, config), eventful, seed=1)


def test_costs_by_kind_are_what_the_rules_say(eventful, priced):
    """Each part of every fill from the numbers of the configuration, in float64."""
    rounding, ledger = priced
    fills = ledger.fills[ledger.fills["reason"] != "delisted"]
    row, asset = fills["bar"].to_numpy(), fills["ticker"].map(eventful.symbols.index).to_numpy()
    reference, shares, price = (fills[n].to_numpy() for n in ("reference_price", "shares", "price"))
    at_limit = (fills["reason"] == "target").to_numpy()
    atr, volatility, adv = (np.asarray(getattr(eventful, n), np.float64) for n in ("atr", "volatility", "adv"))
    seen = (row - 1, asset)  # known at the close before
    fraction = {
        "spread": np.maximum(10e-4, np.where(reference >= 1, 0.05, 0.0005) / (2 * reference)),
        "slippage": 3e-4 + 0.03 * atr[seen],
        "impact": 0.8
        * volatility[seen]
        * np.where(
            (part := np.where(adv[seen] > 0, shares * reference / adv[seen], 0)) >= 1e-3,
            np.sqrt(part),
            part / np.sqrt(1e-3),
        ),
    }
    for name, away in fraction.items():
        expected = np.where(at_limit, 0.0, away * reference * shares)
        np.testing.assert_allclose(fills[name], expected, rtol=2e-3, atol=1e-3, err_msg=name)
    assert at_limit.any() and (fills.loc[at_limit, ["spread", "slippage", "impact"]] == 0).all(axis=None)
    sold = (fills["side"] == "sell").to_numpy()
    commission = np.maximum(2e-4 * shares * price + 0.005 * shares + 0.3, 1.0)
    fees = {"fee_sec": 27.80e-6 * shares * price * sold, "fee_taf": np.minimum(0.000166 * shares, 8.30) * sold}
    for name, charged in {"commission": commission, **fees}.items():
        if rounding == "fill" and name != "commission":
            charged = np.ceil(charged * 100 - 1e-6) / 100
        np.testing.assert_allclose(fills[name], charged, rtol=1e-4, atol=1e-4, err_msg=name)
    assert (ledger.fee_rounding.sum() > 0) == (rounding == "day")
    assert ledger.interest.sum() > 0


def test_costs_by_kind_add_up_to_what_was_paid(priced):
    _, ledger = priced
    kinds, fills = ledger.costs_by_kind, ledger.fills
    away = (fills["price"] - fills["reference_price"]).abs() * fills["shares"]
    np.testing.assert_allclose(fills[["spread", "slippage", "impact"]].sum(axis=1), away, rtol=1e-12, atol=1e-12)
    charged = fills[["commission", "fee_sec", "fee_taf", "fee_cat"]].sum(axis=1)
    np.testing.assert_allclose(charged, fills["fee"], rtol=1e-12, atol=1e-12)
    assert sum(kinds.values()) == pytest.approx(ledger.cost.sum(), rel=1e-4)
    figures = summarize(ledger)
    assert {f"cost_{kind}" for kind in kinds} <= set(figures)
    assert sum(figures[f"cost_{kind}"] for kind in kinds) == pytest.approx(figures["total_cost"], rel=1e-4)


def test_a_ledger_that_knows_no_parts_tells_prices_from_fees(market):
    ledger = baselines_by_rule(market, COSTLY, {"x": equal_weight})["x"]
    plain = dataclasses.replace(ledger, fills=ledger.fills[list(FILL_COLUMNS)], fee_rounding=None)
    assert set(plain.costs_by_kind) == {"price", "fee"}
    assert sum(plain.costs_by_kind.values()) == pytest.approx(sum(ledger.costs_by_kind.values()), rel=1e-9)


def test_gross_returns_are_those_of_the_same_trades_at_no_cost(market):
    ledger = baselines_by_rule(market, COSTLY, {"equal weight": equal_weight})["equal weight"]
    gross = np.prod(1 + ledger.gross_returns) - 1
    assert gross == pytest.approx(summarize(ledger)["gross_return"], rel=1e-12)
    free = baselines_by_rule(market, FREE, {"equal weight": equal_weight})["equal weight"]
    assert gross == pytest.approx(free.equity[-1] / free.equity[0] - 1, abs=1e-3)


def test_profits_of_trades_add_up(market):
    """Without dividends and splits, what the trades earned is what the account gained."""
    for ledger in baselines(market, COSTLY).values():
        assert ledger.trades["pnl"].sum() == pytest.approx(ledger.equity[-1] - ledger.initial_cash, abs=1.0)
        assert ledger.trades["cost"].sum() == pytest.approx(ledger.cost.sum(), rel=1e-3, abs=0.1)


def regrouped(agent, market):
    """Return the agent as one that was trained with every asset in a sector that the market does not give it."""
    own = 0 if market.sector is None else (np.asarray(market.sector) + 1) % 11
    return dataclasses.replace(agent, sectors=tuple(np.broadcast_to(own, market.num_assets).tolist()))


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
