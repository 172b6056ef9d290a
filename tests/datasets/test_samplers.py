"""Streams of markets: the same shapes from every key, paths that never meet, history beside stressed copies."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.datasets.samplers import SyntheticSampler, bootstrap_stream, history_stream, weigh_starts
from ploutos_jax.datasets.training import read_training
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.sectors import NO_SECTOR, with_sectors
from ploutos_jax.market.synthetic.multi_path import MarketSpec
from ploutos_jax.market.synthetic.planted import HintedDraw, Lag, Persistent, PlantedDraw, Regimes
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train

PRICES = ("open", "high", "low", "close")


@pytest.fixture(scope="module")
def history(ragged):
    return history_stream(jax.random.key(0), ragged, "minimal", slice(60, 300), num_copies=3)


@pytest.mark.slow
def test_history_lies_beside_stressed_copies(history, ragged):
    whole = build_market(ragged, "minimal")
    market = history.first()
    assert market.num_bars == 4 * 240 and market.feature_names == whole.feature_names
    np.testing.assert_array_equal(market.path_end, np.repeat([239, 479, 719, 959], 240))
    for name in (*PRICES, "volume", "tradable", "sessions", "split", "dividend"):
        np.testing.assert_array_equal(getattr(market, name)[:240], np.asarray(getattr(whole, name))[60:300], name)
    # Adjusted for splits and dividends inside the program, in float32.
    for name in ("features", "atr", "adv"):
        ours, theirs = getattr(market, name)[:240], np.asarray(getattr(whole, name))[60:300]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    assert (market.spread_scale[:240] == 1).all()
    changed = []
    for index in range(4):
        later = history.number(index)
        np.testing.assert_array_equal(later.features[:240], market.features[:240])
        for start in (240, 480, 720):
            rows, plain = slice(start, start + 240), slice(0, 240)
            both = [[getattr(later, n)[r] for n in (*PRICES, "volume", "spread_scale")] for r in (rows, plain)]
            same = np.all([(a == b).all(axis=1) for a, b in zip(*both, strict=True)], axis=0)
            first = int(np.argmin(same))
            changed.append(first)
            # An eighth of the training rows is as it was, features included, and so is all before the shock.
            assert 30 <= first < 240 and same[:first].all()
            np.testing.assert_array_equal(later.features[rows][:first], later.features[plain][:first])
    assert len(set(changed)) > 6, "every copy and every draw has a shock of its own"
    assert market.times[0] == ragged.times[60] and market.times[-1] == ragged.times[299]
    assert (np.diff(market.times) > np.timedelta64(0, "ns")).all()


@pytest.mark.parametrize(("share", "sizes"), [(0.25, (100, 400)), (0.1, (37, 90)), (0.9, (200, 800)), (0.5, (10, 10))])
def test_starts_are_repeated_until_the_share_is_right(share, sizes):
    starts = np.arange(sum(sizes))
    rows = weigh_starts(starts, sizes[0], share)
    assert (rows >= sizes[0]).mean() == pytest.approx(share, abs=0.02)
    counts = np.bincount(rows)
    assert (counts > 0).all() and len(set(counts[: sizes[0]])) == len(set(counts[sizes[0] :])) == 1
    assert (weigh_starts(starts, sizes[0], 1.0) == starts[sizes[0] :]).all()


@pytest.mark.thorough
def test_resampled_markets_have_one_shape_and_calendar(ragged):
    sizes = {"num_bars": 90, "num_paths": 2, "mean_block": 10.0}
    stream = bootstrap_stream(jax.random.key(1), ragged, "minimal", **sizes)
    one, other = stream.number(0), stream.number(1)
    assert one.features.shape == other.features.shape == (180, 4, 7)
    for name in ("sessions", "path_end", "sector"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.close != other.close).mean() > 0.9
    assert one.symbols == ragged.symbols and one.feature_names == build_market(ragged, "minimal").feature_names
    assert one.spread_scale is None, "nothing of stress without it"


@pytest.mark.thorough
def test_planted_paths_never_meet():
    """The hint of a path's last row tells of no bar of the next one; features of a path are a function of its key."""
    draw = PlantedDraw(num_assets=2, num_bars=40, num_paths=3, strength=1.0, volatility=0.01)
    market = draw.stream(jax.random.key(0)).first()
    # With a strength of 1 the hint is the next return exactly, inside a path.
    closes = np.log(np.asarray(market.close, np.float64)).reshape(3, 40, 2)
    hints = np.asarray(market.features)[..., 0].reshape(3, 40, 2)
    inside = np.corrcoef(np.diff(closes, axis=1).ravel(), hints[:, :-1].ravel())[0, 1]
    assert inside > 0.99
    np.testing.assert_array_equal(market.path_end, np.repeat([39, 79, 119], 40))
    np.testing.assert_allclose(market.open[[0, 40, 80]], 100, rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "recipe", [Persistent(2, 1.0, 0.9), Lag(2, 1.0), Regimes(2, 1.0, "b")], ids=lambda x: type(x).__name__
)
def test_hints_of_every_kind_stay_on_their_paths(recipe):
    market = HintedDraw(recipe, num_bars=100, num_paths=3).stream(jax.random.key(0)).first()
    np.testing.assert_array_equal(market.path_end, np.repeat([99, 199, 299], 100))
    np.testing.assert_allclose(market.open[[0, 100, 200]], 100, rtol=1e-6)
    assert market.feature_names[0] == "signal_hint" and market.labels.notes == (recipe.note,)
    hint = np.asarray(market.features[..., 0], np.float64).reshape(3, 100, 2)
    returns = (
        np.diff(np.asarray(market.close, np.float64).reshape(3, 100, 2), axis=1)
        / np.asarray(market.close, np.float64).reshape(3, 100, 2)[:, :-1]
    )
    # With a strength of 1 nothing is left to chance but a regime's sign.
    if isinstance(recipe, Lag):
        told, returns = (hint[:, 40:-1] + hint[:, :-41]) / np.sqrt(2), np.roll(returns, -20, axis=1)[:, 40:]
        told, returns = told[:, :-20], returns[:, :-20]
    else:
        told = hint[:, :-1]
    expected = 0.01 * np.abs(told) if isinstance(recipe, Regimes) else 0.01 * told
    np.testing.assert_allclose(np.abs(returns) if isinstance(recipe, Regimes) else returns, expected, atol=2e-6)
    again = HintedDraw(recipe, num_bars=100, num_paths=3).stream(jax.random.key(0)).number(1)
    assert not np.array_equal(again.close, market.close) and again.features.shape == market.features.shape


@pytest.mark.thorough
def test_a_drawn_edge_is_a_fixed_one_with_other_keys():
    """Inside the compiled program too: the same bars as without an edge where it is 0, and the hint among features."""
    spec = MarketSpec(2, 60, 3, "minimal")
    plain, silent, edged = (
        SyntheticSampler(dataclasses.replace(spec, edge=edge)).stream(jax.random.key(5)).first()
        for edge in (None, 0.0, 0.5)
    )
    for name in (*PRICES, "volume", "spread_scale"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(silent, name), err_msg=name)
    names = plain.feature_names
    assert silent.feature_names == edged.feature_names == (*names[:-2], "signal_hint", *names[-2:])
    assert edged.features.shape == (180, 2, len(names) + 1) and not np.array_equal(edged.close, plain.close)
    np.testing.assert_array_equal(edged.features[..., -3], silent.features[..., -3])
    assert "tells nothing (edge 0)" in silent.notes[0] and "adds 0.5 of" in edged.notes[0]
    assert edged.labels.hint is None, "usual volatilities are drawn with each market"
    named = MarketSpec(2, 60, 3, ("log_return_1", "signal_hint"), edge=0.5)
    assert named.column_names == ("log_return_1", "signal_hint", *names[-2:])


@pytest.mark.thorough
def test_an_edge_is_refreshed():
    config = DataConfig("synthetic:2", features="minimal", bank_paths=2, bank_bars=60, edge=0.1)
    data = read_training(config, refresh=True)
    assert "signal_hint" in data.market.feature_names and data.held_out.feature_names == data.market.feature_names
    assert data.held_out.labels.hint.kind == "edge" and data.market.num_bars == 120
    lasting = read_training(DataConfig("planted_persistent:2", bank_paths=2, bank_bars=60), refresh=True)
    assert lasting.market.feature_names == lasting.held_out.feature_names and lasting.market.num_bars == 120


def write_csv(path, panel):
    lines = ["date,ticker,open,high,low,close,volume"]
    for t, day in enumerate(panel.times.astype("datetime64[D]")):
        for a, symbol in enumerate(panel.symbols):
            numbers = (getattr(panel, name)[t, a] for name in (*PRICES, "volume"))
            lines.append(",".join([str(day), symbol, *(f"{x:.6f}" for x in numbers)]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.slow
def test_only_training_bars_are_resampled_or_stressed(make_panel, tmp_path, monkeypatch):
    panel = make_panel(num_bars=200, num_assets=2)
    file = write_csv(tmp_path / "bars.csv", panel)
    common = {"features": "minimal", "bank_paths": 2, "bank_bars": 60, "feature_cache": False}
    plain = read_training(DataConfig(file, **common))
    assert plain.draw is None and plain.num_paths == 1 and plain.market.num_bars == 160
    drawn = read_training(DataConfig("bootstrap:" + file, **common))
    assert drawn.market.num_bars == 120 and drawn.draw.source.num_sessions == 159
    assert drawn.market.times[-1] == plain.market.times[-1]
    stressed = read_training(DataConfig(file, stress_prob=0.3, **common))
    assert stressed.stressed_from == 160 and stressed.market.num_bars == 5 * 160
    for data in (drawn, stressed):
        np.testing.assert_array_equal(data.held_out.features, plain.held_out.features)
        np.testing.assert_array_equal(data.held_out.close, plain.held_out.close)
        np.testing.assert_array_equal(data.held_out.times, plain.held_out.times)
        assert data.held_out.spread_scale is None
    with pytest.raises(ValueError, match="planted data cannot be stressed"):
        read_training(DataConfig("planted:2", stress_prob=0.1))
    with pytest.raises(ValueError, match="stress_prob=1.5 must lie in"):
        DataConfig(file, stress_prob=1.5)
    with pytest.raises(ValueError, match="names no file; write bootstrap:FILE"):
        DataConfig("bootstrap:")
    with pytest.raises(ValueError, match="bank_paths=0 and block_sessions=20.0 must be at least 1"):
        DataConfig(file, bank_paths=0)


@pytest.mark.slow
def test_made_markets_are_stressed_in_part():
    config = DataConfig("synthetic:4", features="minimal", bank_paths=8, bank_bars=120, stress_prob=0.5)
    data = read_training(config, refresh=True)
    market = data.market
    assert data.num_paths == 8 and market.num_bars == 960 and market.features.shape[1:] == (4, 7)
    plain = read_training(DataConfig("synthetic:4", features="minimal", bank_paths=8, bank_bars=120), refresh=True)
    same = np.all([getattr(market, n) == getattr(plain.market, n) for n in (*PRICES, "volume")], axis=0)
    same &= market.spread_scale == plain.market.spread_scale
    paths = same.reshape(8, 120, 4).all(axis=(1, 2))
    assert 1 <= paths.sum() <= 7
    assert plain.market.delisted is None and data.held_out.symbols == market.symbols


@pytest.mark.thorough
def test_random_tickers_for_each_path_and_all_of_them_held_out(make_panel, tmp_path):
    """The first market and a refreshed one, in their shapes; an agent of them acts on all tickers held out."""
    file = write_csv(tmp_path / "bars.csv", make_panel(num_bars=150, num_assets=4))
    sizes = {"features": "minimal", "bank_paths": 3, "bank_bars": 60, "feature_cache": False}
    data = read_training(DataConfig("bootstrap:" + file, path_tickers=2, volatility_jitter=0.3, **sizes))
    market, held_out = data.market, data.held_out
    assert market.num_assets == 2 and market.symbols == ("any-1", "any-2") and market.features.shape[0] == 180
    assert held_out.num_assets == 4 and held_out.symbols == ("T0", "T1", "T2", "T3")
    assert (with_sectors(market).sector == NO_SECTOR).all(), "columns of several tickers are no clusters"
    assert data.draw.number(1).close.shape == market.close.shape

    env = TradingEnv(EnvConfig(episode_length=16))
    policy = PolicyConfig(hidden=(8,))
    settings = TrainConfig(
        num_envs=4,
        rollout_length=8,
        num_minibatches=1,
        total_timesteps=64,
        market_refresh=1,
        policy=policy,
    )
    agent = train(settings, market, env, draw=data.draw)
    assert agent.symbols == () and set(agent.sectors) == {NO_SECTOR}
    agent.check_market(held_out)
    assert agent.known_tickers(held_out.symbols) == list(held_out.symbols) and not agent.missing_tickers(["X"])
    sectored = held_out.replace(sector=np.array([0, 1, 2, 2], np.int32))
    assert (agent.with_own_sectors(sectored).sector == NO_SECTOR).all(), "it never saw a sector"
    assert len(backtest(agent, sectored).symbols) == 4
    flat = dataclasses.replace(settings, policy=PolicyConfig(torso="flat", hidden=(8,)))
    with pytest.raises(ValueError, match="policy.torso='flat' is bound to its assets, and path_tickers"):
        train(flat, market, env, draw=data.draw)
    with pytest.raises(ValueError, match=r"path_tickers=5 must lie in \[1, 4\]"):
        read_training(DataConfig("bootstrap:" + file, path_tickers=5, **sizes))


@pytest.mark.thorough
def test_a_synthetic_market_that_is_made_once_has_no_jitter():
    with pytest.raises(ValueError, match="volatility_jitter=0.3: this market is made once"):
        read_training(DataConfig("synthetic:2", volatility_jitter=0.3))
    sizes = {"features": "minimal", "bank_paths": 2, "bank_bars": 60}
    plain, scaled = (
        read_training(DataConfig("synthetic:2", **sizes, volatility_jitter=jitter), refresh=True)
        for jitter in (None, 0.3)
    )
    assert not np.array_equal(plain.market.close, scaled.market.close)
    np.testing.assert_array_equal(plain.held_out.close, scaled.held_out.close)
