"""The feature cache: what it finds again, what it does not take for the same, and what it does not trust."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.datasets import config as data_config
from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features import cache
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.cache import cached_features, default_folder, fingerprint
from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.features.compute import compute_features

SOME = tuple(feature for feature in FEATURES if feature.name in ("log_return_1", "rsi_14"))


@pytest.fixture
def counted(monkeypatch):
    """Keep tables of any size; return a list that grows by 1 with each table computed."""
    calls = []

    def compute(*args):
        calls.append(args)
        return compute_features(*args)

    monkeypatch.setattr(cache, "MIN_BYTES", 0)
    monkeypatch.setattr(cache, "compute_features", compute)
    return calls


@pytest.fixture
def entry(ragged, counted, tmp_path):
    """The one entry of a folder."""
    cached_features(ragged, SOME, 1, tmp_path)
    counted.clear()
    (path,) = tmp_path.iterdir()
    return path


@pytest.fixture(scope="module")
def truth(ragged):
    return np.asarray(compute_features(total_return(ragged), SOME))


def test_a_table_is_computed_once(ragged, counted, tmp_path, truth):
    folder = tmp_path / "not" / "there yet"
    for _ in range(3):
        table = cached_features(ragged, SOME, 1, folder)
        assert isinstance(table, jax.Array)
        np.testing.assert_array_equal(table, truth)
    assert len(counted) == 1
    assert len(list(folder.iterdir())) == 1


def changed(panel):
    close = panel.close.copy()
    close[7, 0] = np.nextafter(close[7, 0], np.inf)
    split = panel.split.copy()
    split[3, 1] = 2.0
    return {
        "one bit of a close": panel.replace(close=close),
        "a split": panel.replace(split=split),
        "no dividends": panel.replace(dividend=None),
        "another session": panel.replace(sessions=panel.sessions + (np.arange(panel.num_bars) > 300).astype(np.int32)),
        "single precision": panel.replace(volume=panel.volume.astype(np.float32)),
        "fewer bars": panel.window(0, 200),
    }


def test_everything_that_decides_is_in_the_fingerprint(ragged, monkeypatch):
    keys = [fingerprint(panel, SOME) for panel in (ragged, *changed(ragged).values())]
    keys += [fingerprint(ragged, SOME[::-1]), fingerprint(ragged, SOME[:1]), fingerprint(ragged, SOME, 2)]
    with jax.enable_x64(True):
        keys.append(fingerprint(ragged, SOME))
    monkeypatch.setattr(jax, "__version__", "99.0")
    keys.append(fingerprint(ragged, SOME))
    monkeypatch.setattr(cache, "code_version", lambda: "another")
    keys.append(fingerprint(ragged, SOME))
    assert len(set(keys)) == len(keys)


def test_labels_and_signals_do_not_decide(ragged):
    other = ragged.replace(signals={"news": ragged.close})
    assert fingerprint(other, SOME) == fingerprint(ragged, SOME)


def test_the_version_of_the_code_follows_its_source(tmp_path, monkeypatch):
    (tmp_path / "features" / "definitions").mkdir(parents=True)
    versions = []
    for text in ("one", "two", "one"):
        (tmp_path / "features" / "definitions" / "trend.py").write_text(text)
        monkeypatch.setattr(cache, "_MARKET", tmp_path)
        cache.code_version.cache_clear()
        versions.append(cache.code_version())
    cache.code_version.cache_clear()
    assert versions[0] == versions[2] != versions[1]
    monkeypatch.undo()
    assert cache.code_version() not in versions
    patterns = [list(cache._MARKET.glob(pattern)) for pattern in cache._SOURCES]
    assert all(patterns), "each names files that exist"


def flip(content: bytes, place: float) -> bytes:
    i = int(place * (len(content) - 1))
    return content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[:-100],
    "cut in half": lambda content: content[: len(content) // 2],
    "something else": lambda content: b"date,ticker,close\n" * 100,
    **{f"a bit at {place:.0%}": lambda content, p=place: flip(content, p) for place in (0.02, 0.1, 0.5, 0.9)},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_made_anew(kind, entry, ragged, counted, truth):
    entry.write_bytes(DAMAGE[kind](entry.read_bytes()))
    np.testing.assert_array_equal(cached_features(ragged, SOME, 1, entry.parent), truth)
    assert len(counted) == 1
    np.testing.assert_array_equal(cached_features(ragged, SOME, 1, entry.parent), truth)
    assert len(counted) == 1, "the new entry is found again"


def test_no_single_flipped_bit_is_believed(entry, ragged, counted, truth):
    content = entry.read_bytes()
    for place in np.linspace(0, 1, 120):
        entry.write_bytes(flip(content, place))
        np.testing.assert_array_equal(cached_features(ragged, SOME, 1, entry.parent), truth)


@pytest.mark.parametrize("key", ["", "another"])
def test_an_entry_of_other_data_under_this_name_is_made_anew(key, entry, ragged, counted, truth):
    np.savez(entry, key=np.array(key), table=truth + 1)
    np.testing.assert_array_equal(cached_features(ragged, SOME, 1, entry.parent), truth)
    assert len(counted) == 1


@pytest.mark.parametrize("wrong", [lambda x: x[:-1], lambda x: x.astype(np.float64), lambda x: x.astype(object)])
def test_a_table_of_another_form_is_made_anew(wrong, entry, ragged, counted, truth):
    np.savez(entry, key=np.array(fingerprint(ragged, SOME)), table=wrong(truth))
    np.testing.assert_array_equal(cached_features(ragged, SOME, 1, entry.parent), truth)
    assert len(counted) == 1


def test_an_interrupted_write_leaves_nothing(ragged, counted, tmp_path, monkeypatch):
    def interrupt(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_features(ragged, SOME, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(ragged, counted, tmp_path, truth):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="could not be kept"):
        table = cached_features(ragged, SOME, 1, tmp_path / "file")
    np.testing.assert_array_equal(table, truth)


def test_old_entries_make_room(ragged, entry, counted, monkeypatch):
    monkeypatch.setattr(cache, "MAX_BYTES", 2.5 * entry.stat().st_size)
    folder = entry.parent
    abandoned, foreign = folder / "features-x.part", folder / "notes.txt"
    for i, name in enumerate((abandoned, foreign)):
        name.write_text("")
        cache.os.utime(name, (i, i))
    panels = list(changed(ragged).values())
    cache.os.utime(entry, (1000, 1000))
    cached_features(panels[0], SOME, 1, folder)
    assert entry.exists() and not abandoned.exists() and foreign.exists()
    cached_features(panels[1], SOME, 1, folder)
    assert not entry.exists(), "the one not used for longest goes first"
    assert len(list(folder.glob("features-*.npz"))) == 2


def test_small_tables_are_not_kept(ragged, tmp_path, truth):
    np.testing.assert_array_equal(cached_features(ragged, SOME, 1, tmp_path), truth)
    assert list(tmp_path.iterdir()) == []


def test_a_market_by_way_of_the_cache(ragged, counted, tmp_path):
    def own(panel):
        return panel.close

    ragged = ragged.replace(signals={"news": ragged.close})
    features = ["rsi_14", own, "log_return_1"]
    plain = build_market(ragged, features)
    for _ in range(2):
        market = build_market(ragged, features, cache=tmp_path)
        assert market.feature_names == plain.feature_names
        np.testing.assert_array_equal(market.features, plain.features)
    assert len(counted) == 1


@pytest.mark.parametrize("is_on", [True, False])
def test_the_setting_decides(is_on, counted, tmp_path, monkeypatch, make_panel):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(data_config, "read_panel", lambda config: make_panel(num_bars=40))
    assert default_folder() == tmp_path / "ploutos_jax" / "features"
    config = dataclasses.replace(data_config.DataConfig(features="minimal"), feature_cache=is_on)
    market = data_config.read_market(config)
    assert len(counted) == is_on == default_folder().is_dir()
    np.testing.assert_array_equal(data_config.read_market(config).features, market.features)
    assert len(counted) == is_on
