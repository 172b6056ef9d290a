"""Sectors as columns: the 11 of GICS, others by name, or groups of assets that move together."""

import numpy as np

from ploutos_jax.market.labels import UNKNOWN_SECTOR
from ploutos_jax.market.panel import Market

GICS_SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)

NUM_SECTORS = len(GICS_SECTORS)
"""Sectors that an observation tells apart."""

NO_SECTOR = -1


def sector_columns(names: tuple[str, ...]) -> np.ndarray:
    """Return the column 0..10 of each asset's sector, `NO_SECTOR` where it is not known; `[A]` int32.

    Names of GICS have places of their own. Other names take the places 0..10 in alphabetical order, and share them
    where there are more than 11.
    """
    others = sorted(set(names) - set(GICS_SECTORS) - {UNKNOWN_SECTOR, ""})
    places = {name: place % NUM_SECTORS for place, name in enumerate(others)}
    places |= {name: place for place, name in enumerate(GICS_SECTORS)} | {UNKNOWN_SECTOR: NO_SECTOR, "": NO_SECTOR}
    return np.array([places[name] for name in names], np.int32)


def cluster_columns(market: Market) -> np.ndarray:
    """Return up to 11 groups of assets whose returns in this market move together; `[A]` int32, largest group first.

    Average-linkage clusters of `1 - correlation` of daily log returns; an asset without returns is in no group. Call
    it on training rows only.
    """
    close = np.asarray(market.close, np.float64)
    traded = np.asarray(market.tradable)
    known = traded[1:] & traded[:-1] & (close[:-1] > 0)
    ratio = np.where(known, close[1:], 1) / np.where(known, close[:-1], 1)
    returns = np.log(ratio)
    if market.split is not None:
        returns = returns + np.where(known, np.log(np.asarray(market.split, np.float64)[1:]), 0)
    columns = np.full(close.shape[1], NO_SECTOR, np.int32)
    (moving,) = np.nonzero(returns.std(axis=0) > 0)
    if moving.size < 2:
        columns[moving] = 0
        return columns
    # Of use to no other part of training, and slow to load.
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = 1 - np.corrcoef(returns[:, moving].T)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(np.clip((distance + distance.T) / 2, 0, 2), checks=False), "average")
    groups = fcluster(tree, NUM_SECTORS, "maxclust")
    names, sizes = np.unique(groups, return_counts=True)
    rank = {name: place for place, name in enumerate(names[np.lexsort((names, -sizes))])}
    columns[moving] = [rank[group] for group in groups]
    return columns


def with_sectors(market: Market) -> Market:
    """Return a training market; where no sector is known, groups of assets that moved together stand for them.

    Columns that hold another asset on each path move together with nothing: their sectors stay unknown.
    """
    if market.labels is not None and market.labels.are_places:
        return market
    if market.sector is not None and (np.asarray(market.sector) != NO_SECTOR).any():
        return market
    return market.replace(sector=cluster_columns(market))
