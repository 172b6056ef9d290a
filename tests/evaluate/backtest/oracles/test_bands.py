"""Bands: the published optimum, what is known in closed form, and a simulation of the rule."""

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from scipy.stats import norm

from ploutos_jax.evaluate.backtest.oracles.bands import MOST_PERSISTENCE, best_bands, follow, optimum

# Strength, persistence, basis points a side: optimum in % a year, buy above, sell below, trades a year, sign rule.
# From an independent value iteration over position and hint, thresholds on a grid of 0.025.
TABLE = [
    (0.10, 0.90, 0.0, 10.05, 0.00, 0.00, 36.0, 10.06),
    (0.10, 0.90, 2.5, 9.35, 0.20, -0.18, 22.5, 9.15),
    (0.10, 0.90, 10.0, 8.07, 0.45, -0.43, 13.8, 6.42),
    (0.10, 0.90, 20.0, 6.89, 0.65, -0.63, 10.0, 2.78),
    (0.05, 0.98, 10.0, 4.45, 0.40, -0.38, 3.9, 3.42),
    (0.03, 0.90, 10.0, 1.71, 0.83, -0.80, 7.8, -0.62),
    (0.10, 0.00, 10.0, 2.10, 1.03, -0.98, 40.0, -2.56),
]


@pytest.mark.parametrize(("strength", "persistence", "bps", "gain", "buy", "sell", "trades", "sign"), TABLE)
def test_the_optimum_is_that_of_the_table(strength, persistence, bps, gain, buy, sell, trades, sign):
    best = optimum(strength, persistence, bps * 1e-4)
    assert 100 * best.gain == pytest.approx(gain, rel=0.01, abs=0.01)
    # On its grid the table buys at the first point above the threshold and sells at the first below.
    assert best.buy == pytest.approx(buy, abs=0.031) and best.sell == pytest.approx(sell, abs=0.031)
    assert best.trades == pytest.approx(trades, rel=0.025)
    rule = follow(persistence, np.zeros(1), np.zeros(1))
    by_sign = 252 * (strength * 0.01 * rule.gross[0] - bps * 1e-4 * rule.trades[0])
    assert 100 * by_sign == pytest.approx(sign, abs=0.03)
    assert best.held == pytest.approx(0.5, abs=1e-6) and best.buy == pytest.approx(-best.sell, abs=1e-6)


@pytest.mark.parametrize("cost", [0.2, 1.0, 2.5])
def test_hints_that_do_not_last_are_bought_above_the_cost(cost):
    """Without persistence W(h) = h: buy above k, sell below −k. The gain is that of a chain of two states."""
    bands = best_bands(0.0, np.array([cost]))
    assert bands.buy[0] == pytest.approx(cost, abs=1e-6) and bands.sell[0] == pytest.approx(-cost, abs=1e-6)
    chance = norm.sf(cost)
    # Held half of the time before a decision: bought in a share p of the other half.
    assert bands.trades[0] == pytest.approx(chance, rel=3e-3)
    kept = scipy.integrate.quad(lambda h: h * norm.pdf(h), cost, 10)[0]  # the band itself has mean 0
    assert bands.gross[0] == pytest.approx(kept, rel=3e-3)


def test_without_costs_the_sign_decides_and_a_price_moves_it():
    bands = best_bands(0.9, np.zeros(2), np.array([0.0, 0.7]))
    np.testing.assert_allclose(bands.buy, [0, 0.7], atol=1e-6)
    np.testing.assert_allclose(bands.gross, [norm.pdf(0), norm.pdf(0.7)], rtol=1e-3)
    np.testing.assert_allclose(bands.held, norm.sf([0, 0.7]), rtol=2e-3)


def test_the_rule_brings_in_a_simulation_what_it_is_said_to_bring():
    rng, persistence, runs = np.random.default_rng(0), 0.9, 4000
    bands = best_bands(persistence, np.array([1.0]), np.array([0.2]))
    hint, held, rows = rng.normal(size=runs), np.zeros(runs, bool), []
    for _ in range(600):
        now = (hint > bands.buy[0]) | (held & (hint >= bands.sell[0]))
        rows.append((now.mean(), (now != held).mean(), (now * hint).mean()))
        held, hint = now, persistence * hint + np.sqrt(1 - persistence**2) * rng.normal(size=runs)
    share, trades, gross = np.mean(rows[100:], axis=0)
    assert share == pytest.approx(bands.held[0], abs=0.004)
    assert trades == pytest.approx(bands.trades[0], rel=0.02) and gross == pytest.approx(bands.gross[0], rel=0.015)


@pytest.mark.parametrize("price", [0.0, 0.4])
def test_no_other_thresholds_bring_more(price):
    cost = 1.0
    bands = best_bands(0.95, np.array([cost]), price)

    def net(thresholds):
        middle, half = thresholds
        rule = follow(0.95, np.array([middle + abs(half)]), np.array([middle - abs(half)]))
        return float(rule.gross[0] - price * rule.held[0] - cost * rule.trades[0])

    own = net(((bands.buy[0] + bands.sell[0]) / 2, (bands.buy[0] - bands.sell[0]) / 2))
    other = scipy.optimize.minimize(lambda x: -net(x), [0.1, 0.5], method="Nelder-Mead", options={"maxfev": 60})
    assert own >= -other.fun - 2e-4 * own
    assert own == pytest.approx(bands.gross[0] - price * bands.held[0] - cost * bands.trades[0], rel=1e-6)


def test_many_problems_at_once_are_each_its_own():
    costs, prices = np.array([0.1, 0.5, 3.0]), np.array([0.0, 0.3, 0.6])
    together = best_bands(0.97, costs, prices)
    for i in range(3):
        alone = best_bands(0.97, costs[i : i + 1], prices[i : i + 1])
        for name in ("buy", "sell", "held", "trades", "gross"):
            np.testing.assert_allclose(getattr(together, name)[i], getattr(alone, name)[0], atol=1e-5)
    assert (np.diff(together.buy - together.sell) > 0).all(), "dearer trades, wider bands"
    warm = best_bands(0.97, costs, prices + 0.01, start=together.worth)
    np.testing.assert_allclose(warm.buy, best_bands(0.97, costs, prices + 0.01).buy, atol=1e-5)


def test_what_never_pays_is_never_done():
    bands = best_bands(0.5, np.array([1e3]))
    assert bands.buy[0] == np.inf and bands.sell[0] == -np.inf and bands.trades[0] == 0 and bands.held[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1.0, np.ones(1)), "persistence=1.0 must lie in"),
        ((-0.1, np.ones(1)), "persistence=-0.1 must lie in"),
        ((0.9, -np.ones(1)), "not negative"),
        ((0.9, np.array([np.nan])), "finite"),
        ((0.9, np.ones(1), np.inf), "finite"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        best_bands(*arguments)
    with pytest.raises(ValueError, match="nothing is promised"):
        optimum(0.0, 0.9, 0.001)
    assert best_bands(MOST_PERSISTENCE, np.array([1.0]), tolerance=1e-3).buy[0] > 0
