"""The report page as a machine reads it: alone, complete, and with the figures of metrics.json."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.evaluate.ledger import FILL_COLUMNS, Ledger
from ploutos_jax.evaluate.report.tables import COLUMNS, costs_by_kind
from ploutos_jax.evaluate.report.trade_tables import MOST_TRADES, trades_table
from ploutos_jax.evaluate.report.write import write_report
from tests.evaluate.accounts import SECTORS, make_ledger, page_of
from tests.evaluate.report.drawn import chart_of, without_library

VOID = {"meta", "link", "input", "img", "br"}
HEADINGS = (
    *("Against the baselines", "Returns", "Risk over time", "Drawdowns", "Costs", "Under stress", "Trades"),
    *("Trades by ticker", "How the figures are made", "About this run"),
)


class Page(HTMLParser):
    """What a page holds: every tag with its attributes and words, and whether all tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        record = (tag, dict(attrs), [])
        self.tags.append(record)
        if tag == "tr":
            self.tables[-1].append([])
        elif tag == "table":
            self.tables.append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(record)
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(record)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for record in self.open:
            record[2].append(data)

    def words(self, tag):
        return ["".join(text).strip() for name, _, text in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report with everything in it, and its content."""
    folder = tmp_path_factory.mktemp("runs") / "report"
    columns = {"return_change": [0.0, -0.125, -0.25], "recovery_bars": [np.nan, 12, np.inf], "odd_one": [1.0, 2.0, 3.0]}
    stress = pd.DataFrame({**columns, "worst_drawdown": -0.5}, index=["none", "flash_crash", "gap_down"])
    content = write_report(
        folder,
        make_ledger("agent", num_bars=300),
        {"Cash": make_ledger("Cash", trade_every=0, num_bars=300), "A <b>&": make_ledger("x", 1, num_bars=300)},
        benchmark=make_ledger("Index", 2, num_bars=300),
        sectors=SECTORS,
        stress=stress,
        episodes=[("flash <crash>", np.datetime64("2017-03-01"), np.datetime64("2017-04-01"))],
        title="A <i> title",
        facts={"out_of_sample": "Out of sample: trained until 2016-12-30", "seed": "3"},
    )
    return (folder / "report.html").read_text("utf-8"), content


@pytest.mark.thorough
def test_page_stands_alone(written):
    page = without_library(written[0])
    assert not re.search(r"<iframe|@import|url\(|https?://|\bsrc=|srcset=|fetch\(|XMLHttpRequest|import\(", page)
    addresses = [
        value for _, attributes, _ in Page(page).tags for key, value in attributes.items() if key in ("href", "src")
    ]
    assert addresses and all(address.startswith(("#", "data:,")) for address in addresses)
    assert len(written[0]) < 3_000_000


def test_names_are_escaped(written):
    page = written[0]
    assert "A &lt;b&gt;&amp;" in page and "<b>&" not in page and "A &lt;i&gt; title" in page
    assert "flash \\u003ccrash>" in page and "flash <crash>" not in page


def test_every_section_is_there_and_linked(written):
    page = Page(written[0])
    assert [heading for heading in HEADINGS if heading not in page.words("h2")] == []
    sections = [attributes["id"] for tag, attributes, _ in page.tags if tag == "section"]
    links = [attributes["href"] for tag, attributes, _ in page.tags if tag == "a"]
    assert links == [f"#{section}" for section in sections]
    captions = " ".join(page.words("figcaption"))
    for caption in (
        "Equity",
        "Drawdown",
        "Return of each year",
        "Daily returns",
        "Quantiles of returns",
        "Best and worst days",
        "Sharpe ratio over",
        "Volatility a year over",
        "Beta against Index over",
        "VaR and CVaR",
        "Leverage",
        "Exposure by",
    ):
        assert caption in captions, caption
    assert "prefers-color-scheme: dark" in written[0] and "width=device-width" in written[0]


def test_stress_test_is_shown_and_kept(written):
    page, content = Page(written[0]), written[1]
    rows = next(table for table in page.tables if table[0][0][2] == ["Scenario"])
    cells = [["".join(cell[2]) for cell in row] for row in rows]
    assert cells[0] == ["Scenario", "Total return", "Bars to recover", "odd one", "Worst drawdown"]
    assert cells[1][:3] == ["No shock", "0.0 points", "–"] and cells[3][:3] == ["Gap down", "−25.0 points", "longer"]
    assert content["stress"]["gap_down"]["recovery_bars"] is None
    sentence = "Of 2 stress scenarios, gap down hits hardest: −25.0 points of total return on average"
    assert sentence in " ".join(page.words("dd"))


def test_no_figure_is_called_nan(written):
    words = " ".join(Page(written[0]).words("main"))
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b|NaT", words)
    assert not re.search(r"\s[dxy]='[^']*(nan|inf)", written[0])


def test_figures_equal_the_metrics_file(written):
    page, content = Page(written[0]), written[1]
    table = next(table for table in page.tables if "data-key" in table[1][0][1])
    names = ["".join(cell[2]) for cell in table[0][1:]]
    sources = [content, *(content["baselines"][name] for name in names[1:3]), content["benchmark"]]
    assert names == ["agent", "Cash", "A <b>&", "Index"]
    keys = [row[0][1]["data-key"] for row in table[1:]]
    more = next(table for table in page.tables[page.tables.index(table) + 1 :] if "data-key" in table[1][0][1])
    assert keys == [key for _, key, _ in COLUMNS]
    keys += [row[0][1]["data-key"] for row in more[1:]]
    assert {"beta", "alpha", "omega", "skew", "projected_return_21"} <= {*keys} and content["relative_to"] == "Index"
    table = [*table, *more[1:]]
    for key, row in zip(keys, table[1:], strict=True):
        for (_, attributes, text), source in zip(row[1:], sources, strict=True):
            if source.get(key) is None:
                assert attributes["data-v"] == "" and text == ["–"]
            else:
                assert float(attributes["data-v"]) == pytest.approx(source[key], rel=1e-11, abs=1e-15)


def test_lines_run_through_the_values(written):
    """Read the equity line back, as the readout under the pointer does: exactly, from what the page holds of it."""
    ledger, equity = make_ledger("agent", num_bars=300), chart_of(written[0], "Equity of agent")
    np.testing.assert_array_equal(equity.x, ledger.times)
    np.testing.assert_allclose(equity.lines["agent"], ledger.equity, rtol=1e-8)
    assert equity.content["unit"] == "dollars"
    assert [band[3] for band in equity.content["bands"]] == ["1", "2", "3", "flash <crash>"]
    falls = chart_of(written[0], "Drawdown of agent")
    np.testing.assert_allclose(falls.lines["agent"], ledger.drawdown, atol=1e-7)
    np.testing.assert_allclose(falls.lines["Index"], make_ledger("Index", 2, num_bars=300).drawdown, atol=1e-7)


def test_page_shows_months_drawdowns_and_costs():
    times = np.array(["2019-12-30", "2019-12-31", "2020-01-15", "2020-01-31", "2020-02-03"], "datetime64[D]")
    equity = np.array([100.0, 110.0, 88.0, 99.0, 121.0])
    zero = np.zeros(5)
    cost = np.array([0, 1.0, 0, 0, 0])
    ledger = Ledger("x", times, equity, equity, zero, zero, cost, 100.0, pd.DataFrame(columns=list(FILL_COLUMNS)))
    page = page_of(ledger)
    assert re.findall(r"<td style='background: rgb[^>]*>([^<]*)", page) == ["+10.0%", "−10.0%", "+22.2%"]
    assert re.findall(r"class='total'>([^<]*)", page) == ["+10.0%", "+10.0%"]
    row = "<td>2019-12-31</td><td>−20.0%</td><td>2020-01-15</td><td>2020-02-03</td><td>1</td><td>3</td>"
    assert row in page
    assert "<td>+22.1%</td><td>+21.0%</td><td>−1.1 points</td><td>$1</td>" in page
    falling = dataclasses.replace(ledger, equity=np.array([100.0, 90, 80, 85, 85]))
    assert "<td>2019-12-30</td><td>−20.0%</td><td>2020-01-15</td><td>not yet</td><td>2</td><td>4</td>" in page_of(
        falling
    )


def test_costs_by_kind_add_up():
    known, unknown = make_ledger("agent", num_bars=100), make_ledger("hold", 1, num_bars=100)
    slips = np.abs(known.fills["price"] - known.fills["reference_price"]) * known.fills["shares"]
    parts = {"spread": 0.5 * slips, "slippage": 0.3 * slips, "impact": 0.2 * slips, "commission": 0.75, "fee_sec": 0.25}
    known = dataclasses.replace(known, fills=known.fills.assign(**parts))
    for ledgers, names in (
        ([known], ["Spread", "Slippage", "Impact", "Commission", "Fees"]),
        ([known, unknown], ["Spread, slippage, impact", "Commission", "Fees"]),
    ):
        for ledger, kinds in zip(ledgers, costs_by_kind(ledgers), strict=True):
            assert list(kinds) == names and sum(kinds.values()) == pytest.approx(ledger.cost.sum())
    trades = len(known.fills)
    assert costs_by_kind([known])[0]["Fees"] == pytest.approx(0.25 * trades)


@pytest.mark.thorough
def test_an_oracle_does_not_flatten_the_chart():
    ledger = make_ledger("agent", num_bars=100)
    bound = dataclasses.replace(ledger, name="o", equity=ledger.equity * np.geomspace(1, 900, 101))
    bound = dataclasses.replace(bound, role="oracle")
    page = page_of(ledger, **{"hold": make_ledger("hold", 1, 100), "oracle (sees it)": bound})
    assert (
        "Off the chart: oracle (sees it)." in page
        and set(chart_of(page, "Equity").lines) == {"agent", "hold"}
        and ">oracle (sees it)<" in page
    )
    near = dataclasses.replace(bound, equity=ledger.equity * 1.1)
    page = page_of(ledger, oracle=dataclasses.replace(near, role="oracle"))
    assert "oracle" in chart_of(page, "Equity").lines


def test_long_list_of_trades_is_cut_to_those_that_mattered():
    trades = pd.concat([make_ledger("agent", num_bars=300).trades] * 30, ignore_index=True)
    trades["pnl"] = np.random.default_rng(0).permutation(len(trades)) - 300.5
    table = Page(trades_table(trades)).tables[0]
    shown = np.array([float(row[7][1]["data-v"]) for row in table[1:]])
    assert len(shown) == MOST_TRADES < len(trades)
    largest = trades["pnl"].abs().sort_values(ascending=False).iloc[:MOST_TRADES]
    assert sorted(np.abs(shown)) == sorted(largest)
    np.testing.assert_array_equal(shown, trades["pnl"].loc[np.sort(largest.index)])
    assert f"The {MOST_TRADES} of {len(trades):,} trades" in trades_table(trades)


@pytest.mark.parametrize("equity", [[100.0], [100.0, 0.0], [100.0, 40.0, -3.0, -3.0]])
def test_degenerate_accounts_have_a_page(equity):
    times = np.datetime64("2020-01-01") + np.arange(len(equity))
    values, zero = np.array(equity), np.zeros(len(equity))
    ledger = Ledger("x", times, values, values, zero, zero, zero, 100.0, pd.DataFrame(columns=list(FILL_COLUMNS)))
    page = page_of(ledger)
    assert "There were no trades" in page
    assert not re.search(r"\s[dxy]='[^']*(nan|inf)", page)
