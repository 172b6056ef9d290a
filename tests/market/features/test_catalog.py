"""The built-in features: values against oracles, warm-up, neutral values, causality, gaps and paths."""

import jax
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features import compute
from ploutos_jax.market.features.catalog import FEATURE_SETS, FEATURES
from ploutos_jax.market.features.causality import perturb_after
from ploutos_jax.market.features.compute import CLIP, compute_features
from ploutos_jax.market.features.raw import raw_features
from ploutos_jax.market.panel import Panel
from tests.market.features.oracles import network_values, raw_values
from tests.market.worlds import PRICES, make_broken_panel, make_scaled_panel

NUM_BARS, NUM_ASSETS = 330, 4
NAMES = tuple(feature.name for feature in FEATURES)
CLOCK = ("session_progress",)
"""What no price moves."""
MARKET = ("market_return", "market_volatility_21", "market_move", "market_breadth")
ALONE = [i for i, feature in enumerate(FEATURES) if not feature.across_assets]
WORLDS = ("random", "broken", "scaled")


def all_features(panel: Panel, num_paths: int = 1) -> np.ndarray:
    """Every feature there is; panels of one shape share the compiled function."""
    return np.asarray(compute_features(total_return(panel, num_paths), FEATURES, num_paths))


@pytest.fixture(scope="module")
def table(panel):
    return all_features(panel)


@pytest.fixture(scope="module")
def ragged_table(ragged):
    return all_features(ragged)


@pytest.fixture(scope="module")
def worlds(panel, make_panel):
    return {"random": panel, "broken": make_broken_panel(make_panel(21)), "scaled": make_scaled_panel(make_panel(22))}


@pytest.fixture(scope="module")
def expected(worlds):
    return {world: expect(panel) for world, panel in worlds.items()}


@pytest.fixture(scope="module")
def single(worlds):
    return {world: all_features(panel) for world, panel in worlds.items()}


@pytest.fixture(scope="module")
def double(worlds):
    with jax.enable_x64(True):
        return {world: all_features(panel) for world, panel in worlds.items()}


def expect(panel: Panel) -> dict[str, np.ndarray]:
    """The network form of every feature by the oracles, asset by asset without gaps."""
    columns = []
    for asset in range(panel.num_assets):
        prices = {name: np.asarray(getattr(panel, name))[:, asset].copy() for name in (*PRICES, "volume")}
        columns.append(network_values(raw_values(**prices), prices))
    return {name: np.stack([column[name] for column in columns], axis=1) for name in columns[0]}


@pytest.mark.thorough
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("column", ALONE, ids=[NAMES[i] for i in ALONE])
def test_values_and_warm_up(column, world, single, double, expected):
    feature, truth = FEATURES[column], expected[world][NAMES[column]]
    assert np.isnan(truth[: feature.warm_up]).all()
    truth = truth[feature.warm_up :]
    assert np.isfinite(truth).all()
    scale = np.maximum(np.abs(truth), truth.std(axis=0))
    for table, tolerance, dtype in ((double[world], 1e-6, np.float64), (single[world], 1e-3, np.float32)):
        values = table[:, :, column]
        assert values.dtype == dtype
        assert (values[: feature.warm_up] == 0).all()
        error = np.abs(values[feature.warm_up :] - truth)
        # What never moves has no scale of its own.
        assert (error <= tolerance * np.maximum(scale, 1e-3)).all()


def test_every_feature_is_compared_with_an_oracle(expected):
    assert set(expected["random"]) == {NAMES[i] for i in ALONE}


def test_values_stay_within_their_stated_bounds(single, ragged_table):
    for table in (*single.values(), ragged_table):
        for i, feature in enumerate(FEATURES):
            assert table[..., i].min() >= min(feature.low, 0) - 1e-5, feature.name
            assert table[..., i].max() <= max(feature.high, 0) + 1e-5, feature.name


@pytest.mark.parametrize("name", ["beta_60", "return_rank_20"])
def test_features_across_assets(name, ragged, ragged_table):
    """Only assets with a bar take part, each with the return over its own bars."""
    close = np.asarray(total_return(ragged).close)
    market, ranks = np.full(NUM_BARS, np.nan), np.full(close.shape, np.nan)
    returns = {n: np.stack([own_returns(close[:, a], n) for a in range(NUM_ASSETS)], axis=1) for n in (1, 20)}
    for t in range(NUM_BARS):
        present = np.flatnonzero(np.isfinite(returns[1][t]))
        market[t] = returns[1][t, present].mean() if len(present) else np.nan
        present = np.flatnonzero(np.isfinite(returns[20][t]))
        for a in present:
            lower = (returns[20][t, present] < returns[20][t, a]).sum()
            ranks[t, a] = 0 if len(present) == 1 else lower / (len(present) - 1) - 0.5
    betas = np.full(close.shape, np.nan)
    for a in range(NUM_ASSETS):
        rows = np.flatnonzero(np.isfinite(close[:, a]))
        for i in range(60, len(rows)):
            last = rows[i - 59 : i + 1]
            pair = np.cov(returns[1][last, a], market[last])
            betas[rows[i], a] = pair[0, 1] / pair[1, 1]
    truth = {"beta_60": betas, "return_rank_20": ranks}[name]
    np.testing.assert_allclose(ragged_table[:, :, NAMES.index(name)], np.nan_to_num(truth), rtol=1e-4, atol=1e-5)


def test_features_of_the_market_are_those_of_the_mean_return(ragged, ragged_table):
    close = np.asarray(total_return(ragged).close)
    returns = pd.DataFrame(np.stack([own_returns(close[:, a], 1) for a in range(NUM_ASSETS)], axis=1))
    mean = returns.mean(axis=1).fillna(0.0)
    mean[0] = np.nan
    size = np.log(np.sqrt((returns**2).mean(axis=1)))
    truth = {
        "market_return": returns.mean(axis=1) / mean.rolling(252).std(ddof=0),
        "market_volatility_21": np.log(mean.rolling(21).std(ddof=0)),
        "market_move": size,
        "market_breadth": np.sign(returns).mean(axis=1),
    }
    assert tuple(truth) == MARKET
    own_bar = np.cumsum(np.isfinite(close), axis=0) - 1
    for name, values in truth.items():
        known = np.isfinite(close) & (own_bar >= FEATURES[NAMES.index(name)].warm_up)
        expected = np.where(known, np.nan_to_num(values.to_numpy())[:, None], 0.0)
        found = ragged_table[:, :, NAMES.index(name)]
        np.testing.assert_allclose(found, np.clip(expected, -CLIP, CLIP), rtol=2e-3, atol=1e-4, err_msg=name)


RANKED = {
    "momentum_rank_21": (21, lambda x: np.log(x["close"][-1] / x["close"][0]), 22),
    "momentum_rank_63": (63, lambda x: np.log(x["close"][-1] / x["close"][0]), 64),
    "momentum_rank_252": (252, lambda x: np.log(x["close"][-1] / x["close"][0]), 253),
    "reversal_rank_5": (5, lambda x: -np.log(x["close"][-1] / x["close"][0]), 6),
    "volatility_rank_21": (21, lambda x: np.diff(np.log(x["close"])).std(ddof=1), 22),
    "volume_ratio_rank_20": (19, lambda x: x["volume"][-1] / x["volume"].mean(), 20),
}
"""Name -> first own bar, the value of an asset's last own bars, how many of them."""


def ranks_by_hand(panel: Panel, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return value and rank in float64, in loops over bars and assets; NaN where not known."""
    first, function, length = RANKED[name]
    adjusted = total_return(panel)
    bars = {name: np.asarray(getattr(adjusted, name), np.float64) for name in ("close", "volume")}
    values, ranks = np.full(panel.close.shape, np.nan), np.full(panel.close.shape, np.nan)
    for a in range(panel.num_assets):
        rows = np.flatnonzero(np.isfinite(panel.close[:, a]))
        for i in range(first, len(rows)):
            own = rows[i - length + 1 : i + 1]
            values[rows[i], a] = function({name: x[own, a] for name, x in bars.items()})
    for t in range(panel.num_bars):
        known = np.flatnonzero(~np.isnan(values[t]))
        for a in known:
            lower, equal = ((values[t, known] < values[t, a]).sum(), (values[t, known] == values[t, a]).sum() - 1)
            ranks[t, a] = 0 if len(known) == 1 else 2 * (lower + equal / 2) / (len(known) - 1) - 1
    return values, ranks


@pytest.mark.parametrize("name", RANKED)
def test_ranks_among_the_assets_of_a_bar(name, ragged, ragged_table):
    """Against loops in float64: assets listed late, ended or without a bar take no part, and are not known."""
    values, ranks = ranks_by_hand(ragged, name)
    feature = FEATURES[NAMES.index(name)]
    assert feature.warm_up == RANKED[name][0] and feature.across_assets
    np.testing.assert_allclose(ragged_table[:, :, NAMES.index(name)], np.nan_to_num(ranks), atol=1e-6)
    several = ranks[np.isfinite(ranks).sum(axis=1) > 1]
    assert len(several) > 50 and (np.nanmax(several, axis=1) == 1).all() and (np.nanmin(several, axis=1) == -1).all()
    with jax.enable_x64(True):
        exact = np.asarray(compute_features(total_return(ragged), (feature,)))[..., 0]
    np.testing.assert_allclose(exact, np.nan_to_num(ranks), atol=1e-12)
    np.testing.assert_allclose(raw_features(ragged, [name])[name], values, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", RANKED)
def test_ranks_follow_their_assets(name, ragged):
    """Bit for bit, in whatever order the assets come."""
    chosen = (FEATURES[NAMES.index(name)],)
    order = [2, 0, 3, 1]
    plain, moved = (
        np.asarray(compute_features(total_return(panel), chosen))
        for panel in (ragged, ragged.select([ragged.symbols[i] for i in order]))
    )
    np.testing.assert_array_equal(moved, plain[:, order])


@pytest.mark.thorough
def test_equal_values_share_a_rank_and_an_asset_alone_has_none(panel):
    names = tuple(RANKED)
    chosen = tuple(FEATURES[NAMES.index(name)] for name in names)
    twins = panel.select(["T0", "T1", "T2"])
    columns = [0, 0, 2]
    twins = twins.replace(**{name: getattr(twins, name)[:, columns] for name in (*PRICES, "volume")})
    values = np.asarray(compute_features(twins, chosen))[252:, :, :-2]
    np.testing.assert_array_equal(values[:, 0], values[:, 1])
    assert set(np.unique(values[:, 0])) == {-0.5, 0.5} and set(np.unique(values[:, 2])) == {-1.0, 1.0}
    alone = np.asarray(compute_features(panel.select(["T0"]), chosen))
    assert (alone[..., :-2] == 0).all() and (alone[252:, :, -2] == 1).all()


def own_returns(close: np.ndarray, bars: int) -> np.ndarray:
    rows = np.flatnonzero(np.isfinite(close))
    returns = np.full(len(close), np.nan)
    returns[rows[bars:]] = np.log(close[rows[bars:]] / close[rows[:-bars]])
    return returns


def test_equal_returns_share_a_rank(panel, single, worlds):
    same = panel.replace(**{name: np.repeat(getattr(panel, name)[:, :1], 4, axis=1) for name in PRICES})
    values = all_features(same)
    assert (values[20:, :, NAMES.index("return_rank_20")] == 0).all()
    np.testing.assert_allclose(values[60:, :, NAMES.index("beta_60")], 1, rtol=1e-4)


def test_masks(table, ragged, ragged_table):
    warm_ups = np.array([feature.warm_up for feature in FEATURES])
    exists = np.isfinite(ragged.close)
    for values, has_bar in ((table, np.ones_like(exists)), (ragged_table, exists)):
        np.testing.assert_array_equal(values[..., -1], has_bar)
        own_bar = np.cumsum(has_bar, axis=0) - 1
        share = (own_bar[..., None] >= warm_ups).mean(axis=-1) * has_bar
        np.testing.assert_allclose(values[..., -2], share, rtol=1e-6)
    assert (ragged_table[~exists] == 0).all()
    assert ragged_table[..., -2].max() == 1


def test_flat_prices_are_neutral(panel):
    flat = np.full((NUM_BARS, NUM_ASSETS), [1.0, 0.37, 100.1, 5432.1])
    flat_panel = panel.replace(open=flat, high=flat, low=flat, close=flat, volume=np.full(flat.shape, 500.0))
    neutral = dict.fromkeys(NAMES, 0.0) | {"stochastic_k_14": 0.5, "stochastic_d_14": 0.5, "williams_r_14": -0.5}
    neutral |= {"stochastic_rsi_14": 0.5, "donchian_20": 0.5, "downside_share_20": 0.5, "overnight_share_20": 0.5}
    neutral |= {"volatility_ratio_5_60": 1.0, "beta_60": 1.0, "session_progress": 1.0}
    neutral |= {"market_volatility_21": -CLIP, "market_move": -CLIP}
    values = all_features(flat_panel)
    for i, feature in enumerate(FEATURES):
        np.testing.assert_allclose(
            values[feature.warm_up :, :, i], neutral[feature.name], atol=1e-6, err_msg=feature.name
        )


def test_the_unit_of_price_and_volume_does_not_matter(panel, table):
    scaled = panel.replace(**{name: getattr(panel, name) * 1024.0 for name in PRICES}, volume=panel.volume * 8)
    np.testing.assert_allclose(all_features(scaled), table, rtol=1e-5, atol=1e-5)


def test_a_pure_split_is_invisible_to_features(panel, table):
    ratio = np.ones(panel.close.shape)
    ratio[200] = [2.0, 4.0, 0.5, 8.0]
    shares = np.cumprod(ratio, axis=0)
    traded = panel.replace(
        **{name: getattr(panel, name) / shares for name in PRICES}, volume=panel.volume * shares, split=ratio
    )
    np.testing.assert_array_equal(all_features(traded), table)


def test_hostile_series_stay_finite(panel, remove_bars):
    rng = np.random.default_rng(3)
    close = panel.close.copy()
    close[:, 0] = np.where(np.arange(NUM_BARS) % 2, 1e-25, 1e25)
    close[:, 1] = np.exp(rng.normal(0, 25, NUM_BARS))
    close[100:, 2] = close[100, 2]
    high, low = close * 1.01, close * 0.99
    high[150:, 2] = low[150:, 2] = close[150:, 2]
    volume = np.where(rng.random(close.shape) < 0.5, 0, 10 ** rng.uniform(0, 14, close.shape))
    hostile = panel.replace(open=close, high=high, low=low, close=close, volume=volume)
    hostile = remove_bars(hostile, (rng.random(close.shape) < 0.3) & (np.arange(NUM_ASSETS) == 3))
    values = all_features(hostile)
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= CLIP


@pytest.fixture(scope="module")
def perturbed_tables(ragged):
    rng = np.random.default_rng(5)
    return {t: all_features(perturb_after(ragged, t, rng)) for t in (0, 45, 140, 285, NUM_BARS - 2)}


@pytest.mark.parametrize("name", [*NAMES, "warm", "known"])
def test_no_feature_looks_ahead(name, ragged_table, perturbed_tables):
    column = [*NAMES, "warm", "known"].index(name)
    for t, values in perturbed_tables.items():
        np.testing.assert_array_equal(values[: t + 1, :, column], ragged_table[: t + 1, :, column])
    after = np.stack([values[295:, :, column] for values in perturbed_tables.values()])
    assert (after != after[-1]).any() or name in CLOCK, "the changes reached nothing"


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_every_set_is_made_of_known_features(name):
    names = FEATURE_SETS[name]
    assert len(set(names)) == len(names)
    assert set(names) <= set(NAMES)


def test_sizes_of_the_sets():
    sizes = {"standard": 85, "ploutos_v3": 58, "talib44": 44, "core": 26, "core_ranks": 32, "minimal": 5}
    sizes |= {"core_regimes": 30, "sentio": 12, "sentio_20": 20, "sentio_regimes": 16}
    assert {name: len(names) for name, names in FEATURE_SETS.items()} == sizes
    assert FEATURE_SETS["standard"] == tuple(name for name in NAMES if name not in {*RANKED, *CLOCK, *MARKET})
    assert FEATURE_SETS["core_ranks"] == (*FEATURE_SETS["core"], *RANKED)
    assert len(set(NAMES)) == len(NAMES)


def test_an_asset_with_gaps_equals_its_bars_moved_together(ragged, ragged_table):
    adjusted = total_return(ragged)
    missing = np.isnan(ragged.close)
    order = np.argsort(missing, axis=0, kind="stable")
    together = adjusted.replace(
        **{name: np.take_along_axis(getattr(adjusted, name), order, axis=0) for name in (*PRICES, "volume")}
    )
    moved = all_features(together)
    for asset in range(NUM_ASSETS):
        bars = np.flatnonzero(~missing[:, asset])
        np.testing.assert_array_equal(ragged_table[bars, asset][:, ALONE], moved[: len(bars), asset][:, ALONE])


def test_missing_bars_of_one_asset_leave_the_others_alone(panel, table, remove_bars):
    missing = np.zeros(panel.close.shape, bool)
    missing[50:90, 1] = True
    values = all_features(remove_bars(panel, missing))
    others = np.ix_(range(NUM_BARS), [0, 2, 3], ALONE)
    np.testing.assert_array_equal(values[others], table[others])
    np.testing.assert_array_equal(values[:50, 1], table[:50, 1])
    assert (values[90:, 1] != table[90:, 1]).any()
    across = np.setdiff1d(range(len(NAMES)), ALONE)
    assert (values[90:][:, [0, 2, 3]][..., across] != table[90:][:, [0, 2, 3]][..., across]).any()


def test_assets_in_another_order(ragged, ragged_table):
    order = [2, 0, 3, 1]
    values = all_features(ragged.select([ragged.symbols[i] for i in order]))
    np.testing.assert_array_equal(values[..., ALONE], ragged_table[:, order][..., ALONE])
    np.testing.assert_allclose(values, ragged_table[:, order], rtol=1e-4, atol=1e-5)


SOME = ("log_return_5", "macd", "rsi_14", "bollinger_width_20", "close_over_vwap_14", "amihud_20", "pivot", "beta_60")


def some_features(panel: Panel, num_paths: int = 1) -> np.ndarray:
    chosen = tuple(feature for feature in FEATURES if feature.name in SOME)
    return np.asarray(compute_features(total_return(panel, num_paths), chosen, num_paths))


@pytest.mark.thorough
def test_paths_do_not_see_each_other(ragged, ragged_table, panel, table, make_ragged_panel):
    joined = jax.tree.map(
        lambda x, y: np.concatenate([x, y]),
        ragged,
        panel.replace(split=np.ones(panel.close.shape), dividend=np.zeros(panel.close.shape)),
    )
    columns = [i for i, name in enumerate(NAMES) if name in SOME]
    values = some_features(joined, num_paths=2)
    np.testing.assert_allclose(values[:NUM_BARS, :, :-2], ragged_table[..., columns], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(values[NUM_BARS:, :, :-2], table[..., columns], rtol=1e-4, atol=1e-4)
    other = jax.tree.map(lambda x, y: np.concatenate([x, y[NUM_BARS:]]), make_ragged_panel(9), joined)
    values_of_other = some_features(other, num_paths=2)
    np.testing.assert_array_equal(values_of_other[NUM_BARS:], values[NUM_BARS:])
    assert (values_of_other[:NUM_BARS] != values[:NUM_BARS]).any()


@pytest.mark.thorough
def test_blocks_of_assets_make_one_table(ragged, ragged_table, monkeypatch):
    columns = [i for i, name in enumerate(NAMES) if name in SOME]
    for name, number in (("_CPU_BLOCK_BYTES", 0), ("_BLOCK_BYTES", 0), ("_MIN_BLOCK_ASSETS", 3)):
        monkeypatch.setattr(compute, name, number)
    values = some_features(ragged)
    np.testing.assert_allclose(values[..., :-2], ragged_table[..., columns], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(values[..., -1], ragged_table[..., -1])


@pytest.mark.parametrize("num_bars", [1, 2, 5])
def test_a_panel_shorter_than_any_window(make_panel, num_bars):
    names = {"log_return_1", "macd", "amihud_20", "pivot", "hurst_100", "bars_since_high_252", "return_rank_20"}
    chosen = tuple(feature for feature in FEATURES if feature.name in names)
    values = np.asarray(compute_features(make_panel(num_bars=num_bars, num_assets=1), chosen))
    assert np.isfinite(values).all()
    assert (values[:1, :, :-1] == 0).all()
    assert (values[..., -1] == 1).all()


@pytest.mark.thorough
def test_a_gpu_scans_in_blocks_to_the_same_values(ragged, ragged_table, monkeypatch):
    names = ("macd", "trix_15", "adx_14", "rsi_14", "tsi_25_13", "keltner_upper_20", "force_13", "pivot_r1", "gap")
    chosen = tuple(feature for feature in FEATURES if feature.name in names)
    adjusted = total_return(ragged)
    prices = tuple(np.asarray(getattr(adjusted, name), np.float32) for name in (*PRICES, "volume"))
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    values = jax.jit(lambda p, s: compute._compute_path(p, s, chosen))(prices, np.asarray(ragged.sessions))
    columns = [NAMES.index(feature.name) for feature in chosen]
    np.testing.assert_allclose(values[..., :-2], ragged_table[..., columns], rtol=1e-4, atol=2e-5)
    np.testing.assert_array_equal(values[..., -1], ragged_table[..., -1])
