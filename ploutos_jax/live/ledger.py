"""A journal as a ledger, for the pages of a backtest; and beside it the backtest of the same bars.

Letters: N steps, A assets.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ploutos_jax.agents.agent import Agent
from ploutos_jax.evaluate.backtest.recorder import ACCOUNT
from ploutos_jax.evaluate.backtest.replay import Replayed, replay
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.ledger import FILL_COLUMNS, PART_COLUMNS, Ledger
from ploutos_jax.live.bars import PRICES
from ploutos_jax.live.journal import Journal
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market, Panel

_SAME = 1e-6
"""How far apart numbers of two encodings of one row are at most, by rounding, to be the same action."""


class JournalBars(NamedTuple):
    """The bars of a journal.

    Attributes:
        panel: all of them, history first.
        adjusted: the same at total-return prices, as the account saw them.
        first: row of the account's first bar.
    """

    panel: Panel
    adjusted: Panel
    first: int


def bars_of(journal: Journal, labels: Labels) -> JournalBars:
    """Return the bars of a journal.

    Args:
        journal: of an account.
        labels: calendar, sectors and instruments of its tickers; times are those of the journal.

    Raises:
        ValueError: if it holds no bars: a copy for sharing has none.
    """
    rows = list(journal.bars(labels.symbols))
    if not rows or rows[-1][0] < 0:
        raise ValueError(f"{journal.path} holds no bars of an account; of a copy for sharing they are left out.")
    bars = [bar for _, bar, _ in rows]
    fields = {name: np.stack([getattr(bar, name) for bar in bars]) for name in (*PRICES, "volume", "tradable")}
    blank = {"dividend": 0.0, "split": 1.0}
    for name, value in blank.items():
        given = [getattr(bar, name) for bar in bars]
        if any(x is not None for x in given):
            fields[name] = np.stack([np.full(len(labels.symbols), value) if x is None else x for x in given])
    names = bars[-1].signals
    panel = Panel(
        **fields,
        sessions=np.array([bar.session for bar in bars], np.int32),
        signals={name: np.stack([bar.signals[name] for bar in bars]) for name in names},
        labels=dataclasses.replace(labels, times=np.array([bar.time for bar in bars])),
    )
    adjusted = panel
    if "dividend" in fields or "split" in fields:
        prices, shares = (np.stack([factors[i] for _, _, factors in rows]) for i in (0, 1))
        scaled = {name: fields[name] * prices for name in PRICES}
        adjusted = panel.replace(**scaled, volume=fields["volume"] / shares, dividend=None, split=None)
    return JournalBars(panel, adjusted, -rows[0][0])


def market_of(bars: JournalBars, agent: Agent) -> Market:
    """Return the market that the account traded in, history included, with the features of an agent.

    Without delistings, which nobody knew of.
    """
    market = build_market(bars.panel, list(agent.feature_names), adjusted=bars.adjusted)
    return market.replace(delisted=None)


def ledger_of(journal: Journal, panel: Panel, *, name: str = "paper") -> Ledger:
    """Return the simulated account of a journal as a ledger.

    Args:
        journal: of the account.
        panel: its bars, from the first of the account on.
        name: of the ledger.
    """
    accounts = journal.accounts()
    fills = journal.fills()
    times = panel.times
    for fill in fills:
        fill["date"] = times[fill["bar"]]
    kinds = [key for fill in fills[:1] for key in fill if key not in (*FILL_COLUMNS, *PART_COLUMNS)]
    columns = [*FILL_COLUMNS, *PART_COLUMNS, *kinds]
    table = pd.DataFrame(fills, columns=columns) if fills else pd.DataFrame({key: [] for key in columns})
    figures: dict[str, Any] = {key: accounts[key].to_numpy(np.float64) for key in (*ACCOUNT, "gross_exposure")}
    prices: dict[str, Any] = {key: np.asarray(getattr(panel, key), np.float32).astype(np.float64) for key in PRICES}
    return Ledger(
        name=name,
        times=times,
        **figures,
        initial_cash=float(figures["cash"][0]),
        fills=table,
        symbols=panel.symbols,
        **prices,
        split=None if panel.split is None else np.asarray(panel.split, np.float64),
        calendar=panel.calendar,
        sessions=np.asarray(panel.sessions),
    )


class Flip(NamedTuple):
    """What the agent decides otherwise in the backtest, at the same account.

    Attributes:
        bar: of the account.
        ticker: whose.
        paper, backtest: the choices; of weights both, of bands the edges that are further apart.
        margin: in the units of the network's outputs: of choices, by how much the backtest's logit is above that of the
            paper account's choice; of weights and bands, how far the scores are apart that these are made of, those of
            the bar's assets that are furthest. NaN of numbers where the journal holds no outputs.
    """

    bar: int
    ticker: str
    paper: float
    backtest: float
    margin: float


class Comparison(NamedTuple):
    """Paper against backtest, over the same bars.

    Attributes:
        paper: the ledger of the journal.
        replayed: that of its actions, played again by the scan of backtests.
        backtest: that of the agent by itself over the bars.
        bars: one row per bar: the difference of equity and cash to both, dollars.
        fills_differ: fills of the journal that the replay does not have to the bit.
        flips: choices that differ at the same account; of numbers, those further apart than a millionth.
        outputs_apart: most that an output of the network differs by from the backtest's; NaN where the journal holds
            none.
    """

    paper: Ledger
    replayed: Ledger
    backtest: Ledger
    bars: pd.DataFrame
    fills_differ: int
    flips: list[Flip]
    outputs_apart: float


def compare(journal: Journal, agent: Agent, labels: Labels) -> Comparison:
    """Return a paper account beside the replay of its actions and the backtest of its bars.

    Args:
        journal: of an account of at least two bars.
        agent: of the account.
        labels: of its tickers.
    """
    bars = bars_of(journal, labels)
    market, span = market_of(bars, agent), bars.panel.window(bars.first, None)
    decisions = journal.decisions()
    dtype = np.int8 if agent.env_config.is_choice else np.float32
    actions = np.stack(list(decisions["action"])).astype(dtype)[:-1]
    wanted = np.stack(list(decisions["wanted"])).astype(dtype)[:-1]
    paper = ledger_of(journal, span)
    played = replay(agent, market, actions, bars.first, name="paper, replayed")
    alone = backtest(agent, market, bars.first, name="backtest")
    differences = pd.DataFrame({"date": span.times})
    for other, name in ((played.ledger, "replay"), (alone, "backtest")):
        for figure in ("equity", "cash"):
            differences[f"{figure}_{name}"] = getattr(paper, figure) - getattr(other, figure)
    exact = ["bar", "ticker", "side", "shares", "price", "reference_price", "fee", "reason"]
    mine, theirs = (list(map(tuple, one.fills[exact].to_numpy().tolist())) for one in (paper, played.ledger))
    apart = sum(a != b for a, b in zip(mine, theirs, strict=False)) + abs(len(mine) - len(theirs))
    said = _outputs_of(journal, played.outputs)
    flips = _flips(agent, wanted, played, said, labels.symbols)
    return Comparison(
        paper, played.ledger, alone, differences, apart, flips, float(np.abs(said - played.outputs).max())
    )


def describe_comparison(compared: Comparison) -> str:
    """Return in words how a paper account differs from the replay of its actions and from the backtest."""
    bars, flips = compared.bars, compared.flips
    most = max((abs(flip.margin) for flip in flips), default=0.0)
    margin = f", at a margin of the network's outputs of at most {most:.1e}" if flips and most == most else ""
    return (
        f"The same actions replayed: at most ${bars['equity_replay'].abs().max():,.2f} of equity apart,"
        f" {compared.fills_differ} fills. The backtest: at most ${bars['equity_backtest'].abs().max():,.2f} of equity"
        f" apart; decisions that differ: {len(flips)} of {len(bars) - 1}{margin}."
    )


def _outputs_of(journal: Journal, like: np.ndarray) -> np.ndarray:
    """Return what the network said in the steps of an account, `[N, ...]`; NaN where the journal does not know."""
    said = np.full_like(like, np.nan)
    for bar, numbers in journal.outputs().items():
        if bar < len(said):
            said[bar] = numbers.reshape(said.shape[1:])
    return said


def _flips(
    agent: Agent, wanted: np.ndarray, played: Replayed, said: np.ndarray, symbols: tuple[str, ...]
) -> list[Flip]:
    own, outputs = played.actions, played.outputs
    found = []
    if not agent.env_config.is_choice:
        mine, theirs = (x.reshape(*x.shape[:2], -1) for x in (wanted, own))
        apart = np.abs(mine - theirs)
        scores = outputs.shape[-1] // 2  # their deviations come last
        margins = np.abs(said - outputs)[..., :scores].reshape(len(said), -1).max(axis=-1)
        for i, a in np.argwhere((apart > _SAME).any(axis=-1)):
            edge = int(apart[i, a].argmax())
            values = float(mine[i, a, edge]), float(theirs[i, a, edge])
            found.append(Flip(int(i), symbols[a], *values, float(margins[i])))
        return found
    for i, a in np.argwhere(wanted != own):
        logits = outputs[i, ..., a, :].reshape(-1, outputs.shape[-1]).mean(axis=0)
        margin = float(logits[int(own[i, a])] - logits[int(wanted[i, a])])
        found.append(Flip(int(i), symbols[a], float(wanted[i, a]), float(own[i, a]), margin))
    return found
