"""Planted markets: the hint tells the next return as strongly as asked, and nothing else tells anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.market.synthetic.planted import HINT, NUM_BARS, PLANTED_NOTE, is_planted, planted_panel

NUM_ASSETS, VOLATILITY = 40, 0.01
ERROR = 1 / np.sqrt(NUM_ASSETS * NUM_BARS)
"""Of a correlation over all bars and assets, were they normal; fat tails widen it a little."""


@pytest.fixture(scope="module")
def panels():
    """Panels by strength, from one key."""
    return {strength: planted_panel(jax.random.key(1), NUM_ASSETS, strength=strength) for strength in (0.0, 0.3, 1.0)}


def returns_of(panel):
    """`[T-1, A]` log returns: row t is the return of bar t + 1, which the hint of row t tells."""
    return np.diff(np.log(np.asarray(panel.close, np.float64)), axis=0)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.thorough
def test_bars_are_consistent_and_free_of_events(panels):
    panel = panels[0.3].validate()
    opens, high, low, close = (np.asarray(x) for x in (panel.open, panel.high, panel.low, panel.close))
    np.testing.assert_array_equal(opens[1:], close[:-1])
    assert (high > low).mean() > 0.999 and opens[0] == pytest.approx(100)
    assert np.asarray(panel.tradable).all() and (np.asarray(panel.volume) >= 1e8).all()
    assert panel.split is None and panel.dividend is None
    days = panel.times.astype("datetime64[D]")
    assert np.is_busday(days).all() and (np.diff(days) > np.timedelta64(0, "D")).all()
    np.testing.assert_array_equal(np.asarray(panel.sessions), days.astype(np.int64))
    assert panel.symbols[:2] == ("P001", "P002") and len(panel.notes) == 1


@pytest.mark.thorough
def test_returns_are_student_t_with_the_volatility_asked_for(panels):
    returns = returns_of(panels[0.3])
    assert returns.std() == pytest.approx(VOLATILITY, rel=0.02)
    scaled = returns / VOLATILITY
    # A Student-t of 5 degrees with variance 1 exceeds 2.5 in size with probability 0.0233 (a normal 0.0124).
    assert (np.abs(scaled) > 2.5).mean() == pytest.approx(0.0233, abs=0.001)
    wild = returns_of(planted_panel(jax.random.key(1), NUM_ASSETS, tail=50.0, volatility=0.03))
    assert wild.std() == pytest.approx(0.03, rel=0.02)
    assert (np.abs(wild / 0.03) > 2.5).mean() < 0.016


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_hint_tells_the_next_return_as_strongly_as_asked(panels, strength):
    hint, returns = np.asarray(panels[strength].signals[HINT], np.float64)[:-1], returns_of(panels[strength])
    assert correlation(hint, returns) == pytest.approx(strength, abs=4 * ERROR)
    assert hint.std() == pytest.approx(1, abs=0.02)
    if strength == 1:
        np.testing.assert_allclose(hint * VOLATILITY, returns + returns.var() / 2, atol=0.02)
        assert (np.sign(hint) == np.sign(returns)).mean() > 0.99


def test_each_asset_has_its_hint(panels):
    hint, returns = np.asarray(panels[0.3].signals[HINT], np.float64)[:-1], returns_of(panels[0.3])
    own = [correlation(hint[:, a], returns[:, a]) for a in range(NUM_ASSETS)]
    assert np.abs(np.array(own) - 0.3).max() < 5 / np.sqrt(NUM_BARS)
    assert abs(correlation(np.roll(hint, 1, axis=1), returns)) < 4 * ERROR
    assert abs(correlation(returns, np.roll(returns, 1, axis=1))) < 4 * ERROR


def test_nothing_but_the_hint_tells_anything(panels):
    """Neither noise, nor hints of other bars, nor prices of the past, nor the range of a bar."""
    panel = panels[0.3]
    returns, hint = returns_of(panel), np.asarray(panel.signals[HINT], np.float64)[:-1]
    spread = np.log(np.asarray(panel.high, np.float64) / np.asarray(panel.low, np.float64))[:-1]
    others = {
        "an earlier hint": (hint[:-1], returns[1:]),
        "a later hint": (hint[1:], returns[:-1]),
        "the return before": (returns[:-1], returns[1:]),
        "the range of the bar": (spread, returns),
        "the price": (np.log(np.asarray(panel.close, np.float64))[:-1] / 10, returns),
        **{name: (x[:-1], returns) for name, x in panel.signals.items() if name != HINT},
    }
    assert sorted(panel.signals) == ["hint", "noise_0", "noise_1", "noise_2"]
    for name, (known, later) in others.items():
        assert abs(correlation(np.asarray(known, np.float64), later)) < 5 * ERROR, name
    # Also not once the hint is taken out.
    rest = returns - 0.3 * VOLATILITY * hint
    known = np.stack([np.ones(rest.size), *(np.ravel(np.asarray(x)[:-1]) for x in panel.signals.values())], axis=1)
    slopes = np.linalg.lstsq(known, np.ravel(rest), rcond=None)[0] / VOLATILITY
    assert np.abs(slopes).max() < 5 * ERROR


def test_without_strength_nothing_is_earned(panels):
    panel = panels[0.0]
    simple = np.expm1(returns_of(panel))
    held = np.where(np.asarray(panel.signals[HINT])[:-1] > 0, simple, 0)
    for gain in (simple, held):
        assert abs(gain.mean()) < 4 * VOLATILITY * ERROR
    strong = panels[0.3]
    held = np.where(np.asarray(strong.signals[HINT])[:-1] > 0, np.expm1(returns_of(strong)), 0)
    # Of a normal signal, E[return · (hint > 0)] = strength · volatility · φ(0); the tails take a little.
    assert held.mean() == pytest.approx(0.3 * VOLATILITY / np.sqrt(2 * np.pi), rel=0.05)


def test_a_level_touched_inside_a_bar_tells_nothing_of_its_close(panels):
    panel = panels[0.0]
    opens, high, low, close = (np.asarray(getattr(panel, n), np.float64) for n in ("open", "high", "low", "close"))
    for level in (0.005, 0.01):
        stopped = np.where(low <= opens * (1 - level), 1 - level - close / opens, 0)
        taken = np.where(high >= opens * (1 + level), 1 + level - close / opens, 0)
        for gain in (stopped, taken):
            assert abs(gain.mean()) < 4 * gain.std() / np.sqrt(gain.size)


@pytest.mark.thorough
def test_the_key_decides(panels):
    again = planted_panel(jax.random.key(1), NUM_ASSETS)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(panels[0.3]), strict=True):
        np.testing.assert_array_equal(a, b)
    other = planted_panel(jax.random.key(2), NUM_ASSETS)
    assert not np.array_equal(other.close, again.close)
    np.testing.assert_array_equal(panels[0.0].close, panels[1.0].close, err_msg="strength changes the hint alone")


@pytest.mark.thorough
def test_many_are_drawn_at_once_and_in_the_precision_of_the_program():
    keys = jax.random.split(jax.random.key(3), 3)
    drawn = jax.vmap(lambda key: planted_panel(key, 2, 50))(keys)
    one = planted_panel(keys[1], 2, 50)
    for x, y in zip(jax.tree.leaves(drawn), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(x[1] if x.ndim > y.ndim else x, y, rtol=1e-6)
    with jax.enable_x64(True):
        wide = planted_panel(jax.random.key(3), 2, 50)
        assert all(x.dtype == jnp.float64 for x in (wide.close, wide.volume, *wide.signals.values()))


@pytest.mark.thorough
def test_it_says_what_it_is():
    panel = planted_panel(jax.random.key(0), 2, 30, num_noise=1)
    market = build_market(panel, ())
    assert market.feature_names == ("signal_hint", "signal_noise_0", "warm", "known")
    for source in (panel, panel.select(["P002"]), panel.window(3, 9), market, market.window(3, 9)):
        assert is_planted(source) and "looks ahead" in PLANTED_NOTE
    assert not is_planted(synthetic_panel(jax.random.key(0), 2, 30).replace(signals=panel.signals))
    assert not is_planted(panel.replace(labels=None))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_assets": 0}, "at least 1 asset and 1 bar, not 0 and 50"),
        ({"num_bars": 0}, "at least 1 asset and 1 bar, not 2 and 0"),
        ({"num_bars": 60_000}, "num_bars=60000: daily bars from 2010-01-04 on reach the end of 2199 with 49,567."),
        ({"strength": 1.1}, "strength=1.1 must lie in [0, 1]"),
        ({"strength": -0.1}, "strength=-0.1 must lie in [0, 1]"),
        ({"strength": float("nan")}, "strength=nan must lie in [0, 1]"),
        ({"num_noise": -1}, "num_noise=-1 must not be negative"),
        ({"volatility": 0.0}, "volatility=0.0 must be above 0"),
        ({"tail": 2.0}, "tail=2.0 above 2"),
    ],
)
def test_bad_numbers_are_refused(changes, said):
    with pytest.raises(ValueError) as error:
        planted_panel(jax.random.key(0), **({"num_assets": 2, "num_bars": 50} | changes))
    assert said in str(error.value)
