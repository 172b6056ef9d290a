"""Columns of sectors: GICS by name, others in order, groups of assets that move together."""

import numpy as np

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.sectors import GICS_SECTORS, NO_SECTOR, NUM_SECTORS, cluster_columns, sector_columns


def make_panel(returns, sectors):
    """Return a panel whose closes follow `[T, A]` log returns."""
    close = 50 * np.exp(np.cumsum(returns, axis=0))
    num_bars, num_assets = close.shape
    times = np.datetime64("2020-01-01") + np.arange(num_bars)
    return Panel(
        **dict.fromkeys(("open", "high", "low", "close"), close),
        volume=np.full(close.shape, 1e6),
        tradable=np.ones(close.shape, bool),
        sessions=times.astype(np.int32),
        labels=Labels(tuple(f"A{i}" for i in range(num_assets)), sectors, times.astype("datetime64[ns]")),
    )


def test_names_have_their_places():
    names = ("Utilities", UNKNOWN_SECTOR, "Energy", "Utilities", "Coins", "Art", "Coins")
    expected = [GICS_SECTORS.index("Utilities"), NO_SECTOR, GICS_SECTORS.index("Energy"), 10, 1, 0, 1]
    assert sector_columns(names).tolist() == expected
    many = sector_columns(tuple(f"name {i:02d}" for i in range(25)))
    assert many.min() == 0 and many.max() == NUM_SECTORS - 1


def test_a_market_knows_its_sectors_and_a_window_keeps_them():
    panel = make_panel(np.zeros((6, 3)), ("Energy", UNKNOWN_SECTOR, "Materials"))
    market = build_market(panel, "minimal")
    assert market.sector.tolist() == market.window(2, 4).sector.tolist() == [3, NO_SECTOR, 8]


def test_assets_that_move_together_are_one_group():
    rng = np.random.default_rng(0)
    num_groups, num_bars = 4, 300
    group = np.repeat(np.arange(num_groups), [9, 7, 5, 3])
    returns = rng.normal(0, 0.01, (num_bars, num_groups))[:, group] + rng.normal(0, 0.001, (num_bars, len(group)))
    returns[:, -1] = 0.0
    order = rng.permutation(len(group))
    panel = make_panel(returns[:, order], (UNKNOWN_SECTOR,) * len(group))
    split = np.where(np.arange(num_bars)[:, None] == 100, 4.0, np.ones((num_bars, len(group))))
    split[100, ::2] = 0.1  # a split is no return
    prices = {n: getattr(panel, n) / np.cumprod(split, axis=0) for n in ("open", "high", "low", "close")}
    market = build_market(panel.replace(**prices, split=split), "minimal")
    assert (np.asarray(market.sector) == NO_SECTOR).all()
    columns = cluster_columns(market)
    found = {g: set(columns[group[order] == g]) - {NO_SECTOR} for g in range(num_groups)}
    together = set().union(*found.values())
    assert sum(map(len, found.values())) == len(together), "no group holds assets of two"
    assert together == set(range(len(together))) and len(together) <= NUM_SECTORS
    assert columns[order == len(group) - 1].tolist() == [NO_SECTOR], "what never moves is in no group"


def test_one_asset_is_a_group():
    returns = np.random.default_rng(2).normal(0, 0.01, (50, 1))
    assert cluster_columns(build_market(make_panel(returns, (UNKNOWN_SECTOR,)), "minimal")).tolist() == [0]
