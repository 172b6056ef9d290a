"""Settings of bars that lie in files: what they go with, and what they do not."""

import pytest

from ploutos_jax.datasets.config import DataConfig, read_panel
from ploutos_jax.market.long import length
from ploutos_jax.market.long.length import slice_length
from ploutos_jax.runs.presets import fitting
from ploutos_jax.runs.settings import parse_settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": "synthetic"}, "device_bars=100 is for Parquet files, .* 'synthetic' is made"),
        ({"data": "bootstrap:bars.parquet"}, "device_bars=100 is for Parquet files"),
        ({"spans": "2019..2020"}, "spans='2019..2020' needs all bars at once, and device_bars=100 reads a piece"),
        ({"liquid": 5}, "liquid=5 needs all bars at once"),
        ({"universe": "sp500.csv"}, "universe='sp500.csv' needs all bars at once"),
        ({"experts": ("momentum",)}, r"experts=\('momentum',\) needs all bars at once"),
        ({"stress_prob": 0.5}, "stress_prob=0.5 needs all bars at once"),
        ({"device_bars": 1}, r"device_bars=1 must be a whole number in \[2, 1e9\]"),
        ({"device_bars": "most"}, "device_bars='most' must be a whole number"),
    ],
)
def test_what_needs_all_bars_is_refused_with_what_to_leave_out(settings, said):
    with pytest.raises(ValueError, match=said):
        DataConfig(**({"data": "bars.parquet", "device_bars": 100} | settings))


def test_other_commands_say_that_they_need_all_bars():
    with pytest.raises(ValueError, match=r"device_bars=auto: this needs all bars at once.*\(train\).*\(evaluate\)"):
        read_panel(DataConfig(data="bars.parquet", device_bars="auto"))


def test_the_flag_is_a_number_or_auto_and_leaves_the_forecast_out():
    words = ["--data", "bars.parquet", "--device-bars"]
    assert parse_settings([*words, "4096"]).data.device_bars == 4096
    settings = parse_settings([*words, "auto"])
    assert settings.data.device_bars == "auto" and settings.train.policy.forecast == "none"
    assert parse_settings(words[:2]).train.policy.forecast == "only"
    assert "forecast" not in fitting("default", {"device_bars": "64"})["train"]["policy"]


def test_auto_is_an_eighth_of_the_device_or_of_what_is_free(monkeypatch):
    monkeypatch.setattr(length, "free_memory", lambda: 8 * 2**20)
    assert slice_length("auto", 10**6, 1024) == 1024
    monkeypatch.setattr(length, "free_memory", lambda: 2**50)
    assert slice_length("auto", 10**9, 1024) == 2**20, "1 GiB at most"
    assert slice_length("auto", 5_000, 1024) is None and slice_length(5_000, 5_000, 1) is None
    assert slice_length(4_999, 5_000, 1) == 4_999
    monkeypatch.setattr(length.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(length, "device_bytes", lambda: 80 * 2**30)
    assert slice_length("auto", 10**9, 2**20) == 10 * 2**10
