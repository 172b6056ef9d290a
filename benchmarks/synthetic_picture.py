"""One picture of the synthetic market beside the real one."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

REAL, MADE, BAND = "#1f2937", "#2563eb", "#93c5fd"
MAX_LAG = 100


def draw_picture(
    file: Path,
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray],
    real: np.ndarray,
    sector: np.ndarray,
    facts: Callable[[np.ndarray, int], float],
) -> None:
    """Write the PNG.

    Args:
        file: where to.
        drawn: market `[P, T]`, assets `[P, T, A]` and regime of the made paths.
        real: `[T, A]` real log returns.
        sector: `[A]` numbers of their sectors.
        facts: autocorrelation of a series at a lag.
    """
    market = np.log(np.exp(real).mean(axis=1))
    made = drawn[0][:, : len(market)].astype(np.float64)
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    _returns(axes[0, 0], market, made)
    _memory(axes[0, 1], market, made, facts)
    _leverage(axes[0, 2], market, made)
    _tails(axes[1, 0], market, made)
    order = np.argsort(sector, kind="stable")[:: max(1, len(sector) // 110)]
    half = np.argsort(np.arange(drawn[1].shape[2]) % 11, kind="stable")
    _correlations(axes[1, 1], np.corrcoef(real[:, order].T), f"Correlation of {len(order)} real stocks, by sector")
    _correlations(axes[1, 2], np.corrcoef(drawn[1][0][:, half].T), f"Correlation of {len(half)} made ones, by sector")
    figure.savefig(file, dpi=72)
    plt.close(figure)


def _returns(axis: plt.Axes, market: np.ndarray, made: np.ndarray) -> None:
    usual = int(np.argsort(made.std(axis=1))[len(made) // 2])
    axis.plot(100 * market + 12, color=REAL, linewidth=0.5, label="real stocks, equal weight, 2005–2018")
    axis.plot(100 * made[usual] - 12, color=MADE, linewidth=0.5, label="made, a path of median volatility")
    axis.set(title="Daily returns of the market (%)", xlabel="day", yticks=[-12, 12], yticklabels=["0", "0"])
    axis.set_ylim(-28, 32)
    axis.legend(loc="upper right", fontsize=8, frameon=False)


def _memory(axis: plt.Axes, market: np.ndarray, made: np.ndarray, facts: Callable[[np.ndarray, int], float]) -> None:
    lags = np.arange(1, MAX_LAG + 1)
    paths = np.array([[facts(np.abs(path), lag) for lag in lags] for path in made])
    axis.fill_between(lags, *np.percentile(paths, [5, 95], axis=0), color=BAND, alpha=0.5, label="made, 5 to 95 %")
    axis.plot(lags, np.median(paths, axis=0), color=MADE, label="made, median")
    axis.plot(lags, [facts(np.abs(market), lag) for lag in lags], color=REAL, label="real")
    axis.axhline(0, color="grey", linewidth=0.5)
    axis.set(title="Memory: autocorrelation of |return|", xlabel="lag (days)")
    axis.legend(fontsize=8, frameon=False)


def _leverage(axis: plt.Axes, market: np.ndarray, made: np.ndarray) -> None:
    lags = np.arange(1, 31)

    def leverage(r: np.ndarray) -> list[float]:
        return [float(np.corrcoef(r[:-lag], r[lag:] ** 2)[0, 1]) for lag in lags]

    paths = np.array([leverage(path) for path in made])
    axis.fill_between(lags, *np.percentile(paths, [5, 95], axis=0), color=BAND, alpha=0.5)
    axis.plot(lags, np.median(paths, axis=0), color=MADE)
    axis.plot(lags, leverage(market), color=REAL)
    axis.axhline(0, color="grey", linewidth=0.5)
    axis.set(title="Leverage: return and later squared return", xlabel="lag (days)")


def _tails(axis: plt.Axes, market: np.ndarray, made: np.ndarray) -> None:
    share = (np.arange(len(market)) + 1) / len(market)

    def losses(r: np.ndarray) -> np.ndarray:
        return np.sort(-r / r.std())[::-1]

    paths = np.array([losses(path) for path in made])
    axis.fill_betweenx(share, *np.percentile(paths, [5, 95], axis=0), color=BAND, alpha=0.5)
    axis.plot(np.median(paths, axis=0), share, color=MADE)
    axis.plot(losses(market), share, color=REAL)
    normal = np.linspace(0.5, 4, 50)
    from scipy.stats import norm

    axis.plot(normal, norm.sf(normal), color="grey", linestyle=":", label="normal")
    axis.set(xscale="log", yscale="log", xlim=(0.5, 20), ylim=(0.8 / len(market), 0.5))
    axis.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axis.set(title="Tails: share of days with a larger loss", xlabel="loss (standard deviations)")
    axis.legend(fontsize=8, frameon=False)


def _correlations(axis: plt.Axes, correlation: np.ndarray, title: str) -> None:
    image = axis.imshow(correlation, vmin=0, vmax=0.8, cmap="viridis", interpolation="nearest")
    axis.set(title=title, xticks=[], yticks=[])
    plt.colorbar(image, ax=axis, shrink=0.8)
