"""The ridge rule: its labels, fit and trading against loops, what it sees, and what it earns on planted markets."""

import dataclasses
import itertools
import time

import jax
import numpy as np
import pytest

from ploutos_jax.evaluate.backtest.baselines import RULES, equal_weight
from ploutos_jax.evaluate.backtest.history import PART_HELD
from ploutos_jax.evaluate.backtest.ridge import PART_KEPT, fit_before, hold_best, ridge
from ploutos_jax.evaluate.backtest.run import baselines_by_rule
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.ridge_fit import PENALTIES, fit_ridge, forward_scores
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted import planted_panel
from tests.evaluate.backtest.test_baselines import ASSETS, BARS, FREE, ragged_panel

FIRST = 330


@pytest.fixture(scope="module")
def ragged():
    """Missing bars, a late listing, an end, splits, dividends, a universe."""
    inside = np.ones((BARS, ASSETS), bool)
    inside[200:, 0], inside[:120, 3] = False, False
    return build_market(ragged_panel().replace(buyable=inside), "minimal")


def labels_by_loop(market, stop):
    """Follow one share from the open of t + 1 through splits and dividends, bar by bar, as a holder would."""
    opens, close, split, dividend = (
        np.asarray(getattr(market, name), np.float64) for name in ("open", "close", "split", "dividend")
    )
    tradable, buyable, ends = (np.asarray(getattr(market, name)) for name in ("tradable", "buyable", "path_end"))
    labels = np.full(close.shape, np.nan)
    for t in range(stop - 22 + 1):
        if ends[t] < t + 22:
            continue
        assets = [a for a in range(close.shape[1]) if tradable[t, a] and buyable[t, a] and tradable[t + 1, a]]
        total = np.zeros(len(assets))
        for k in (1, 5, 21):
            gains = []
            for a in assets:
                shares = 1 / opens[t + 1, a]
                for s in range(t + 2, t + 2 + k):
                    shares *= split[s, a]
                    shares *= 1 + dividend[s, a] / close[s, a]
                gains.append(shares * close[t + 1 + k, a] - 1)
            total += np.clip((np.array(gains) - np.mean(gains)) / np.std(gains), -3, 3)
        labels[t, assets] = total / 3
    return labels


def rows_of(market, labels, rows):
    table = np.asarray(market.features, np.float64)
    keep = [(t, a) for t in rows for a in range(labels.shape[1]) if np.isfinite(labels[t, a])]
    return np.array([table[t, a] for t, a in keep]), np.array([labels[t, a] for t, a in keep])


def least_squares(z, y, penalty):
    """Penalties as further rows of an ordinary regression."""
    size = z.shape[1]
    more = np.sqrt(len(y) * penalty) * np.eye(size)
    return np.linalg.lstsq(np.concatenate([z, more]), np.concatenate([y, np.zeros(size)]), rcond=None)[0]


def test_labels_are_those_of_a_holder(ragged):
    np.testing.assert_allclose(
        forward_scores(ragged.window(None, FIRST + 1))[:FIRST], labels_by_loop(ragged, FIRST)[:FIRST], atol=1e-9
    )
    assert np.isnan(forward_scores(ragged)[-22:]).all() and np.isfinite(forward_scores(ragged)[-23]).any()


def test_labels_end_inside_their_path(ragged):
    half = BARS // 2
    ends = np.where(np.arange(BARS) < half, half - 1, BARS - 1).astype(np.int32)
    labels = forward_scores(ragged.replace(path_end=ends))
    assert np.isnan(labels[half - 22 : half]).all() and np.isfinite(labels[half - 23]).any()
    np.testing.assert_allclose(labels, labels_by_loop(ragged.replace(path_end=ends), BARS - 1), atol=1e-9)


def test_coefficients_and_penalty_are_those_of_a_loop(ragged):
    labels = labels_by_loop(ragged, FIRST)
    x, y = rows_of(ragged, labels, range(FIRST))
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread < 1e-9] = 1.0

    def standard(x):
        return np.clip((x - centre) / spread, -5, 5)

    labelled = [t for t in range(FIRST) if np.isfinite(labels[t]).any()]
    begins = [labelled[i * len(labelled) // 5] for i in range(5)] + [labelled[-1] + 1]
    errors = np.zeros(len(PENALTIES))
    for begin, end in itertools.pairwise(begins):
        told = rows_of(ragged, labels, range(begin, end))
        tell = rows_of(ragged, labels, [t for t in labelled if t < begin - 22 or t >= end + 22])
        for i, penalty in enumerate(PENALTIES):
            w = least_squares(standard(tell[0]), tell[1], penalty)
            errors[i] += ((told[1] - standard(told[0]) @ w) ** 2).sum()
    fit = fit_before(ragged, FIRST)
    assert fit.penalty == PENALTIES[int(np.argmin(errors))]
    np.testing.assert_allclose(fit.coefficients, least_squares(standard(x), y, fit.penalty), atol=1e-9)
    np.testing.assert_allclose(
        fit.predict(ragged.features[FIRST:]), standard(np.asarray(ragged.features[FIRST:])) @ fit.coefficients
    )


def trade_by_loop(market, first, score, kept):
    """The band in lists: what is held, and who stands where."""
    tradable, buyable, sessions = (np.asarray(getattr(market, n)) for n in ("tradable", "buyable", "sessions"))
    held, last, rows = [], {}, []
    for t in range(first, market.num_bars):
        here = [a for a in range(market.num_assets) if tradable[t, a]]
        last.update({a: score[t - first, a] for a in here})
        if market.delisted is not None:
            held = [a for a in held if not market.delisted[t, a]]
        week = (sessions >= sessions[t] - 7) & (np.arange(len(sessions)) <= t)
        ended = np.zeros(market.num_assets, bool) if market.delisted is None else np.asarray(market.delisted)[: t + 1]
        live = [a for a in range(market.num_assets) if tradable[week, a].any() and not ended[..., a].any()]
        order = sorted((a for a in live if buyable[t, a] and a in last), key=lambda a: (-last[a], a))
        number, most = -(-len(order) // 3), int(np.ceil(len(order) * kept))
        row = np.full(market.num_assets, np.nan)
        for a in [a for a in held if a in here and a not in order[: max(most, number)]]:
            row[a] = 0.0
            held.remove(a)
        for a in [a for a in order[:number] if a in here and a not in held]:
            if sum(b in live for b in held) < number:
                row[a] = 1 / number
                held.append(a)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("kept", [PART_KEPT, PART_HELD])
def test_the_band_trades_as_a_loop_does(ragged, kept):
    walk = np.random.default_rng(0).normal(size=(BARS - 190, ASSETS)).cumsum(axis=0)
    score = walk[10:] - walk[:-10]
    targets, expected = hold_best(ragged, 200, score, kept), trade_by_loop(ragged, 200, score, kept)
    expected[0, np.isnan(expected[0]) & np.asarray(ragged.tradable[200])] = 0.0
    np.testing.assert_array_equal(targets, expected)
    assert (np.nan_to_num(targets) > 0).sum() > 20


def test_ridge_sees_no_later_bar():
    panel, other, cut = ragged_panel(), ragged_panel(seed=1), 360
    names = ("open", "high", "low", "close", "volume", "tradable", "dividend", "split")
    later = {n: np.where(np.arange(BARS)[:, None] > cut, getattr(other, n), getattr(panel, n)) for n in names}
    whole, changed = (build_market(p, "minimal") for p in (panel, panel.replace(**later)))
    for first in (260, FIRST, cut):
        before = ridge(whole, first)[: cut + 1 - first]
        np.testing.assert_array_equal(before, ridge(changed, first)[: cut + 1 - first])
        assert np.nan_to_num(before).any()
    # What ends after the first decision is no label of its fit.
    fits = [fit_ridge(market, FIRST) for market in (whole, whole.window(None, FIRST + 1))]
    np.testing.assert_array_equal(fits[0].coefficients, fits[1].coefficients)


@pytest.mark.thorough
def test_ridge_holds_cash_without_history_features_or_others(ragged):
    assert not ridge(ragged, 251).any() and np.nan_to_num(ridge(ragged, 252)).any()
    plain = build_market(ragged_panel(), ())
    assert not ridge(plain, FIRST).any()
    with pytest.warns(UserWarning, match="ridge: the market has no features"):
        baselines_by_rule(plain, FREE, {"ridge": ridge}, FIRST)
    with pytest.warns(UserWarning, match="ridge: the market was cut from a longer one"):
        baselines_by_rule(ragged.window(60), FREE, {"ridge": ridge}, 100)
    alone = build_market(ragged_panel().select(["A"]), "minimal")
    # A lone asset is compared with its own past.
    assert np.isfinite(ridge(alone, FIRST)).any()


def test_ridge_decides_once_a_session_of_intraday_bars(ragged):
    """Four bars a session: horizons are sessions, targets stand in first bars of sessions alone."""
    sessions = np.arange(BARS) // 4 + 18_000
    labels = dataclasses.replace(ragged.labels, calendar=Calendar(50.0, 4.0, 50.0))
    market = ragged.replace(sessions=sessions.astype(np.int32), labels=labels)
    assert not ridge(market, 199).any()
    targets = ridge(market, 202)
    decided = ~np.isnan(targets[1:]).all(axis=1)
    assert decided.any() and not decided[np.diff(sessions[202:]) == 0].any()
    expected = fit_ridge(market, 202, (4, 20, 84))
    np.testing.assert_array_equal(fit_before(market, 202).coefficients, expected.coefficients)


@pytest.mark.thorough
@pytest.mark.parametrize("strength", [0.3, 0.0])
def test_ridge_finds_a_hint_and_nothing_in_noise(strength):
    market = build_market(planted_panel(jax.random.key(1), 12, 1500, strength), "minimal")
    rules = {"ridge": ridge, "equal": equal_weight, "churn": churn}
    ledgers = baselines_by_rule(market, FREE, rules, 1000)
    edge = ledgers["ridge"].returns - ledgers["equal"].returns
    error = edge.std() / np.sqrt(len(edge))
    if strength:
        assert edge.mean() > 5 * error
        fit = fit_before(market, 1000)
        assert np.argmax(np.abs(fit.coefficients)) == market.feature_names.index("signal_hint")
    else:
        assert abs(edge.mean()) < 3 * error
    assert ledgers["ridge"].turnover.sum() < 0.75 * ledgers["churn"].turnover.sum()


def churn(market, first):
    """`ridge` without its band."""
    return hold_best(market, first, fit_before(market, first).predict(market.features[first:]), PART_HELD)


@pytest.mark.thorough
def test_ridge_is_fitted_in_seconds():
    """A hundred assets of 60 features over two years."""
    rng = np.random.default_rng(0)
    market = build_market(planted_panel(jax.random.key(0), 100, 600), ())
    market = market.replace(
        features=rng.normal(size=(600, 100, 60)).astype(np.float32), feature_names=tuple(f"f{i}" for i in range(60))
    )
    begin = time.perf_counter()
    fit_before(market, 500)
    assert time.perf_counter() - begin < 20  # on a machine where others work; alone it is a tenth of a second


@pytest.mark.thorough
def test_ridge_is_in_every_report():
    assert list(RULES)[-2:] == ["inverse volatility", "ridge"]
