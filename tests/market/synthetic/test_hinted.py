"""Planted markets with a law of their own: what is told, when, and that nothing else tells anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.hint_series import draw_persistent
from ploutos_jax.market.synthetic.planted import (
    HINT,
    PLANTED_NOTE,
    HintedDraw,
    Lag,
    Persistent,
    Regimes,
    hinted_panel,
    is_planted,
)
from ploutos_jax.market.synthetic.planted.regimes import STAY

NUM_ASSETS, NUM_BARS = 40, 3000
ERROR = 1 / np.sqrt(NUM_ASSETS * NUM_BARS)
"""Of a correlation over all bars and assets, were they normal and independent."""
RECIPES = {
    "persistent": Persistent(NUM_ASSETS, 0.2, 0.9),
    "lag": Lag(NUM_ASSETS, 0.3),
    "a": Regimes(NUM_ASSETS, 0.3, "a"),
    "b": Regimes(NUM_ASSETS, 0.3, "b"),
}


@pytest.fixture(scope="module")
def panels():
    return {name: hinted_panel(jax.random.key(1), recipe, NUM_BARS) for name, recipe in RECIPES.items()}


def hint_and_returns(panel):
    """Return hints `[T, A]` and simple returns `[T - 1, A]`: row t is that of bar t + 1."""
    close = np.asarray(panel.close, np.float64)
    return np.asarray(panel.signals[HINT], np.float64), close[1:] / close[:-1] - 1


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.thorough
@pytest.mark.parametrize("name", RECIPES)
def test_bars_are_consistent_and_say_what_they_are(panels, name):
    panel = panels[name].validate()
    opens, close = np.asarray(panel.open), np.asarray(panel.close)
    np.testing.assert_array_equal(opens[1:], close[:-1])
    assert opens[0] == pytest.approx(100) and (np.asarray(panel.high) > np.asarray(panel.low)).mean() > 0.999
    assert sorted(panel.signals) == ["hint", "noise_0", "noise_1", "noise_2"]
    market = build_market(panel, ())
    for source in (panel, panel.select(["P002"]), market, market.window(3, 9)):
        assert is_planted(source) and "on purpose" in source.notes[0] and source.notes != (PLANTED_NOTE,)
    law = panel.labels.hint
    assert law.rows(slice(3, 9)).volatility_by_bar.shape == (6, NUM_ASSETS)


@pytest.mark.thorough
def test_persistent_hints_are_a_stationary_series_of_each_asset(panels):
    hint, _ = hint_and_returns(panels["persistent"])
    # The mean of an AR(1) has a deviation √((1 + φ) / (1 − φ)) times that of independent numbers.
    wide = ERROR * np.sqrt(1.9 / 0.1)
    assert abs(hint.mean()) < 4 * wide and hint.std() == pytest.approx(1, abs=4 * wide)
    for rows in (slice(0, 100), slice(-100, None)):
        assert hint[rows].std() == pytest.approx(1, abs=0.08), "from the first bar on"
    for lag in (1, 5, 20):
        assert correlation(hint[lag:], hint[:-lag]) == pytest.approx(0.9**lag, abs=4 * wide)
    assert abs(correlation(hint, np.roll(hint, 1, axis=1))) < 4 * wide


def test_a_persistent_hint_promises_the_next_return_and_the_rest_is_a_martingale(panels):
    hint, returns = hint_and_returns(panels["persistent"])
    promised = 0.2 * 0.01 * hint[:-1]
    rest = returns - promised
    slope = (hint[:-1] * returns).mean() / (hint[:-1] ** 2).mean()
    assert slope == pytest.approx(0.2 * 0.01, abs=4 * 0.01 * ERROR)
    assert abs(rest.mean()) < 4 * 0.01 * ERROR and returns.std() == pytest.approx(0.01, rel=0.02)
    size = rest.std() * ERROR
    for known in (hint[:-1] > 1, hint[:-1] < -1):  # far out too, not on average alone
        assert abs(rest[known].mean()) < 4 * size / np.sqrt(known.mean())
    for known in (hint[:-2], rest[:-1], np.sign(rest[:-1]) * hint[1:-1]):
        assert abs(correlation(known, rest[1:])) < 5 * ERROR
    for name in ("noise_0", "noise_2"):
        assert abs(correlation(np.asarray(panels["persistent"].signals[name])[:-1], returns)) < 5 * ERROR
    scaled = np.abs(rest / rest.std())
    # A Student-t of 5 degrees with variance 1 exceeds 2.5 in size with probability 0.0233 (a normal 0.0124).
    assert (scaled > 2.5).mean() == pytest.approx(0.0233, abs=0.0015)


def test_a_late_hint_tells_after_20_and_60_bars_alone(panels):
    hint, returns = hint_and_returns(panels["lag"])
    told = (hint[40:-1] + hint[:-41]) / np.sqrt(2)  # of bars 20 and 60 before row 60 + i
    assert correlation(told[:-20], returns[60:]) == pytest.approx(0.3, abs=4 * ERROR)
    for lag in range(0, 81):
        expected = 0.3 / np.sqrt(2) if lag in (20, 60) else 0.0
        assert correlation(hint[80 - lag : NUM_BARS - 1 - lag], returns[80:]) == pytest.approx(expected, abs=5 * ERROR)


@pytest.mark.parametrize("variant", ["a", "b"])
def test_a_hidden_regime_turns_the_hint_round(panels, variant):
    panel = panels[variant]
    hint, returns = hint_and_returns(panel)
    state = panel.labels.hint.state
    assert (np.diff(state) != 0).mean() == pytest.approx(1 - STAY, abs=4 * np.sqrt(0.02 / NUM_BARS))
    for regime, sign in ((0, 1), (1, -1)):
        rows = state[:-1] == regime
        assert correlation(hint[:-1][rows], returns[rows]) == pytest.approx(
            sign * 0.3, abs=4 * ERROR / rows.mean() ** 0.5
        )
        size = 2.0 if variant == "a" and regime else 1.0
        assert returns[rows].std() == pytest.approx(0.01 * size, rel=0.03)
    whole = (hint[:-1] * returns / (1 if variant == "b" else np.where(state[:-1], 2, 1)[:, None])).mean() / 0.01
    assert whole == pytest.approx(0.3 * (1 - 2 * state.mean()), abs=4 * ERROR), "all told, nothing but the balance"


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", [Persistent(2), Lag(2), Regimes(2)], ids=repr)
def test_returns_change_no_hint(recipe):
    """Hints are drawn first, by keys of their own: another strength makes other prices and the same hints."""
    weak = type(recipe)(2, strength=0.0)
    strong, silent = (hinted_panel(jax.random.key(4), each, 200) for each in (recipe, weak))
    np.testing.assert_array_equal(strong.signals[HINT], silent.signals[HINT])
    assert not np.array_equal(strong.close, silent.close)


@pytest.mark.thorough
def test_rows_of_a_series_depend_on_rows_before():
    long = draw_persistent(jax.random.key(0), 0.5, 100, 3)
    assert long.shape == (100, 3) and draw_persistent(jax.random.key(0), 0.5, 1, 3).shape == (1, 3)
    with jax.enable_x64(True):
        wide = draw_persistent(jax.random.key(0), 0.9, 5, 2)
        panel = hinted_panel(jax.random.key(0), Persistent(2), 20)
        assert wide.dtype == panel.close.dtype == panel.signals[HINT].dtype == jnp.float64


@pytest.mark.thorough
def test_a_stream_keeps_the_law_but_no_regimes():
    stream = HintedDraw(Regimes(2), 30, 2).stream(jax.random.key(0))
    assert stream.labels.hint.kind == "regimes" and stream.labels.hint.state is None
    assert (
        stream.first().feature_names == build_market(hinted_panel(jax.random.key(0), Regimes(2), 30), ()).feature_names
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Persistent(0), "at least 1 asset"),
        (lambda: Persistent(2, 1.5), r"strength=1.5 must lie in \[0, 1\]"),
        (lambda: Persistent(2, 0.1, 1.0), r"persistence=1.0 must lie in \[0, 1\)"),
        (lambda: Lag(2, tail=2.0), "tail=2.0 above 2"),
        (lambda: Lag(2, num_noise=-1), "num_noise=-1 must not be negative"),
        (lambda: Regimes(2, variant="c"), "variant='c' must be one of a, b"),
        (lambda: hinted_panel(jax.random.key(0), Lag(2), 0), "1 bar, not 2 and 0"),
    ],
)
def test_bad_numbers_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
