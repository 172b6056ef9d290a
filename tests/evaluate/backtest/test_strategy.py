"""A function of one's own: what it sees, what it may answer, and that the account is the broker's own."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.baselines import buy_and_hold, equal_weight
from ploutos_jax.evaluate.backtest.run import baselines_by_rule
from ploutos_jax.evaluate.backtest.seen import History
from ploutos_jax.evaluate.backtest.strategy import run_strategy
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import (
    COSTLY,
    FREE,
    NUM_ASSETS,
    NUM_BARS,
    account_by_hand,
    make_eventful_panel,
    make_panel,
)

PRICES = ("open", "high", "low", "close")
WEIGHTS = COSTLY.without_strategy_rules()


@pytest.fixture(scope="module")
def panel():
    return make_panel()


def assert_same_account(one, other):
    for field in ("equity", "cash", "cost", "turnover", "gross_exposure"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=1e-5, atol=1e-3, err_msg=field)
    same = ["bar", "ticker", "side", "reason"]
    pd.testing.assert_frame_equal(one.fills[same], other.fills[same])


@pytest.mark.parametrize("rule", [buy_and_hold, equal_weight])
@pytest.mark.parametrize("start", [0, 20])
def test_a_table_of_targets_gives_the_account_of_the_compiled_rollout(market, rule, start):
    targets = rule(market, start)
    ledger = run_strategy(lambda bars: targets[bars.num_bars - 1 - start], market, start, config=WEIGHTS)
    assert_same_account(ledger, baselines_by_rule(market, COSTLY, {"rule": rule}, start)["rule"])


def test_splits_and_dividends_are_booked(eventful):
    """Cash and equity are worked out by hand from the fills, the events and the closes."""
    third = np.full(NUM_ASSETS, 1 / 3)
    ledger = run_strategy(lambda bars: third if bars.num_bars % 10 == 1 else None, eventful, config=WEIGHTS)
    until = 55  # before an asset ends and is paid out without a fill of its own
    cash, equity = account_by_hand(ledger, eventful)
    np.testing.assert_allclose(ledger.cash[:until], cash[:until], rtol=1e-5, atol=0.5)
    np.testing.assert_allclose(ledger.equity[:until], equity[:until], rtol=1e-5)
    assert len(ledger.fills) > 10


def test_one_purchase_by_hand():
    """All cash into one asset at the second open; its worth at the last close."""
    panel = make_panel(num_assets=1)
    ledger = run_strategy(
        lambda bars: 1.0 if bars.shares[0] == 0 else None, panel, config=FREE.without_strategy_rules()
    )
    growth = panel.close[-1, 0] / panel.open[1, 0]
    assert ledger.equity[-1] == pytest.approx(100_000 * growth, rel=1e-5)
    assert list(ledger.fills["bar"]) == [1] and ledger.name == "<lambda>"


def spread_of(bars):
    """A rule that reads everything it is given."""
    seen = (bars.open, bars.high, bars.low, bars.close, bars.adjusted, bars.volume)
    total = sum(np.nansum(np.nan_to_num(x[-5:]) * (1 + np.arange(bars.num_assets)), axis=0) for x in seen)
    total = total + bars.signals["mood"].sum(axis=0) + bars.features.sum(axis=(0, 2)) + bars.tradable.sum(axis=0)
    total = total + bars.shares + bars.cash + bars.equity + bars.entry_price + bars.weights
    parts = np.abs(np.sin(total))
    return parts / (parts.sum() + 1)


@pytest.mark.parametrize("last", [10, 40, 58])  # at 60 an asset ends, which is known from then on
def test_later_bars_change_no_earlier_decision(last):
    """All bars after one are drawn again: decisions, fills and the account up to it stay as they are, to the bit."""
    mood = {"mood": np.random.default_rng(1).normal(size=(NUM_BARS, NUM_ASSETS))}
    panel = make_eventful_panel().replace(signals=mood)
    other = make_panel(seed=9)
    changed = {n: np.where(np.arange(NUM_BARS)[:, None] > last, getattr(other, n), getattr(panel, n)) for n in PRICES}
    volume = np.where(np.arange(NUM_BARS)[:, None] > last, 77.0, panel.volume)
    later = np.arange(NUM_BARS)[:, None] > last
    drawn = panel.replace(
        **changed,
        volume=volume,
        tradable=np.where(later, True, panel.tradable),
        split=np.where(later, 2.0, panel.split),
        dividend=np.where(later, 0.5, panel.dividend),
        signals={"mood": np.where(later, 5.0, mood["mood"])},
    )
    decisions: list[list[np.ndarray]] = [[], []]
    ledgers = []
    for made, bars in zip(decisions, (panel, drawn), strict=True):

        def rule(bars, made=made):
            made.append(spread_of(bars))
            return made[-1]

        ledgers.append(run_strategy(rule, bars, config=WEIGHTS))
    np.testing.assert_array_equal(decisions[0][: last + 1], decisions[1][: last + 1])
    np.testing.assert_array_equal(ledgers[0].equity[: last + 1], ledgers[1].equity[: last + 1])
    fills = [ledger.fills[ledger.fills["bar"] <= last] for ledger in ledgers]
    pd.testing.assert_frame_equal(*fills)
    assert not np.array_equal(decisions[0][last + 1], decisions[1][last + 1])


def test_what_is_seen_ends_with_the_close_and_cannot_be_written(panel):
    lengths = []

    def rule(bars):
        lengths.append(bars.num_bars)
        assert bars.close.shape == bars.adjusted.shape == (bars.num_bars, NUM_ASSETS) == bars.volume.shape
        assert bars.date == panel.times[bars.num_bars - 1] == bars["A"].index[-1]
        np.testing.assert_array_equal(bars.close[-1], panel.close[bars.num_bars - 1])
        with pytest.raises(ValueError, match="read-only"):
            bars.close[0, 0] = 1.0
        own = bars["A"]
        own["close"] = 0.0
        assert bars["A"]["close"].iloc[-1] == bars.close[-1, 0]

    ledger = run_strategy(rule, panel, 30, 40)
    assert lengths == list(range(31, 40)) and ledger.times.size == 10
    assert ledger.equity.tolist() == [100_000.0] * 10


def test_the_account_seen_is_that_of_the_ledger(panel):
    seen = []

    def rule(bars):
        seen.append((bars.cash, bars.equity, bars.weights.sum()))
        return {"A": 0.5, "C": 0.2}

    ledger = run_strategy(rule, panel, config=WEIGHTS)
    cash, equity, held = np.array(seen).T
    np.testing.assert_allclose(cash, ledger.cash[:-1], rtol=1e-6)
    np.testing.assert_allclose(equity, ledger.equity[:-1], rtol=1e-6)
    np.testing.assert_allclose(held, (ledger.gross_exposure / ledger.equity)[:-1], rtol=1e-5)
    assert set(ledger.fills["ticker"]) == {"A", "C"}


def test_adjusted_closes_are_what_a_holder_earned():
    """Against a holder of one share that reinvests, bar by bar, in plain Python."""
    panel = make_eventful_panel()
    bars = History.of(panel).up_to(59, cash=0.0, equity=1.0, shares=np.zeros(3), entry_price=np.zeros(3))
    for a in range(NUM_ASSETS):
        own = np.flatnonzero(np.isfinite(panel.close[:60, a]))
        worth, shares, owed = [], 1.0, 0.0
        for t in range(60):
            shares *= panel.split[t, a]
            owed += shares * panel.dividend[t, a] if t > own[0] else 0.0
            if t in own:
                shares, owed = shares + owed / panel.close[t, a], 0.0
                worth.append(shares * panel.close[t, a])
        grown = np.array(worth) / worth[-1]
        np.testing.assert_allclose(bars.adjusted[own, a] / bars.adjusted[own[-1], a], grown, rtol=1e-9)


def test_a_market_shows_its_missing_bars_as_missing():
    panel = make_eventful_panel()
    market = build_market(panel, "minimal")
    seen = [
        History.of(bars).up_to(80, cash=0.0, equity=1.0, shares=np.zeros(3), entry_price=np.zeros(3))
        for bars in (panel, market)
    ]
    for name in (*PRICES, "adjusted", "volume", "tradable"):
        np.testing.assert_allclose(getattr(seen[1], name), getattr(seen[0], name), rtol=1e-6, err_msg=name)
    assert seen[1].features.shape == (81, NUM_ASSETS, market.num_features) and seen[0].features.shape[2] == 0


def test_rules_of_the_configuration_work(panel):
    config = dataclasses.replace(EnvConfig(), stop_loss=0.02, take_profit=0.04, buy_pct=0.2)
    ledger = run_strategy(lambda bars: np.ones(NUM_ASSETS, int), panel, config=config)
    assert {"order", "stop", "target"} <= set(ledger.fills["reason"])


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, bars):
        self.calls += 1


def test_a_strategy_may_remember(panel):
    counter = Counter()
    assert run_strategy(counter, panel).name == "Counter" and counter.calls == NUM_BARS - 1


REFUSED = {
    "a wrong number": (
        lambda b: np.zeros(2),
        "of 2019-01-02 has the shape .2,.; weights of 3 tickers have .3,. or .4,.",
    ),
    "a scalar for all": (lambda b: 0.3, r"has the shape \(\)"),
    "a short position": (lambda b: [0.5, -0.1, 0.0], "holds the weight -0.1; positions are not short"),
    "borrowed money": (lambda b: [0.5, 0.4, 0.2], "has weights that add up to 1.1; no money is lent"),
    "infinity": (lambda b: [np.inf, 0, 0], "holds the weight inf"),
    "an unknown ticker": (lambda b: {"a": 0.5}, "names the ticker 'a', which is unknown"),
    "a word": (lambda b: {"A": "all"}, "holds 'all', which is no number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_decision(panel, case):
    rule, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        run_strategy(rule, panel, config=WEIGHTS)


def test_other_forms_are_checked_too(panel):
    with pytest.raises(ValueError, match="holds 3; discrete actions are whole numbers from 0 to 2"):
        run_strategy(lambda b: [0, 1, 3], panel, config=COSTLY)
    bands = dataclasses.replace(WEIGHTS, action="bands")
    with pytest.raises(ValueError, match=r"bands of 3 tickers have \(3, 2\)"):
        run_strategy(lambda b: [0.1, 0.1, 0.1], panel, config=bands)
    ledger = run_strategy(lambda b: {"A": (0.2, 0.3)}, panel, config=bands)
    assert set(ledger.fills["ticker"]) == {"A"}


def test_an_error_of_the_strategy_says_when(panel):
    def rule(bars):
        return 1 / (bars.num_bars - 3)

    with pytest.raises(ZeroDivisionError) as caught:
        run_strategy(lambda bars: {"A": rule(bars) * 0}, panel, config=WEIGHTS)
    assert caught.value.__notes__ == ["raised by the strategy at the close of 2019-01-04"]


def test_spans_that_cannot_be_played(panel):
    with pytest.raises(ValueError, match="needs another bar to trade in"):
        run_strategy(spread_of, panel, 10, 11)
    ends = np.repeat([44, 89], 45)
    with pytest.raises(ValueError, match="holds 2 paths"):
        run_strategy(spread_of, build_market(panel, "minimal", path_end=ends))


def test_bars_show_a_card(panel):
    bars = History.of(panel).up_to(9, cash=1.0, equity=2.0, shares=np.array([0, 1.0, 0]), entry_price=np.zeros(3))
    assert repr(bars) == "Bars(3 tickers, 10 bars, up to 2019-01-15)" and "1: B" in str(bars)
    with pytest.raises(KeyError, match="'Z' is not among the 3: A, B, C"):
        bars["Z"]
