"""What may be asked of which kind of data: an edge of made bars, variety of drawn ones, experts."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ploutos_jax.market.experts.table import EXPERTS
from ploutos_jax.market.synthetic.edge import check_edge


class Made(Protocol):
    """What of a `DataConfig` says how bars are made or drawn."""

    @property
    def data(self) -> str: ...
    @property
    def edge(self) -> float | None: ...
    @property
    def stress_prob(self) -> float: ...
    @property
    def path_tickers(self) -> int | None: ...
    @property
    def volatility_jitter(self) -> float | None: ...
    @property
    def is_synthetic(self) -> bool: ...
    @property
    def is_bootstrap(self) -> bool: ...


def check_edge_of(config: Made) -> None:
    """Raise ValueError unless an edge is asked for of a market that can have one."""
    if config.edge is None:
        return
    check_edge(config.edge)
    if not config.is_synthetic:
        raise ValueError(
            f"edge={config.edge} is for --data synthetic, whose returns are made; {config.data!r} has its own."
        )
    if config.stress_prob:
        raise ValueError(
            f"edge={config.edge} with stress_prob={config.stress_prob}: a shock is not in the hint, which would then"
            " tell something else than it says; leave one of them out."
        )


def check_draws(config: Made) -> None:
    """Raise ValueError unless what varies from path to path is asked for of paths that are drawn."""
    if config.path_tickers is not None and not config.is_bootstrap:
        raise ValueError(
            f"path_tickers={config.path_tickers} is for --data bootstrap:FILE, whose paths are drawn from its tickers;"
            f" {config.data!r} has the same ones throughout."
        )
    if config.volatility_jitter is not None and not (config.is_bootstrap or config.is_synthetic):
        raise ValueError(
            f"volatility_jitter={config.volatility_jitter} is for paths that are drawn: --data bootstrap:FILE, or"
            f" synthetic with market_refresh; {config.data!r} stays as it is."
        )


class Long(Made, Protocol):
    """What of a `DataConfig` may not be asked of bars that are read a piece at a time."""

    @property
    def device_bars(self) -> Any: ...
    @property
    def file(self) -> Path | None: ...
    @property
    def spans(self) -> str | None: ...
    @property
    def liquid(self) -> int | None: ...
    @property
    def universe(self) -> str | None: ...
    @property
    def experts(self) -> tuple[str, ...]: ...


def check_long(config: Long) -> None:
    """Raise ValueError unless bars that are read a piece at a time are of files, and nothing needs all of them."""
    if config.device_bars is None:
        return
    if config.file is None or config.is_bootstrap:
        raise ValueError(
            f"device_bars={config.device_bars} is for Parquet files, which are read a piece at a time;"
            f" {config.data!r} is made, or resampled, as a whole."
        )
    for name in ("spans", "liquid", "universe", "experts", "stress_prob"):
        if value := getattr(config, name):
            raise ValueError(
                f"{name}={value!r} needs all bars at once, and device_bars={config.device_bars} reads a piece at a"
                " time; leave one of them out."
            )


def read_experts(given: Sequence[str]) -> tuple[str, ...]:
    """Return the names of experts, which may be joined by commas.

    Raises:
        ValueError: if one is unknown or named twice.
    """
    names = tuple(name.strip() for part in given for name in part.split(",") if name.strip())
    for name in names:
        if name not in EXPERTS:
            near = difflib.get_close_matches(name, EXPERTS, n=1, cutoff=0)[0]
            raise ValueError(f"experts: {name!r} is unknown; did you mean {near!r}? There are {', '.join(EXPERTS)}.")
    if len(set(names)) < len(names):
        raise ValueError(f"experts={','.join(names)} names one twice; name each once.")
    return names
