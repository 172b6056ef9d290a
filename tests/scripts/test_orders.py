"""scripts/orders.py: what is printed is what a backtest of a longer file would have begun with."""

import pandas as pd
import pytest

import ploutos_jax as pj
from tests.scripts.command_line import NUM_BARS, call, write_bars


def orders(run, folder, *more):
    return call("orders", ["--checkpoint", str(run), *more], folder)


@pytest.mark.thorough
def test_orders_on_a_file_are_the_first_of_a_backtest_that_has_one_more_bar(finished, tmp_path):
    """A file grows by a bar that opens, as it happens, at the close before it."""
    longer = pd.read_csv(finished.data)
    longer = longer[longer["date"] <= "2016-03-01"]
    last, before = sorted(set(longer["date"]))[-1:-3:-1]
    known = longer[longer["date"] < last]
    flat = known[known["date"] == before].copy()
    for name in ("open", "high", "low"):
        flat[name] = flat["close"]
    file, more = tmp_path / "known.csv", tmp_path / "longer.csv"
    known.to_csv(file, index=False)
    pd.concat([known, flat.assign(date=last)]).to_csv(more, index=False)

    outcome = orders(finished.folder, tmp_path, "--data", str(file), "--output", "orders.csv")
    assert outcome.code == 0, outcome.err
    printed = pd.read_csv(tmp_path / "orders.csv")
    agent = pj.restore(finished.folder)
    market = pj.build_market(pj.load_panel(more), list(agent.feature_names))
    fills = pj.backtest(agent, market, market.num_bars - 2).fills
    assert len(printed) > 0
    assert list(printed["ticker"]) == list(fills["ticker"]) and list(printed["side"]) == list(fills["side"])
    assert printed["shares"].tolist() == pytest.approx(fills["shares"].tolist(), rel=1e-5)
    assert f"Decided at the close of {before} on 3 tickers; fills at the next open." in outcome.out
    for row in printed.itertuples():
        line = next(line for line in outcome.out.splitlines() if line.startswith(row.ticker))
        assert row.side in line and f"{row.price:,.2f}" in line and f"{row.value:,.2f}" in line


@pytest.mark.thorough
def test_the_account_is_what_the_person_has(finished, tmp_path):
    write_bars(tmp_path / "bars.csv")
    (tmp_path / "held.csv").write_text("ticker,shares\nAAA,20\n")
    outcome = orders(finished.folder, tmp_path, "--cash", "1234.5", "--holdings", "held.csv")
    assert outcome.code == 0, outcome.err
    panel = pj.load_panel(finished.data)
    worth = 1234.5 + 20 * panel.close[-1, panel.symbols.index("AAA")]
    assert f"Account: ${worth:,.2f}, of which $1,234.50 cash." in outcome.out and panel.num_bars == NUM_BARS


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "none.csv"), "No such file or folder: none.csv"),
        (("--holdings", "none.csv"), "No such file: none.csv; give a CSV with the columns ticker, shares"),
        (("--cash", "-1"), "cash=-1.0 must be a number in [0, 1e12]"),
    ],
)
def test_bad_input_is_one_message(finished, tmp_path, more, message):
    outcome = orders(finished.folder, tmp_path, *more)
    assert outcome.code == 2 and message in outcome.message
