"""Markets, agents and a book kept by hand, for the tests of backtests."""

import jax
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments, fit_features
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
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


def make_market():
    return build_market(make_panel(), "minimal")


def make_eventful_market():
    return build_market(make_eventful_panel(), "minimal")


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
