"""Stores: what is computed a piece at a time is what is computed at once."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from ploutos_jax.datasets.long import load_long_market
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURES as CATALOGUE
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.long import make, store
from ploutos_jax.market.long.mapped import release
from ploutos_jax.market.long.session import SessionClock
from tests.market.long.worlds import FEATURES, TICKERS, minutes, write_days

WARM_UP, PIECE = 700, 1300
"""As 2,048 bars and 4 million cells are for larger ones; features of this world have forgotten all by then."""


def small_pieces(patch: pytest.MonkeyPatch, *, warm_up: int = WARM_UP) -> None:
    patch.setattr(make, "WARM_UP", warm_up)
    patch.setattr(make, "_SETTLED", 0)
    patch.setattr(make, "_PIECE_CELLS", (PIECE + warm_up) * len(TICKERS))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder, its market in memory, and the same from pieces."""
    base = tmp_path_factory.mktemp("long")
    folder, said = write_days(minutes(), base / "bars"), []
    whole = build_market(load_panel(folder), FEATURES)
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        arguments = {"device_bars": 500, "cache": base / "cache" / "features", "tell": said.append}
        market = load_long_market(folder, FEATURES, **arguments)
        again = load_long_market(folder, FEATURES, **arguments | {"device_bars": 900})
    return SimpleNamespace(base=base, folder=folder, whole=whole, market=market, again=again, said=said)


pytestmark = pytest.mark.thorough


def assert_equal(market, whole):
    named = {field.name for field in dataclasses.fields(whole)} - {"labels", "feature_names", "lead"}
    for name in sorted(named):
        mine, others = getattr(market, name), getattr(whole, name)
        assert (mine is None) == (others is None), name
        if others is not None:
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(others), err_msg=name)
    assert market.feature_names == whole.feature_names
    ours, theirs = market.labels, whole.labels
    for name in ("symbols", "sectors", "calendar", "instruments", "adjusted"):
        assert getattr(ours, name) == getattr(theirs, name), name
    np.testing.assert_array_equal(ours.times, theirs.times)


def test_pieces_are_the_whole_to_the_bit(world):
    assert world.market.num_bars > 3 * PIECE
    assert_equal(world.market, world.whole)
    assert sum("Features of bars" in line for line in world.said) == -(-world.market.num_bars // PIECE)
    assert world.market.delisted is not None and np.asarray(world.market.delisted).sum() == 1
    assert np.isinf(np.asarray(world.market.volume)[:, TICKERS.index("DDD")]).any()


def test_a_store_is_made_once_and_mapped(world):
    assert sum("Reading the dates" in line for line in world.said) == 1
    assert isinstance(world.market.features, np.memmap) and isinstance(world.market.window(10, 20).close, np.memmap)
    assert (world.market.labels.device_bars, world.again.labels.device_bars) == (500, 900)
    before = np.array(world.market.close[100:200])
    release(world.market)
    np.testing.assert_array_equal(world.market.close[100:200], before)


def test_another_choice_of_features_or_files_is_another_store(world):
    def number():
        return len(list((world.base / "cache" / "long").iterdir()))

    before = number()
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        load_long_market(world.folder, FEATURES[:2], cache=world.base / "cache" / "features")
        assert number() == before + 1
        market = load_long_market(
            world.folder, FEATURES[:2], tickers=["CCC", "AAA"], cache=world.base / "cache" / "features"
        )
    assert number() == before + 2 and market.symbols == ("CCC", "AAA")
    assert_equal(market, build_market(load_panel(world.folder, tickers=["CCC", "AAA"]), FEATURES[:2]))


def test_a_history_of_one_piece_is_that_of_memory(world, tmp_path):
    folder = write_days(minutes(num_days=8), tmp_path / "bars")
    market = load_long_market(folder, FEATURES, device_bars=100, cache=tmp_path / "features")
    assert_equal(market, build_market(load_panel(folder), FEATURES))


def test_a_ticker_with_too_few_bars_before_a_piece_is_named(tmp_path):
    frame = minutes()
    rare = frame[(frame["ticker"] != "AAA") | (np.arange(len(frame)) % 40 == 0)]
    folder = write_days(rare, tmp_path / "bars")
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        patch.setattr(make, "_SETTLED", 400)
        market = load_long_market(folder, FEATURES, cache=tmp_path / "features")
    [note] = [note for note in market.notes if "few bars among the" in note]
    assert note.startswith("1 ticker") and "AAA" in note


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    folder = write_days(minutes(num_days=5), tmp_path / "bars")
    monkeypatch.setattr(store, "_SPARE", 2**62)
    with pytest.raises(ValueError, match=r"The features of these bars take .* GiB in .*, which has .* GiB left"):
        load_long_market(folder, FEATURES, cache=tmp_path / "features")
    assert not list((tmp_path / "long").iterdir())


def test_what_would_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    folder = write_days(minutes(num_days=5), tmp_path / "bars")
    monkeypatch.setattr(make, "free_memory", lambda: 2**20)
    with pytest.raises(ValueError, match=r"features of 3 tickers takes about .* GiB of memory at a time"):
        load_long_market(folder, FEATURES, cache=tmp_path / "features")


@pytest.mark.slow
def test_every_feature_of_the_catalogue_forgets_what_lies_before_the_warm_up(tmp_path):
    names = tuple(feature.name for feature in CATALOGUE)
    frame = minutes(num_days=55)
    folder = write_days(frame, tmp_path / "bars")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "_PIECE_CELLS", 2 * make.WARM_UP * len(TICKERS))
        market = load_long_market(folder, names, cache=tmp_path / "features")
    assert market.num_bars > 3 * make.WARM_UP
    whole = build_market(load_panel(folder), names)
    np.testing.assert_array_equal(np.asarray(market.features), np.asarray(whole.features))


def test_the_clock_of_sessions_is_the_feature(world):
    whole = build_market(load_panel(world.folder), ["session_progress"])
    known = np.asarray(whole.features[..., -1]) > 0
    sessions = np.asarray(whole.sessions)
    clock, parts = SessionClock.begin(whole.num_assets), []
    for rows in (slice(0, 777), slice(777, 3000), slice(3000, None)):
        parts.append(clock.progress(known[rows], sessions[rows]))
    np.testing.assert_array_equal(np.concatenate(parts), np.asarray(whole.features[..., 0]))


def test_the_whole_is_not_put_on_the_device_by_mistake(world):
    from ploutos_jax.env.config import EnvConfig
    from ploutos_jax.env.trading import TradingEnv

    env = TradingEnv(EnvConfig(episode_length=50))
    with pytest.raises(ValueError, match=r"This market has 4,800 bars, of which a device holds 500 at a time"):
        env.default_params(world.market)
    part = env.default_params(world.market.window(1000, 1400))
    assert isinstance(jax.tree.leaves(part.market)[0], jax.Array)
