"""Print what a trained agent would do at the next open, after the last bar of its data.

ploutos orders checkpoints/run-1 --data data/sp500.parquet
ploutos orders checkpoints/run-1 --data data/sp500.parquet --cash 5000 --holdings holdings.csv
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import result_console
from ploutos_jax.datasets.config import read_panel
from ploutos_jax.env.bounds import Bound, check_bounds, whole
from ploutos_jax.live.orders import orders_for_today, read_holdings
from ploutos_jax.market.display import plural
from ploutos_jax.market.tickers import show_ticker
from ploutos_jax.runs.command_line import first_as, read
from ploutos_jax.runs.settings import data_of_run, naming_source
from ploutos_jax.train.checkpoints.export import load_agent

ORDERS_BOUNDS = {"step": whole(0, 2**31 - 1), "agent": whole(0, 10_000), "cash": Bound(0, 1e12)}
"""Numbers of `Orders`."""
_FORMULA = frozenset("=+-@\t\r")
"""What a cell begins with that a spreadsheet works out."""


@dataclasses.dataclass(frozen=True)
class Orders:
    """Orders for the next open.

    Nothing is sent anywhere. Shares are those at the last close: what the next open is, nobody knows.

    Attributes:
        checkpoint: run folder, or folder of an exported policy; also without the flag, before all others.
        data: market file or folder with the newest bars; the data of the run without it.
        cash: dollars in the account; those that an episode of the agent begins with, without it. In [0, 1e12].
        holdings: CSV of ticker, shares and, if it is known, entry_price; none without it.
        output: CSV to write the orders to, too.
        step: update of the checkpoint; the newest without it. In [0, 2,147,483,647].
        best: take the agent with the best held-out score during training.
        agent: which agent of a run with several seeds, by its place from 0. In [0, 10,000].
        ensemble: all seeds of the run as one agent that trades the mean of their targets.
        columns: which column of the data plays which role, such as close=Close/Last,date=Date; those of the run
            without it.
        device: where to run.
    """

    checkpoint: str
    data: str | None = None
    cash: float | None = None
    holdings: str | None = None
    output: str | None = None
    step: int | None = None
    best: bool = False
    agent: int = 0
    ensemble: bool = False
    columns: str | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"

    def __post_init__(self) -> None:
        check_bounds(self, ORDERS_BOUNDS)


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = read(Orders, first_as("--checkpoint", args))
    holdings = None if wanted.holdings is None else read_holdings(wanted.holdings)
    configure(wanted.device)
    agent = load_agent(
        wanted.checkpoint, step=wanted.step, best=wanted.best, seed=wanted.agent, all_seeds=wanted.ensemble
    )
    given = {"data": wanted.data, "columns": wanted.columns}
    changes = {name: value for name, value in given.items() if value is not None}
    data = data_of_run(Path(wanted.checkpoint), tickers=(), liquid=None, **changes)
    with naming_source(f"The run in {wanted.checkpoint}" if wanted.data is None else None, data):
        panel = read_panel(data)
    orders = orders_for_today(agent, panel, holdings=holdings, cash=wanted.cash)
    if wanted.output is not None:
        harmless(orders).to_csv(wanted.output, index=False)
    show(orders, plural(len(agent.known_tickers(panel.symbols)), "ticker"))
    return 0


def harmless(table: Any) -> Any:
    """Return a table whose words no spreadsheet takes for a formula: one that begins as such has an apostrophe first.

    Source: OWASP, "CSV Injection".
    """

    def quoted(cell: Any) -> Any:
        return "'" + cell if isinstance(cell, str) and cell[:1] in _FORMULA else cell

    # By name would not do: it is words that matter, in whatever column.
    return table.apply(lambda column: column if column.dtype.kind in "biufcmM" else column.map(quoted))


def show(orders: Any, traded: str) -> None:
    """Print orders, with what they were decided on.

    Args:
        orders: the DataFrame of `orders_for_today`.
        traded: how many tickers the agent could trade, in words.
    """
    console, facts = result_console(), orders.attrs
    console.print(
        f"Decided at the close of {facts['decided']} on {traded}; fills {facts['fills']}. Account:"
        f" ${facts['equity']:,.2f}, of which ${facts['cash']:,.2f} cash."
    )
    if orders.empty:
        console.print("No order: the agent leaves the account as it is.")
        return
    table = Table(box=None, pad_edge=False)
    names = [name for name in orders.columns if name != "reason" or set(orders["reason"]) != {"order"}]
    for name in names:
        table.add_column(_TITLES.get(name, name.capitalize()), justify="left" if name in _TEXTS else "right")
    for row in orders[names].itertuples(index=False):
        table.add_row(*(_write(name, value) for name, value in zip(names, row, strict=True)))
    console.print(table)
    bought = orders.loc[orders["side"] == "buy", "value"].sum()
    sold = orders.loc[orders["side"] == "sell", "value"].sum()
    console.print(
        f"\nBuys ${bought:,.2f}, sales ${sold:,.2f}, expected costs ${orders['cost'].sum():,.2f}. Prices are the last"
        " closes with spread and slippage; nothing has been sent."
    )


_TEXTS = ("ticker", "side", "reason")
_TITLES = {"weight_before": "Weight\nbefore", "weight_after": "Weight\nafter"}


def _write(name: str, value: object) -> str:
    if isinstance(value, str):
        return show_ticker(value)
    number = float(value)  # type: ignore[arg-type]  # all other columns are numbers
    if np.isnan(number):
        return "–"
    if name.startswith("weight"):
        return f"{number:.1%}"
    return f"{number:,.4f}".rstrip("0").rstrip(".") if name == "shares" else f"{number:,.2f}"
