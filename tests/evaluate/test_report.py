"""The report folder: what is in it, what it refuses, and that its pictures and page can be read."""

import dataclasses
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ploutos_jax.evaluate import report
from ploutos_jax.evaluate.canvas import LIGHT, on_phone, spread_labels, thin_bars, to_png
from ploutos_jax.evaluate.ledger import FILL_COLUMNS, TRADE_COLUMNS, Ledger
from ploutos_jax.evaluate.metrics import summarize
from ploutos_jax.evaluate.page import build_page
from ploutos_jax.evaluate.pictures import draw_equity, draw_trades

SYMBOLS = ("AAA", "BRK.B", "BTC/USD")
METRICS = (
    "total_return annual_return annual_volatility sharpe sortino calmar max_drawdown max_drawdown_bars var_95 cvar_95"
    " win_rate profit_factor turnover num_trades average_trade_bars total_cost exposure"
)
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def make_ledger(name, seed=0, num_bars=60, trade_every=6, start="2017-01-30"):
    """A small account that buys and sells the three symbols in turn at the close."""
    rng = np.random.default_rng(seed)
    times = np.busday_offset(np.datetime64(start), np.arange(num_bars + 1), roll="forward")
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (num_bars + 1, 3)), axis=0))
    cash, shares, rows = 10_000.0, np.zeros(3), []
    accounts = [(10_000.0, 10_000.0, 0.0, 0.0, 0.0)]
    for bar in range(1, num_bars + 1):
        traded = cost = 0.0
        if trade_every and bar % trade_every == 0:
            asset = (bar // trade_every // 2) % 3 if bar % (5 * trade_every) else 0
            change = -shares[asset] if shares[asset] else 20.0
            price = close[bar, asset] * (1 + 0.001 * np.sign(change))
            reason = "order" if change > 0 else ("stop", "target", "order")[bar % 3]
            side = "buy" if change > 0 else "sell"
            rows.append((bar, times[bar], SYMBOLS[asset], side, abs(change), price, close[bar, asset], 1.0, reason))
            cash -= change * price + 1.0
            traded, cost = abs(change) * price, abs(change) * close[bar, asset] * 0.001 + 1.0
            shares[asset] += change
        equity = cash + shares @ close[bar]
        accounts.append((equity, cash, shares @ close[bar], traded / accounts[-1][0], cost))
    fills = pd.DataFrame(rows, columns=list(FILL_COLUMNS))
    return Ledger(name, times, *np.array(accounts).T, 10_000.0, fills, SYMBOLS, close)


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
    content = report.write_report(
        folder, agent, baselines, benchmark=make_ledger("Index", 2), tickers_to_plot=2, title="A <i> title", facts=facts
    )
    return folder, content


@pytest.fixture
def quick_pictures(monkeypatch):
    monkeypatch.setattr(report, "to_png", lambda figure: PNG_HEAD)


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
        "equity.parquet",
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


def test_pictures_are_pngs_of_the_promised_size(written):
    folder, _ = written
    for path in folder.glob("*.png"):
        data = path.read_bytes()
        width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
        assert data.startswith(PNG_HEAD) and (width, height) == (1600, 1100 if "equity" in path.name else 704)


def test_page_stands_alone_and_escapes_names(written):
    page = (written[0] / "report.html").read_text("utf-8")
    assert not re.search(r"<script|<link|<iframe|@import|url\(|https?://|\son\w+=", page)
    sources = re.findall(r"(?:src|srcset)='([^']*)'", page)
    assert len(sources) == 3 * 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "A &lt;b&gt;&amp;" in page and "<b>&" not in page and "A &lt;i&gt; title" in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
    for heading in ("Costs", "Deepest drawdowns", "Returns by month", "Trades by exit"):
        assert f"<h2>{heading}</h2>" in page
    assert "trained until 2016-12-30" in page and "nan" not in re.sub(r"base64,[^']*", "", page).lower()


def page_of(ledger, **others):
    ledgers = {ledger.name: ledger, **others}
    figures = {name: summarize(one) for name, one in ledgers.items()}
    return build_page(ledgers, figures, title="t", facts={}, equity_picture="", trade_pictures=[])


def test_page_does_not_claim_out_of_sample_unless_told(ledgers):
    page = page_of(ledgers[0])
    assert "does not say whether the agent was trained on these bars" in page and "compared with nothing" in page


def test_page_shows_months_drawdowns_and_costs():
    times = np.array(["2019-12-30", "2019-12-31", "2020-01-15", "2020-01-31", "2020-02-03"], "datetime64[D]")
    equity = np.array([100.0, 110.0, 88.0, 99.0, 121.0])
    zero = np.zeros(5)
    cost = np.array([0, 1.0, 0, 0, 0])
    ledger = Ledger("x", times, equity, equity, zero, zero, cost, 100.0, pd.DataFrame(columns=list(FILL_COLUMNS)))
    page = page_of(ledger)
    assert re.findall(r"rgb[^>]*>([^<]*)", page) == ["+10.0%", "−10.0%", "+22.2%"]
    assert re.findall(r"class='total'>([^<]*)", page) == ["+10.0%", "+10.0%"]
    assert "2019-12-31</th><td>−20.0%</td><td>2020-01-15</td><td>2020-02-03</td><td>3</td>" in page
    assert "<td>+22.1%</td><td>+21.0%</td><td>−1.1 points</td><td>$1</td>" in page
    falling = dataclasses.replace(ledger, equity=np.array([100.0, 90, 80, 85, 85]))
    assert "2019-12-30</th><td>−20.0%</td><td>2020-01-15</td><td>not yet</td><td>4</td>" in page_of(falling)


@pytest.mark.usefixtures("quick_pictures")
def test_report_is_not_overwritten_unless_asked(tmp_path, ledgers):
    agent, baselines = ledgers
    report.write_report(tmp_path, agent, baselines, tickers_to_plot=3)
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "metrics.json").read_text()
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))} already holds a report.*overwrite"):
        report.write_report(tmp_path, make_ledger("other", 5), {})
    assert (tmp_path / "metrics.json").read_text() == before
    assert {path.name for path in tmp_path.glob("backtest_trades_*.png")} == {
        f"backtest_trades_{name}.png" for name in ("AAA", "BRK.B", "BTC%2FUSD")
    }
    report.write_report(tmp_path, make_ledger("other", 5), {}, tickers_to_plot=1, overwrite=True)
    assert read_strict(tmp_path / "metrics.json")["name"] == "other"
    assert len(list(tmp_path.glob("backtest_trades_*.png"))) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_failure_leaves_nothing_behind(tmp_path, ledgers, monkeypatch, quick_pictures):
    def fail(*_, **__):
        raise RuntimeError("disk full")

    report.write_report(tmp_path / "old", *ledgers)
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    monkeypatch.setattr(report, "build_page", fail)
    for name in ("new", "old"):
        with pytest.raises(RuntimeError, match="disk full"):
            report.write_report(tmp_path / name, *ledgers, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before


def test_bad_input_is_named(tmp_path, ledgers):
    agent, baselines = ledgers
    with pytest.raises(ValueError, match="'Late' covers 2018-01-02.*run both over the same bars"):
        report.write_report(tmp_path / "r", agent, {"Late": make_ledger("Late", start="2018-01-02")})
    with pytest.raises(ValueError, match="share a name.*'agent'"):
        report.write_report(tmp_path / "r", agent, {"agent": agent})
    with pytest.raises(ValueError, match="share a name.*'Cash'"):
        report.write_report(tmp_path / "r", agent, baselines, benchmark=baselines["Cash"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        report.write_report(tmp_path / "file", agent, {})
    assert not (tmp_path / "r").exists()


def test_most_traded_tickers_come_first(ledgers):
    agent = ledgers[0]
    counts = agent.trades["ticker"].value_counts()
    first = report.most_traded(agent, 2)
    assert counts[first[0]] >= counts[first[1]] >= min(counts)
    assert report.most_traded(ledgers[1]["Cash"], 4) == []


def test_terminal_table_fits_100_columns():
    row = {"total_return": 12.345678, "annual_return": -0.5, "annual_volatility": 1.23, "sharpe": -1.25}
    row |= {"max_drawdown": -0.987, "turnover": 1234.5, "num_trades": 123456, "win_rate": 1.0, "total_cost": 1234567.0}
    rows = {f"strategy [b]with a long name {i}": row for i in range(4)} | {"Cash": dict.fromkeys(row), "Gone": {}}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report.metrics_table(rows))
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
    assert to_png(draw_equity(ledger, {}, look=on_phone(LIGHT))).startswith(PNG_HEAD)
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
    assert to_png(draw_equity(ledger, {"$x^$": ledger}, title="$\\frac$", look=on_phone(LIGHT))).startswith(PNG_HEAD)
