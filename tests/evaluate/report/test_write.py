"""The report folder: what is in it, what it refuses, and that its pictures and page can be read."""

import dataclasses
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ploutos_jax.evaluate.ledger import FILL_COLUMNS, Ledger
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report import write
from ploutos_jax.evaluate.report.figures import draw_equity, draw_trades
from ploutos_jax.evaluate.report.plot_style import spread_labels, thin_bars, to_png
from ploutos_jax.evaluate.round_trips import TRADE_COLUMNS
from tests.evaluate.accounts import SECTORS, make_ledger, page_of

METRICS = (
    "total_return annual_return annual_volatility sharpe sortino calmar max_drawdown max_drawdown_bars var_95 cvar_95"
    " win_rate profit_factor turnover num_trades average_trade_bars total_cost exposure"
)
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def ledgers():
    return make_ledger("agent"), {
        "Cash": make_ledger("Cash", trade_every=0),
        "A <b>&": make_ledger("x", 1, trade_every=9),
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory, ledgers):
    folder = tmp_path_factory.mktemp("runs") / "deep" / "report"
    agent, baselines = ledgers
    facts = {"out_of_sample": "trained until 2016-12-30", "seed": "3"}
    content = write.write_report(
        folder,
        agent,
        baselines,
        benchmark=make_ledger("Index", 2),
        tickers=["AAA", "BRK.B"],
        sectors=SECTORS,
        title="A <i> title",
        facts=facts,
    )
    return folder, content


@pytest.fixture
def quick_pictures(monkeypatch):
    monkeypatch.setattr(write, "to_png", lambda figure: PNG_HEAD)


def read_strict(path):
    def refuse(word):
        raise AssertionError(f"{path} is not strict JSON: it holds {word}")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def test_folder_holds_the_promised_files_and_nothing_else(written):
    folder, _ = written
    assert sorted(path.name for path in folder.iterdir()) == [
        "backtest_equity.png",
        "backtest_trades_AAA.png",
        "backtest_trades_BRK.B.png",
        "baselines.parquet",
        "equity.parquet",
        "fills.parquet",
        "metrics.json",
        "report.html",
        "trades.parquet",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_metrics_file_is_strict_and_holds_every_strategy(written, ledgers):
    folder, content = written
    figures = read_strict(folder / "metrics.json")
    assert figures == content
    expected = summarize(ledgers[0])
    for key in METRICS.split():
        assert figures[key] == pytest.approx(expected[key], nan_ok=False), key
        assert {*figures["baselines"]} == {"Cash", "A <b>&"}
        assert all(key in row for row in (*figures["baselines"].values(), figures["benchmark"]))
    cash = figures["baselines"]["Cash"]
    assert (cash["sharpe"], cash["win_rate"], cash["total_return"], cash["num_trades"]) == (None, None, 0.0, 0)
    assert figures["facts"]["seed"] == "3" and figures["benchmark"]["name"] == "Index"


def test_parquet_files_hold_account_and_trades(written, ledgers):
    folder, content = written
    equity, trades = (pd.read_parquet(folder / name) for name in ("equity.parquet", "trades.parquet"))
    assert list(equity.columns) == [
        "date",
        "equity",
        "return",
        "drawdown",
        "cash",
        "gross_exposure",
        "turnover",
        "cost",
    ]
    assert len(equity) == 61
    np.testing.assert_allclose(equity["equity"].iloc[-1] / 10_000 - 1, content["total_return"])
    assert tuple(trades.columns) == TRADE_COLUMNS
    assert (trades["exit_reason"] != "open").sum() == content["num_trades"] > 3
    assert trades["exit_date"].isna().sum() == content["open_trades"]
    np.testing.assert_allclose(trades["pnl"].sum(), equity["equity"].iloc[-1] - 10_000)
    fills, beside = (pd.read_parquet(folder / name) for name in ("fills.parquet", "baselines.parquet"))
    assert tuple(fills.columns) == FILL_COLUMNS and len(fills) == len(ledgers[0].fills)
    assert list(beside.columns) == ["date", "Cash", "A <b>&", "Index"]
    np.testing.assert_array_equal(beside["A <b>&"], ledgers[1]["A <b>&"].equity)


def test_pictures_are_pngs_of_the_promised_size(written):
    folder, _ = written
    for path in folder.glob("*.png"):
        data = path.read_bytes()
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
        assert data.startswith(PNG_HEAD) and (width, height) == (1600, 1100 if "equity" in path.name else 704)


@pytest.mark.thorough
@pytest.mark.usefixtures("quick_pictures")
def test_report_is_not_overwritten_unless_asked(tmp_path, ledgers):
    agent, baselines = ledgers
    write.write_report(tmp_path, agent, baselines)
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "metrics.json").read_text()
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))} already holds a report.*overwrite"):
        write.write_report(tmp_path, make_ledger("other", 5), {})
    assert (tmp_path / "metrics.json").read_text() == before
    assert {path.name for path in tmp_path.glob("backtest_trades_*.png")} == {
        f"backtest_trades_{name}.png" for name in ("AAA", "BRK.B", "BTC%2FUSD")
    }
    write.write_report(tmp_path, make_ledger("other", 5), {}, tickers=["AAA"], overwrite=True)
    assert read_strict(tmp_path / "metrics.json")["name"] == "other"
    assert len(list(tmp_path.glob("backtest_trades_*.png"))) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.thorough
def test_failure_leaves_nothing_behind(tmp_path, ledgers, monkeypatch, quick_pictures):
    def fail(*_, **__):
        raise RuntimeError("disk full")

    write.write_report(tmp_path / "old", *ledgers)
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    monkeypatch.setattr(write, "build_page", fail)
    for name in ("new", "old"):
        with pytest.raises(RuntimeError, match="disk full"):
            write.write_report(tmp_path / name, *ledgers, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before


def test_bad_input_is_named(tmp_path, ledgers):
    agent, baselines = ledgers
    with pytest.raises(ValueError, match="'Late' covers 2018-01-02.*run both over the same bars"):
        write.write_report(tmp_path / "r", agent, {"Late": make_ledger("Late", start="2018-01-02")})
    with pytest.raises(ValueError, match="share a name.*'agent'"):
        write.write_report(tmp_path / "r", agent, {"agent": agent})
    with pytest.raises(ValueError, match="share a name.*'Cash'"):
        write.write_report(tmp_path / "r", agent, baselines, benchmark=baselines["Cash"])
    with pytest.raises(ValueError, match="'AA' to plot is not among the 3.*did you mean AAA"):
        write.write_report(tmp_path / "r", agent, {}, tickers=["BRK.B", "AA"])
    with pytest.raises(ValueError, match="2 sectors for 3 symbols"):
        write.write_report(tmp_path / "r", agent, {}, sectors=("a", "b"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        write.write_report(tmp_path / "file", agent, {})
    assert not (tmp_path / "r").exists()


def test_most_traded_tickers_come_first(ledgers):
    agent = ledgers[0]
    counts = agent.trades["ticker"].value_counts()
    first = write.most_traded(agent, 2)
    assert counts[first[0]] >= counts[first[1]] >= min(counts)
    assert write.most_traded(ledgers[1]["Cash"], 4) == []


def test_terminal_table_fits_100_columns():
    row = {"total_return": 12.345678, "annual_return": -0.5, "annual_volatility": 1.23, "sharpe": -1.25}
    row |= {"max_drawdown": -0.987, "turnover": 1234.5, "num_trades": 123456, "win_rate": 1.0, "total_cost": 1234567.0}
    rows = {f"strategy [b]with a long name {i}": row for i in range(4)} | {"Cash": dict.fromkeys(row), "Gone": {}}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(write.metrics_table(rows))
    lines = console.export_text().splitlines()
    assert len(lines) == 2 + 6 and max(map(len, lines)) <= 100
    assert lines[2].startswith("strategy [b]with a")
    for text in ("+1,234.6%", "−50.0%", "−1.25", "−98.7%", "1,234.5×", "123,456", "100.0%", "$1,234,567"):
        assert text in lines[2]
    assert lines[6].split() == ["Cash"] + ["–"] * 9


def test_labels_keep_their_distance_and_move_little():
    rng = np.random.default_rng(3)
    for _ in range(50):
        targets = rng.uniform(0, 1, rng.integers(1, 9))
        places = spread_labels(targets, 0.08)
        assert (np.diff(np.sort(places)) >= 0.08 - 1e-12).all()
        assert (np.argsort(places) == np.argsort(targets)).all()
        np.testing.assert_allclose(places.mean(), targets.mean())
    apart = np.array([0.9, 0.1, 0.5])
    np.testing.assert_allclose(spread_labels(apart, 0.1), apart)
    np.testing.assert_allclose(spread_labels(np.array([0.5, 0.5]), 0.2), [0.4, 0.6])


def test_thinning_keeps_the_extremes():
    values = np.random.default_rng(0).normal(size=30_001)
    times = np.arange(values.size)
    x, thinned = thin_bars(times, values, np.minimum)
    assert x.size <= 4001 and thinned.min() == values.min()
    assert thin_bars(times[:100], values[:100], np.minimum)[1].size == 100


def test_large_gains_are_drawn_on_a_logarithmic_scale(ledgers):
    agent = ledgers[0]
    rich = dataclasses.replace(agent, equity=agent.equity * np.geomspace(1, 50, agent.equity.size))
    assert draw_equity(rich, {}).axes[0].get_yscale() == "log"
    assert draw_equity(agent, {}).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("equity", [[100.0], [100.0, 0.0], [100.0, 40.0, -3.0, -3.0]])
def test_degenerate_accounts_can_be_drawn_and_reported(equity):
    times = np.datetime64("2020-01-01") + np.arange(len(equity))
    values, zero = np.array(equity), np.zeros(len(equity))
    ledger = Ledger("x", times, values, values, zero, zero, zero, 100.0, pd.DataFrame(columns=list(FILL_COLUMNS)))
    assert to_png(draw_equity(ledger, {})).startswith(PNG_HEAD)
    assert "There were no trades" in page_of(ledger)


def test_prices_before_a_split_are_drawn_in_todays_shares(ledgers):
    agent = ledgers[0]
    split = np.ones_like(agent.close)
    split[30, 0] = 2.0
    halved = dataclasses.replace(
        agent, close=agent.close / np.cumprod(split, axis=0), split=split, fills=agent.fills[:0]
    )
    line = draw_trades(halved, "AAA").axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), agent.close[:, 0] / 2)


def test_dollar_signs_in_names_are_text():
    ledger = make_ledger("$a_{b$ and $c$")
    assert to_png(draw_equity(ledger, {"$x^$": ledger}, title="$\\frac$")).startswith(PNG_HEAD)
