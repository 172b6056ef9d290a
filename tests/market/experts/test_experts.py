"""Experts against the float64 baselines of the same names, later bars, several paths, drawn markets, and `jit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.evaluate.backtest.baselines import RULES
from ploutos_jax.evaluate.backtest.covariance import minimum_variance_weights as exact_weights
from ploutos_jax.evaluate.backtest.covariance import shrunk_covariance as exact_covariance
from ploutos_jax.evaluate.backtest.ridge import fit_before, hold_best, ridge
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.minimum_variance import minimum_variance_weights, shrunk_covariance
from ploutos_jax.market.experts.ridge import ridge as ridge_table
from ploutos_jax.market.experts.ridge_fit import fit_ridge
from ploutos_jax.market.experts.table import EXPERTS, table
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.market.synthetic.planted import PlantedDraw
from tests.evaluate.backtest.test_baselines import ASSETS, BARS, ragged_panel

FIRST = 330
RULE_OF = {name: RULES[name.replace("_", " ")] for name in EXPERTS}
ALL = (*EXPERTS, "ridge")


def everywhere_at_first(panel: Panel) -> Panel:
    """An asset without a bar at the very beginning waits in a table and not in a rule, so all but one have theirs."""
    begins = np.asarray(panel.tradable).copy()
    begins[0] = np.arange(ASSETS) != 1
    prices = {
        name: np.where(begins & ~np.asarray(panel.tradable), 60.0, getattr(panel, name))
        for name in ("open", "high", "low", "close")
    }
    return panel.replace(**prices, tradable=begins, volume=np.where(begins, 1e6, 0.0))


@pytest.fixture(scope="module")
def ragged():
    """Missing bars, a late listing, an end, splits, dividends, and a universe that one leaves and one joins."""
    inside = np.ones((BARS, ASSETS), bool)
    inside[200:, 0], inside[:120, 3] = False, False
    return build_market(everywhere_at_first(ragged_panel()).replace(buyable=inside), "minimal")


@pytest.fixture(scope="module")
def whole():
    """A year and a half of bars without a gap."""
    return build_market(synthetic_panel(jax.random.key(5), 16, 420), "minimal")


def filled(targets, market):
    """Carry what a rule decided forward, where assets trade."""
    held, rows = np.zeros(targets.shape[1]), []
    for row in targets:
        held = np.where(np.isnan(row), held, row)
        rows.append(held)
    return np.where(np.asarray(market.tradable)[-len(rows) :], rows, 0.0)


@pytest.mark.thorough
@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("kind", ["whole", "ragged"])
def test_an_expert_holds_what_the_baseline_holds(name, kind, request):
    market = request.getfixturevalue(kind)
    found = np.asarray(EXPERTS[name](market, market.calendar))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, filled(RULE_OF[name](market, 0), market), atol=1e-5)
    assert (found[300:] > 0).any()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["whole", "ragged"])
def test_ridge_trades_as_the_baseline_does(kind, request):
    market = request.getfixturevalue(kind)
    fit = fit_before(market, FIRST)
    rest = market.window(FIRST - 1)  # its first decision there has seen no bar before, as the rule has not
    expected = filled(hold_best(rest, 0, fit.predict(rest.features)), rest)
    found = np.asarray(ridge_table(rest, market.calendar, fit))
    # The band leaves weights of other counts of assets side by side; a table is scaled to what there is.
    expected = expected / np.maximum(expected.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.nan_to_num(ridge(market, FIRST)).any() and (np.diff(found, axis=0) != 0).any()


@pytest.mark.thorough
def test_the_table_is_its_experts(ragged):
    fit = fit_ridge(ragged, FIRST)
    names = ("ridge", "momentum", "equal_weight")
    together = table(ragged, names, ragged.calendar, fit)
    assert together.shape == (BARS, 3, ASSETS) and together.dtype == jnp.float32
    np.testing.assert_array_equal(together[:, 0], ridge_table(ragged, ragged.calendar, fit))
    np.testing.assert_array_equal(together[:, 2], EXPERTS["equal_weight"](ragged, ragged.calendar))
    everything = np.asarray(table(ragged, ALL, ragged.calendar, fit))
    assert np.isfinite(everything).all() and (everything >= 0).all()
    assert (everything.sum(axis=2) <= 1 + 1e-6).all()
    assert (everything * ~np.asarray(ragged.tradable)[:, None] == 0).all()


def test_names_are_checked(ragged):
    with pytest.raises(ValueError, match="Unknown expert 'momentun'; known are equal_weight, .*ridge"):
        table(ragged, ["momentun"], ragged.calendar)
    with pytest.raises(ValueError, match="No expert is named"):
        table(ragged, [], ragged.calendar)
    with pytest.raises(ValueError, match="needs its coefficients"):
        table(ragged, ["ridge"], ragged.calendar)


def test_no_expert_sees_a_later_bar():
    panel, other, cut = ragged_panel(), ragged_panel(seed=1), 330
    later = {
        name: np.where(np.arange(BARS)[:, None] > cut, getattr(other, name), getattr(panel, name))
        for name in ("open", "high", "low", "close", "volume", "tradable", "dividend", "split")
    }
    markets = build_market(panel, "minimal"), build_market(panel.replace(**later), "minimal")
    fit = fit_ridge(markets[0], 300)
    before, after = (np.asarray(table(market, ALL, market.calendar, fit))[: cut + 1] for market in markets)
    np.testing.assert_array_equal(before, after)


@pytest.mark.thorough
def test_paths_end_to_end_are_each_alone(ragged):
    """Two histories, one after the other, both in one program and one at a time."""
    inside = np.asarray(ragged.buyable)
    panels = [ragged_panel(seed).replace(buyable=inside) for seed in (0, 7)]
    alone = [build_market(panel, "minimal") for panel in panels]
    fit, calendar = fit_ridge(alone[0]), alone[0].calendar
    joined = jax.tree.map(lambda *x: np.concatenate(x), *panels)
    days = np.asarray(panels[0].sessions)
    for sessions in (np.concatenate([days, days]), np.concatenate([days, days + days[-1] - days[0] + 3])):
        ends = np.repeat([BARS - 1, 2 * BARS - 1], BARS)
        market = build_market(joined.replace(sessions=sessions), "minimal", ends)
        together = np.asarray(table(market, ALL, calendar, fit))
        for i, one in enumerate(alone):
            expected = np.asarray(table(one, ALL, calendar, fit))
            np.testing.assert_allclose(together[i * BARS : (i + 1) * BARS], expected, atol=1e-6, err_msg=str(i))


@pytest.mark.thorough
def test_markets_drawn_inside_jit_have_experts():
    draw, calendar = PlantedDraw(num_assets=6, num_bars=320, num_paths=3), Calendar(bars_per_session=1.0)
    market = draw.stream(jax.random.key(0)).number(0)
    fit = fit_ridge(market)

    @jax.jit
    def tables(key):
        return table(draw(key), ALL, calendar, fit)

    inside = np.asarray(tables(jax.random.fold_in(jax.random.key(0), 0)))
    np.testing.assert_allclose(inside, np.asarray(table(market, ALL, calendar, fit)), atol=1e-6)
    assert inside.shape == (960, len(ALL), 6) and (inside[640:] > 0).any(axis=(0, 2)).all()


def test_intraday_experts_read_whole_sessions_only(whole):
    """Four bars a session: what stands at a session's first bar is the decision of the rule, and stays through it."""
    calendar = Calendar(60.0, 4.0, 60.0)
    sessions = (np.arange(420) // 4 + 18_000).astype(np.int32)
    labels = whole.labels and whole.labels.__class__(
        whole.symbols, whole.sectors, whole.times, calendar=calendar, instruments=whole.instruments
    )
    market = whole.replace(sessions=sessions, labels=labels)
    for name, expert in EXPERTS.items():
        found = np.asarray(expert(market, calendar))
        np.testing.assert_allclose(found, filled(RULE_OF[name](market, 0), market), atol=1e-5, err_msg=name)
        assert (found[-4:] == found[-1]).all()


@pytest.mark.thorough
@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("number", [30, 250])
def test_least_variance_is_that_of_float64(size, number):
    rng = np.random.default_rng(size)
    common = rng.normal(0, 0.012, (number, 1)) * rng.uniform(0.2, 1.8, size)
    returns = rng.normal(0, rng.uniform(0.003, 0.03, size), (number, size)) + common
    used = jnp.ones(size, bool)
    covariance = shrunk_covariance(jnp.asarray(returns), used)
    np.testing.assert_allclose(covariance, exact_covariance(returns), rtol=1e-4, atol=1e-9)
    exact = exact_weights(exact_covariance(returns))
    np.testing.assert_allclose(minimum_variance_weights(covariance, used), exact, atol=1e-5)
    # Assets that are not used change nothing.
    some = jnp.arange(size + 2) < size
    more = jnp.concatenate([jnp.asarray(returns), jnp.full((number, 2), jnp.nan)], axis=1)
    np.testing.assert_allclose(minimum_variance_weights(shrunk_covariance(more, some), some)[:size], exact, atol=1e-5)


def test_least_variance_without_variance_is_equal_parts():
    used = jnp.array([True, False, True])
    np.testing.assert_allclose(minimum_variance_weights(jnp.zeros((3, 3)), used), [0.5, 0, 0.5])
    np.testing.assert_array_equal(minimum_variance_weights(jnp.zeros((3, 3)), jnp.zeros(3, bool)), 0)
