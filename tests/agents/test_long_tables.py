"""What reads a table as large as a history: a part at a time, with the result of all at once."""

import hashlib

import numpy as np

from ploutos_jax.agents import checksum, scaling


def test_a_sample_of_a_table_is_that_of_the_values_laid_out_at_once(monkeypatch, tmp_path):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(400, 5, 3)).astype(np.float32)
    mask = rng.random((400, 5)) > 0.4
    file = np.lib.format.open_memmap(tmp_path / "features.npy", mode="w+", dtype=np.float32, shape=features.shape)
    file[:] = features
    monkeypatch.setattr(scaling, "_MAX_FIT_VALUES", 300)
    values = features[mask]
    drawn = values[np.random.default_rng(0).integers(0, len(values), 300)]
    low, centre, high = np.percentile(drawn, [15.865525, 50, 84.134475], axis=0)
    for table in (features, file):
        fitted = scaling.fit_features(table, mask)
        np.testing.assert_array_equal(fitted.centre, centre.astype(np.float32))
        np.testing.assert_array_equal(fitted.spread, ((high - low) / 2).astype(np.float32))


def test_a_digest_does_not_depend_on_how_much_is_read_at_a_time(monkeypatch, tmp_path):
    numbers = np.arange(1000, dtype=np.float32).reshape(50, 20)
    file = np.lib.format.open_memmap(tmp_path / "numbers.npy", mode="w+", dtype=np.float32, shape=numbers.shape)
    file[:] = numbers
    known = hashlib.sha256(b"['x'] float32 (50, 20);" + numbers.tobytes()).hexdigest()
    for at_once in (7, 2**20):
        monkeypatch.setattr(checksum, "_AT_ONCE", at_once)
        assert checksum.digest_of({"x": numbers}) == checksum.digest_of({"x": file}) == known
