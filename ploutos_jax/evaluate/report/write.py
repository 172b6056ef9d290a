"""Ledger to a report folder: JSON, Parquet, pictures and one HTML page; and to a table in the terminal."""

import dataclasses
import difflib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from ploutos_jax.agents.provenance import UNKNOWN
from ploutos_jax.evaluate.backtest.sensitivity import Sensitivity
from ploutos_jax.evaluate.inference.sharpe import Trials
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.regimes import by_regime
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.about import describe_regimes
from ploutos_jax.evaluate.report.equity_charts import Episode, drawable
from ploutos_jax.evaluate.report.evidence import evidence_of
from ploutos_jax.evaluate.report.figures import draw_equity, draw_trades
from ploutos_jax.evaluate.report.page import build_page
from ploutos_jax.evaluate.report.plot_style import to_png
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.evaluate.report.slopes import to_json
from ploutos_jax.evaluate.report.stress_section import worst_scenario
from ploutos_jax.evaluate.report.tables import COLUMNS, show
from ploutos_jax.evaluate.report.verdict import judge
from ploutos_jax.evaluate.stress.paths import StressPath
from ploutos_jax.market.tickers import file_part

METRICS_FILE = "metrics.json"
REPORT_FILES = (
    METRICS_FILE,
    "equity.parquet",
    "trades.parquet",
    "fills.parquet",
    "baselines.parquet",
    "stress.parquet",
    "runs.parquet",
    "report.html",
    "backtest_equity.png",
    "backtest_trades_*.png",
)
"""What a report consists of, as patterns; replacing a report removes these files and no others."""

BUY_AND_HOLD = "buy and hold"
"""The baseline that beta and the like are against where there is no benchmark: equal parts, never touched again."""

MOST_PLOTTED = 4
"""Tickers whose trades are drawn unless some are named, the most traded first."""

TERMINAL_COLUMNS = {
    "total_return": "Total\nreturn",
    "annual_return": "Annual\nreturn",
    "annual_volatility": "Vola-\ntility",
    "sharpe": "Sharpe",
    "max_drawdown": "Max\ndrawdown",
    "turnover": "Turnover\n/ year",
    "num_trades": "Trades",
    "win_rate": "Win\nrate",
    "total_cost": "Total\ncost",
}


def write_report(
    folder: str | os.PathLike[str],
    ledger: Ledger,
    baselines: Mapping[str, Ledger],
    *,
    benchmark: Ledger | None = None,
    tickers: Sequence[str] | None = None,
    sectors: tuple[str, ...] = (),
    trials: Trials | None = None,
    stress: pd.DataFrame | None = None,
    stress_paths: Sequence[StressPath] = (),
    slopes: Mapping[str, Sensitivity] | None = None,
    episodes: Sequence[Episode] = (),
    title: str = "",
    facts: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the report of one backtest and return what `metrics.json` holds.

    The folder gets `metrics.json` (the figures of `ledger` on top, those of the others under `baselines` and
    `benchmark`, what they are worth under `evidence` and `verdict`, the name that beta and
    the like are against under `relative_to`; null where a figure is not defined), `equity.parquet`,
    `trades.parquet`, `fills.parquet`, `baselines.parquet` (equity of the others by date), `backtest_equity.png`,
    `backtest_trades_TICKER.png` (characters that a file name or a link cannot hold as %XX; a long ticker is cut, with
    a hash) and `report.html`, which needs none of the others. All is written beside the folder first and moved in at
    the end, so that a failure leaves nothing half-written.

    Args:
        folder: created if it is missing; other files in it stay.
        ledger: the strategy under test.
        baselines: other strategies over the same bars, by the name to show.
        benchmark: an index or one stock held over the same bars, if any.
        tickers: whose trades are drawn; the most traded ones without it.
        sectors: of the ledger's symbols, in their order, for the exposure by sector.
        trials: what was tried before this strategy was chosen, as `statistics.read_trials` counts it.
        stress: figures by scenario as from `stress.stress_table`, if there was a stress test; kept under `stress`.
        stress_paths: accounts under its scenarios to draw, as from `stress.stress_test`.
        slopes: what one more basis point of a cost does, as from `slopes.slopes_of`; kept under `slopes`.
        episodes: stretches of time to mark on the equity chart: label, first and last date.
        title: heading of page and picture; by default the name of the ledger.
        facts: what a reader should know about the run (data, checkpoint, seed, ...), shown on the page and kept in
            `metrics.json`, as given. How the bars relate to those of training is read from `ledger.provenance`.
        overwrite: replace the report that the folder holds.

    Raises:
        ValueError: if the folder holds a report and `overwrite` is False, if it is not a folder, if a ledger
            covers other bars than `ledger`, or if a ticker or the number of sectors does not fit its symbols.
    """
    folder = Path(folder)
    check_report_folder(folder, overwrite=overwrite)
    others = dict(baselines) | ({benchmark.name: benchmark} if benchmark is not None else {})
    check_spans(ledger, others, len(baselines) + (benchmark is not None))
    plotted = most_traded(ledger, MOST_PLOTTED) if tickers is None else _known_tickers(ledger, tickers)
    if sectors and len(sectors) != len(ledger.symbols):
        raise ValueError(f"The report got {len(sectors)} sectors for {len(ledger.symbols)} symbols; give one for each.")
    facts = dict(facts or {})
    if ledger.provenance != UNKNOWN:
        facts.setdefault("out_of_sample", describe_provenance(ledger.provenance))
    of_regimes = None
    if ledger.regimes is not None:
        of_regimes = by_regime(ledger.equity, ledger.regimes, ledger.calendar.bars_per_year)
        facts.setdefault("sharpe_by_regime", describe_regimes(of_regimes))
    ledgers = {ledger.name: ledger} | others
    reference = _reference(baselines, benchmark)
    figures = {name: summarize(one, benchmark=None if one is reference else reference) for name, one in ledgers.items()}
    relative_to = next((name for name, one in others.items() if one is reference), "")
    evidence = evidence_of(ledgers, figures, trials)
    verdict = judge(
        ledger.name,
        figures,
        evidence,
        roles={name: one.role for name, one in ledgers.items()},
        provenance=ledger.provenance,
        calendar=ledger.calendar,
        data=facts.get("data", ""),
        worst_scenario=worst_scenario(stress),
    )
    # The strategy's own metrics on top, those of the others below them.
    content: dict[str, Any] = {"name": ledger.name, **figures[ledger.name]}
    content["baselines"] = {name: figures[name] for name in baselines}
    if benchmark is not None:
        content["benchmark"] = {"name": benchmark.name, **figures[benchmark.name]}
    content["provenance"] = {"sample": ledger.provenance.sample, **dataclasses.asdict(ledger.provenance)}
    if of_regimes is not None:
        content["by_regime"] = {regime: figures._asdict() for regime, figures in of_regimes.items()}
    if stress is not None:
        content["stress"] = {str(name): row for name, row in stress.to_dict("index").items()}
    if slopes is not None:
        content["slopes"] = to_json(slopes)
    content |= {"evidence": evidence, "verdict": verdict.headline, "relative_to": relative_to, "facts": facts}
    page = build_page(
        ledgers,
        figures,
        evidence,
        verdict=verdict,
        title=title or f"Backtest of {ledger.name}",
        facts=facts,
        tickers=plotted,
        sectors=sectors,
        episodes=episodes,
        stress=stress,
        stress_paths=stress_paths,
        slopes=slopes,
        relative_to=relative_to,
    )
    pictures = _pictures(ledger, baselines, benchmark, plotted, title)
    return write_files(folder, content, page, _frames(ledger, others, stress), pictures)


def _frames(ledger: Ledger, others: Mapping[str, Ledger], stress: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """Return the Parquet files of a report by name."""
    frames = {
        "equity.parquet": ledger.equity_frame(),
        "trades.parquet": ledger.trades,
        "fills.parquet": ledger.fills,
        "baselines.parquet": pd.DataFrame({"date": ledger.times} | {name: one.equity for name, one in others.items()}),
    }
    if stress is not None:
        frames["stress.parquet"] = stress.reset_index()
    return frames


def _pictures(
    ledger: Ledger, baselines: Mapping[str, Ledger], benchmark: Ledger | None, tickers: Sequence[str], title: str
) -> dict[str, bytes]:
    """Return the PNG files of a report by name: the equity of all, and the trades of each of the tickers."""
    drawn = {name: one for name, one in drawable({ledger.name: ledger, **baselines}).items() if name in baselines}
    pictures = {"backtest_equity.png": draw_equity(ledger, drawn, benchmark=benchmark, title=title)}
    for ticker in tickers:
        pictures[f"backtest_trades_{file_part(ticker, tickers)}.png"] = draw_trades(ledger, ticker)
    return {name: to_png(picture) for name, picture in pictures.items()}


def write_files(
    folder: Path,
    content: Mapping[str, Any],
    page: str,
    frames: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, bytes],
) -> dict[str, Any]:
    """Write a report's files beside its folder, move them in at the end, and return what `metrics.json` holds.

    Args:
        folder: created if it is missing; a report that it holds is replaced.
        content: of `metrics.json`; what JSON cannot say becomes null.
        page: of `report.html`.
        frames, pictures: Parquet and PNG files by name, each a pattern of `REPORT_FILES`.
    """
    strict = _strict(dict(content))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        # A folder inside the temporary one: it gets the user's ordinary permissions, not those of a private file.
        draft = Path(beside) / "report"
        draft.mkdir()
        for name, frame in frames.items():
            frame.to_parquet(draft / name, index=False)
        for name, picture in pictures.items():
            (draft / name).write_bytes(picture)
        (draft / "report.html").write_text(page, encoding="utf-8")
        text = json.dumps(strict, indent=2, allow_nan=False, ensure_ascii=False)
        (draft / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
        _move_in(draft, folder)
    return strict


def metrics_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table for the terminal, one strategy a row, the first one bold; at most 100 columns wide.

    Args:
        rows: figures as from `summarize` by the name to show, the strategy under test first.
    """
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("Strategy", no_wrap=True, max_width=20, overflow="ellipsis", vertical="bottom")
    for label in TERMINAL_COLUMNS.values():
        table.add_column(label, justify="right", no_wrap=True, vertical="bottom")
    write = {key: function for _, key, function in COLUMNS}
    for i, (name, row) in enumerate(rows.items()):
        cells = [show(row, key, write[key]) for key in TERMINAL_COLUMNS]
        table.add_row(Text(name), *cells, style="bold" if i == 0 else None)
    return table


def most_traded(ledger: Ledger, number: int) -> list[str]:
    """Return the tickers with the most round trips, most first; of equals, the one with the larger traded value."""
    if ledger.trades.empty:
        return []
    traded = ledger.fills["shares"] * ledger.fills["price"]
    value = traded.groupby(ledger.fills["ticker"]).agg("sum").to_dict()
    trips = ledger.trades["ticker"].value_counts().to_dict()
    return sorted(trips, key=lambda ticker: (-trips[ticker], -value[ticker], ticker))[:number]


def _reference(baselines: Mapping[str, Ledger], benchmark: Ledger | None) -> Ledger | None:
    """Return what beta and the like are computed against: the benchmark, buy and hold, or the first baseline."""
    if benchmark is not None or not baselines:
        return benchmark
    return baselines.get(BUY_AND_HOLD, next(iter(baselines.values())))


def _known_tickers(ledger: Ledger, tickers: Sequence[str]) -> list[str]:
    for ticker in tickers:
        if ticker not in ledger.symbols:
            near = difflib.get_close_matches(ticker, ledger.symbols, 1)
            hint = f"; did you mean {near[0]}?" if near else f": {', '.join(ledger.symbols[:5])}, …"
            raise ValueError(
                f"The ticker {ticker!r} to plot is not among the {len(ledger.symbols)} of the backtest{hint}"
            )
    return list(dict.fromkeys(tickers))


def check_report_folder(folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Make sure that a report can be written to a folder without harm to another.

    Raises:
        ValueError: if the folder is a file, or holds a report and `overwrite` is False.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"The report folder {folder} is a file; give the path of a folder.")
    if (folder / METRICS_FILE).exists() and not overwrite:
        raise ValueError(
            f"The folder {folder} already holds a report ({METRICS_FILE}); give another folder, or overwrite to"
            " replace it."
        )


def check_spans(ledger: Ledger, others: Mapping[str, Ledger], number: int) -> None:
    """Make sure that ledgers can stand beside each other.

    Args:
        ledger: the first.
        others: the others by name.
        number: how many others were meant; there are fewer if two share a name.

    Raises:
        ValueError: if two share a name, or their bars differ.
    """
    if ledger.name in others or len(others) < number:
        names = ", ".join(repr(name) for name in (ledger.name, *others))
        raise ValueError(f"Two strategies of the report share a name: {names}. Give each its own.")
    for name, other in others.items():
        if not np.array_equal(other.times, ledger.times):
            spans = [f"{one.times[0]} to {one.times[-1]} ({one.times.size} bars)" for one in (other, ledger)]
            raise ValueError(
                f"The ledger of {name!r} covers {spans[0]}, but that of {ledger.name!r} {spans[1]}: run both over the"
                " same bars."
            )


def _strict(value: Any) -> Any:
    """Return the value with what JSON cannot say (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _move_in(draft: Path, folder: Path) -> None:
    """Make the draft the report of the folder; `metrics.json`, which says that there is a report, goes last."""
    if not folder.exists():
        draft.rename(folder)
        return
    if (folder / METRICS_FILE).exists():
        for old in [path for pattern in REPORT_FILES for path in folder.glob(pattern)]:
            old.unlink()
    for path in sorted(draft.iterdir(), key=lambda path: path.name == METRICS_FILE):
        os.replace(path, folder / path.name)
