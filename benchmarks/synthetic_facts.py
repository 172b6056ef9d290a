"""How real the synthetic market is: its statistics beside its reference, its intervals and the S&P 500.

python benchmarks/synthetic_facts.py                        160 paths of 5,000 days: the table
python benchmarks/synthetic_facts.py --data sp500.parquet   the same beside real bars, with the picture
python benchmarks/synthetic_facts.py --reference FILE.py    the reference drawn anew, its medians written beside this

Statistics are those of log returns, computed here with NumPy in float64: nothing of the generator's own code. A
median is held against that of an independent NumPy implementation of the same model at the same size, which agrees
when they differ by less than three standard errors (of a bootstrap over paths), and against an interval of ±15 %, or
of the 5th to the 95th percentile of the model's paths for numbers near 0.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from ploutos_jax.market.synthetic.generate import draw_path
from ploutos_jax.market.synthetic.params import SyntheticParams
from ploutos_jax.market.synthetic.returns import market_returns

HERE = Path(__file__).parent
REFERENCE = HERE / "synthetic_reference.json"
NUM_PATHS, NUM_DAYS, NUM_ASSETS = 160, 5000, 22
LAGS = (1, 5, 20, 50, 100)
NUM_SECTORS = 11
Returns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Market `[P, T]`, assets `[P, T, A]` and regime `[P, T]`."""

# Median and 5th and 95th percentile of the model's paths (finance specification, section I).
SPECIFIED: dict[str, tuple[float, float, float]] = {
    "annual volatility %": (13.9, 16.9, 21.1),
    "annual drift %": (0.4, 6.5, 12.3),
    "skew": (-1.13, -0.39, 0.12),
    "excess kurtosis": (4.6, 10.1, 24),
    "autocorrelation 1": (-0.04, 0.0, 0.04),
    "|r| lag 1": (0.23, 0.31, 0.39),
    "|r| lag 5": (0.20, 0.28, 0.36),
    "|r| lag 20": (0.12, 0.19, 0.27),
    "|r| lag 50": (0.05, 0.10, 0.16),
    "|r| lag 100": (-0.02, 0.04, 0.09),
    "leverage lag 1": (-0.13, -0.07, -0.01),
    "20-day excess kurtosis": (1.5, 5.4, 19),
    "20-day skew": (-3, -1.2, -0.2),
    "Hill, left 5 %": (2.0, 2.4, 2.7),
    "max drawdown %": (-77, -48, -31),
}
MEDIANS: dict[str, float] = {
    "stock: annual volatility %": 28.6,
    "stock: excess kurtosis": 7.4,
    "stock: |r| lag 1": 0.17,
    "correlation across sectors": 0.34,
    "correlation within sectors": 0.43,
    "share of first eigenvalue": 0.385,
    "correlation in crisis": 0.51,
    "correlation in calm": 0.22,
}


def facts_of(r: np.ndarray) -> dict[str, float]:
    """Return the statistics of one series of daily log returns `[T]`."""
    r = np.asarray(r, np.float64)
    size, blocks = np.abs(r), r[: len(r) // 20 * 20].reshape(-1, 20).sum(axis=1)
    equity = np.exp(np.cumsum(r))
    losses = np.sort(-r)[::-1]
    count = int(0.05 * len(r))
    return {
        "annual volatility %": r.std() * np.sqrt(252) * 100,
        "annual drift %": r.mean() * 25200,
        "skew": _moment(r, 3),
        "excess kurtosis": _moment(r, 4) - 3,
        "autocorrelation 1": autocorrelation(r, 1),
        **{f"|r| lag {lag}": autocorrelation(size, lag) for lag in LAGS},
        "leverage lag 1": float(np.corrcoef(r[:-1], r[1:] ** 2)[0, 1]),
        "leverage lag 5": float(np.corrcoef(r[:-5], r[5:] ** 2)[0, 1]),
        "20-day excess kurtosis": _moment(blocks, 4) - 3,
        "20-day skew": _moment(blocks, 3),
        "Hill, left 5 %": float(1 / np.mean(np.log(losses[:count] / losses[count]))),
        "max drawdown %": float((equity / np.maximum.accumulate(equity) - 1).min() * 100),
    }


def autocorrelation(x: np.ndarray, lag: int) -> float:
    x = x - x.mean()
    return float((x[lag:] * x[:-lag]).sum() / (x * x).sum())


def _moment(x: np.ndarray, power: int) -> float:
    return float((((x - x.mean()) / x.std()) ** power).mean())


def facts_by_path(returns: Returns) -> dict[str, np.ndarray]:
    """Return every statistic of every path, `[P]`; NaN where a path has too few days of a regime."""
    market, assets, regime = returns
    columns: dict[str, list[float]] = {}
    for m, x, s in zip(market, assets, regime, strict=True):
        x = x.astype(np.float64)
        row = facts_of(m) | {f"stock: {name}": value for name, value in facts_of(x[:, 0]).items()} | related(x)
        for name, number in (("crisis", 2), ("calm", 0)):
            days = s == number
            row[f"correlation in {name}"] = related(x[days])["correlation"] if days.sum() > 60 else np.nan
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in columns.items()}


def related(x: np.ndarray, sector: np.ndarray | None = None) -> dict[str, float]:
    """Return how assets `[T, A]` move together; sectors are dealt out in turn unless given `[A]`."""
    num_assets = x.shape[1]
    sector = np.arange(num_assets) % NUM_SECTORS if sector is None else sector
    correlation = np.corrcoef(x.T)
    pairs = np.triu_indices(num_assets, 1)
    same = sector[pairs[0]] == sector[pairs[1]]
    return {
        "correlation": float(correlation[pairs].mean()),
        "correlation across sectors": float(correlation[pairs][~same].mean()),
        "correlation within sectors": float(correlation[pairs][same].mean()),
        "share of first eigenvalue": float(np.linalg.eigvalsh(correlation)[-1] / num_assets),
    }


def draw_returns(
    key: jax.Array, num_paths: int, num_days: int, num_assets: int, params: SyntheticParams | None = None
) -> Returns:
    """Draw paths with the generator; assets' returns are those of the closes that a user gets."""
    params = params or SyntheticParams()

    @jax.jit
    def draw(keys: jax.Array) -> tuple[jax.Array, ...]:
        def one(key: jax.Array) -> tuple[jax.Array, ...]:
            days, bars = draw_path(key, params, 0.0, num_assets, num_days + 1, None)
            moves = bars.close[1:] / bars.close[:-1]
            return market_returns(params, days)[1:], moves, days.regime[1:]

        return jax.lax.map(one, keys)

    market, moves, regime = (np.asarray(x) for x in draw(jax.random.split(key, num_paths)))
    return market, np.log(moves.astype(np.float64)), regime


def spread_of_median(values: np.ndarray, draws: int = 500, seed: int = 0) -> float:
    """Return the standard error of a median over paths, by the bootstrap."""
    values = values[np.isfinite(values)]
    rows = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return float(np.median(values[rows], axis=1).std())


def neutral_momentum(assets: np.ndarray, window: int = 20) -> tuple[float, float]:
    """Return mean and standard error of the rank correlation of past and next `window`-day residual returns.

    Residuals of each path `[T, A]` are what is left of returns after the mean of the sector, scaled by each asset's
    beta to it: both taken by least squares on the assets' mean and sector means. Blocks do not overlap.
    """
    scores = []
    for x in assets:
        x = x.astype(np.float64)
        blocks = residuals(x)[: len(x) // window * window].reshape(-1, window, x.shape[1]).sum(axis=1)
        ranks = blocks.argsort(axis=1).argsort(axis=1)
        ranks = ranks - ranks.mean(axis=1, keepdims=True)
        scores.append(((ranks[1:] * ranks[:-1]).sum(axis=1) / (ranks[0] ** 2).sum()).mean())
    return float(np.mean(scores)), float(np.std(scores) / np.sqrt(len(scores)))


def residuals(x: np.ndarray) -> np.ndarray:
    """Return `[T, A]` what market and sector leave of each asset, both without the asset itself.

    With the asset in them, its residual would be tied to its peers'. The mean is left in: taken off a whole path, it
    would let the past tell of the rest.
    """
    num_assets = x.shape[1]
    sector = np.arange(num_assets) % NUM_SECTORS
    out = np.empty_like(x)
    for i in range(num_assets):
        others = np.arange(num_assets) != i
        peers = others & (sector == sector[i])
        factors = [np.ones(len(x)), x[:, others].mean(axis=1)]
        if peers.any():
            factors.append(x[:, peers].mean(axis=1))
        design = np.stack(factors, axis=1)
        slopes = np.linalg.lstsq(design, x[:, i], rcond=None)[0][1:]
        out[:, i] = x[:, i] - design[:, 1:] @ slopes
    return out


def draw_reference(file: Path, seed: int = 5) -> dict[str, dict[str, float]]:
    """Return medians and their standard errors of the independent implementation."""
    module = _load(file)
    market, assets, regime, *_ = module.sim(NUM_DAYS, NUM_PATHS, NUM_ASSETS, seed, module.P)
    facts = facts_by_path((market.T, assets.transpose(1, 0, 2), regime.T))
    return {name: {"median": float(np.nanmedian(v)), "error": spread_of_median(v)} for name, v in facts.items()}


def _load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("synthetic_market_reference", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare(facts: dict[str, np.ndarray], reference: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return the rows of the table: median, spread over paths, distance from the reference, and interval."""
    rows = []
    for name, values in facts.items():
        if name not in reference or (name.startswith("stock:") and name not in MEDIANS):
            continue
        median, error = float(np.nanmedian(values)), spread_of_median(values)
        other = reference[name]
        both = float(np.hypot(error, other["error"]))
        low, high = interval(name)
        rows.append(
            {
                "name": name,
                "median": median,
                "p5": float(np.nanpercentile(values, 5)),
                "p95": float(np.nanpercentile(values, 95)),
                "reference": other["median"],
                "errors": (median - other["median"]) / both,
                "low": low,
                "high": high,
                "agrees": abs(median - other["median"]) <= 3 * both,
                "inside": low is None or low <= median <= high,
            }
        )
    return rows


def interval(name: str) -> tuple[float | None, float | None]:
    """Return where the median has to lie: ±15 %, or the spread of paths for a number that may be 0."""
    if name in SPECIFIED:
        low, median, high = SPECIFIED[name]
        if low * high <= 0 or name.startswith(("leverage", "20-day skew", "skew", "annual drift")):
            return low, high
    elif name in MEDIANS:
        median = MEDIANS[name]
    else:
        return None, None
    low, high = sorted((0.85 * median, 1.15 * median))
    return low, high


def table(rows: list[dict[str, Any]], real: dict[str, float] | None) -> str:
    """Return the table in Markdown."""
    head = ["", "Median", "5 % to 95 % of paths", "Reference", "Standard errors apart", "Has to lie in"]
    lines = [head + (["S&P 500"] if real else [])]
    for row in rows:
        bounds = "" if row["low"] is None else f"{row['low']:.3g} … {row['high']:.3g}"
        verdict = "" if row["inside"] else " **outside**"
        cells = [
            row["name"].replace("|", "\\|"),
            f"{row['median']:.3g}",
            f"{row['p5']:.3g} … {row['p95']:.3g}",
            f"{row['reference']:.3g}",
            f"{row['errors']:+.1f}" + ("" if row["agrees"] else " **differs**"),
            bounds + verdict,
        ]
        value = None if real is None else real.get(row["name"])
        lines.append(cells + ([] if real is None else ["" if value is None else f"{value:.3g}"]))
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def real_returns(file: Path, sectors: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return total log returns `[T, A]` of tickers listed throughout, and their sectors as numbers `[A]`."""
    import pandas as pd

    bars = pd.read_parquet(file, columns=["date", "ticker", "adj_close"])
    close = bars.pivot(index="date", columns="ticker", values="adj_close").dropna(axis=1)
    names = pd.read_csv(sectors).set_index("ticker")["sector"] if sectors else pd.Series(dtype=str)
    codes, _ = pd.factorize(names.reindex(close.columns).fillna("?"))
    returns = np.diff(np.log(close.to_numpy(np.float64)), axis=0)
    # A few bars of the file are wrong by a factor: such moves are not the market's.
    clean = (np.abs(returns) < 0.7).all(axis=0)
    return returns[:, clean], codes[clean]


def facts_of_real(returns: np.ndarray, sector: np.ndarray) -> dict[str, float]:
    """Return the same statistics of real returns: the market is the mean of all, a stock the median over stocks."""
    market = np.log(np.exp(returns).mean(axis=1))
    stocks = [facts_of(returns[:, i]) for i in range(returns.shape[1])]
    by_stock = {f"stock: {name}": float(np.median([each[name] for each in stocks])) for name in stocks[0]}
    volatility = np.sqrt(np.convolve(market**2, np.ones(21) / 21, "same"))
    crisis, calm = volatility > np.quantile(volatility, 0.92), volatility < np.quantile(volatility, 0.6)
    return (
        facts_of(market)
        | by_stock
        | related(returns, sector)
        | {
            "correlation in crisis": related(returns[crisis], sector)["correlation"],
            "correlation in calm": related(returns[calm], sector)["correlation"],
        }
    )


def main(
    data: Path | None = None,
    sectors: Path | None = None,
    reference: Path | None = None,
    paths: int = NUM_PATHS,
    seed: int = 0,
    output: Path = HERE / "SYNTHETIC.md",
    picture: Path = HERE.parent / "docs/images/synthetic.png",
) -> int:
    """Print the table and write it between the marks in `output`; exit with 1 if a median is not where it has to be.

    Args:
        data: Parquet of real daily bars with a column adj_close.
        sectors: CSV of ticker and sector.
        reference: file of the independent implementation; its medians are written to synthetic_reference.json.
        paths: number of paths.
        seed: of the generator.
        output: page that holds the table.
        picture: PNG drawn with `data`.
    """
    if reference is not None:
        REFERENCE.write_text(json.dumps(draw_reference(reference), indent=1) + "\n")
    drawn = draw_returns(jax.random.key(seed), paths, NUM_DAYS, NUM_ASSETS)
    rows = compare(facts_by_path(drawn), json.loads(REFERENCE.read_text()))
    real, real_facts = None, None
    if data is not None:
        real = real_returns(data, sectors)
        real_facts = facts_of_real(*real)
    score, error = neutral_momentum(drawn[1])
    text = table(rows, real_facts)
    text += (
        f"\n\nRank correlation of residual returns of 20 days with those of the next 20: {score:+.5f} ± {error:.5f}."
    )
    print(text)
    _write_between_marks(output, text)
    if real is not None:
        from synthetic_picture import draw_picture

        draw_picture(picture, drawn, *real, autocorrelation)
    return 0 if all(row["agrees"] and row["inside"] for row in rows) and abs(score) <= 2 * error else 1


def _write_between_marks(page: Path, text: str) -> None:
    begin, end = "<!-- table -->", "<!-- end of table -->"
    if not page.exists():
        return
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
