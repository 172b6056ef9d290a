"""What a paper account sees and says beside a backtest of the same bars: rows, outputs of the network, flips."""

import dataclasses
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.acting import act_next, encode_market, look_up, respond
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import fit_features
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.live.bars import ClosedBar, labels_from
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare, describe_comparison
from ploutos_jax.live.window import BarWindow
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.panel import Panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from tests.evaluate.backtest.worlds import make_agent, make_panel
from tests.live.paper import FORMS, agent_of, play

pytestmark = pytest.mark.thorough
ROOT = Path(__file__).resolve().parents[2]
BITCOIN = ROOT.parent / "shared" / "data" / "crypto_btcusd_1h_2018_2022.parquet"


def seen_in_cash(market, t):
    """Observations `[1]` at a bar, of an account that has bought nothing."""
    env = TradingEnv(dataclasses.replace(FORMS["bands"], episode_length=1))
    seen, _ = env.reset_at(1, market.num_bars - 1, env.default_params(market))
    return jax.tree.map(lambda x: jnp.asarray(x)[None], seen).replace(t=jnp.asarray([t], jnp.int32))


@pytest.mark.parametrize("num_assets", [1, 3])
def test_a_row_alone_has_the_outputs_that_it_has_in_a_market(num_assets):
    """To the bit: bands are rounded to 16 bits, so that a last digit may become a thousandth of a score."""
    market = build_market(make_panel(num_bars=200, num_assets=num_assets), "minimal")
    agent = make_agent(market, FORMS["bands"])
    network = Network.create(PolicyConfig(), "bands", num_assets, 2**20)
    weights = jax.tree.map(lambda x: 2 * x, network.init(jax.random.key(5), market.num_features))
    params = AgentParams(network=weights, scaling=agent.params.scaling)
    arrays = market.replace(labels=None, sector=None)
    in_market = jax.jit(
        lambda params, market, seen: respond(
            network, params, market, look_up(encode_market(network, params, market), seen.t), seen
        )[0]
    )
    alone = jax.jit(lambda params, market, seen: act_next(network, params, market, seen, None)[1])
    seen = seen_in_cash(market, 0)
    for t in range(30, 200, 10):
        at = seen.replace(t=jnp.asarray([t], jnp.int32))
        row = jax.tree.map(lambda x: x[t : t + 1], arrays.replace(feature_names=()))  # noqa: B023
        row = row.replace(path_end=jnp.zeros(1, jnp.int32), feature_names=market.feature_names)
        mine, theirs = alone(params, row, seen), in_market(params, arrays, at)
        np.testing.assert_array_equal(mine, theirs)
    assert np.abs(mine).max() > 0.01


@pytest.mark.parametrize("cell", ["mingru", "lru", "lstm"])
def test_a_network_that_remembers_says_what_it_says_in_a_backtest(tmp_path, cell):
    """A row goes on from the state before it, and its copies leave the state as it is.

    Not to the bit: with the quick compiler settings of the tests the recurrence rounds otherwise alone.
    """
    panel = make_panel(num_bars=180, num_assets=2)
    market = build_market(panel, "minimal")
    plain = make_agent(market, FORMS["bands"])
    network = Network.create(PolicyConfig(time="recurrent", time_cell=cell), "bands", 2, 2**20)
    weights = jax.tree.map(lambda x: 2 * x, network.init(jax.random.key(4), market.num_features))
    agent = dataclasses.replace(plain, network=network, params=plain.params.replace(network=weights))
    play(tmp_path / "j", panel, agent=agent)
    found = compared(tmp_path, agent)
    assert found.outputs_apart < 1e-6 and all(abs(flip.margin) < 1e-6 for flip in found.flips)
    assert found.fills_differ == 0 and len(found.paper.fills) > 20
    assert (found.bars["equity_replay"] == 0).all()


def traded(folder, form):
    panel = make_panel()
    agent = agent_of(panel, FORMS[form])
    play(folder / "j", panel, agent=agent)
    return agent


def compared(folder, agent):
    with Journal(folder / "j", read_only=True) as journal:
        return compare(journal, agent, labels_from(journal.facts()["labels"]))


def test_the_margin_of_a_flip_is_that_of_the_scores(tmp_path):
    """A decision that a network would have taken whose scores are 2⁻¹⁰ higher for one asset in one bar."""
    agent = traded(tmp_path, "bands")
    before = compared(tmp_path, agent)
    assert before.flips == [] and before.outputs_apart < 1e-5
    head, bar, asset, moved = agent.network.head, 17, 2, 2.0**-10
    with Journal(tmp_path / "j") as journal:
        outputs = journal.outputs()[bar].reshape(3, 4).copy()
        was = np.array(journal.decisions()["wanted"][bar])
    np.testing.assert_array_equal(head.to_env(head.mode(jnp.asarray(outputs))), was.astype(np.float32))
    outputs[asset, :2] += moved
    wanted = np.asarray(head.to_env(head.mode(jnp.asarray(outputs))))
    with closing(sqlite3.connect(tmp_path / "j")) as db, db:
        db.execute("UPDATE outputs SET numbers = ? WHERE bar = ?", (outputs.tobytes(), bar))
        db.execute("UPDATE decisions SET wanted = ? WHERE bar = ?", (str(wanted.tolist()), bar))
    after = compared(tmp_path, agent)
    edges = np.abs(wanted - was)
    changed = [a for a in range(3) if edges[a].max() > 1e-6]
    assert asset in changed and [flip.bar for flip in after.flips] == [bar] * len(changed)
    for flip, a in zip(after.flips, changed, strict=True):
        edge = edges[a].argmax()
        assert flip.ticker == "ABC"[a]
        assert (flip.paper, flip.backtest) == pytest.approx((wanted[a, edge], was[a, edge]), abs=1e-6)
        assert flip.margin == pytest.approx(moved, abs=2e-6)
    assert after.outputs_apart == pytest.approx(moved, abs=2e-6)
    said = describe_comparison(after)
    assert (
        f"decisions that differ: {len(changed)} of 59, at a margin of the network's outputs of at most 9.8e-04." in said
    )
    with closing(sqlite3.connect(tmp_path / "j")) as db, db:  # a journal of before
        db.execute("DROP TABLE outputs")
    old = compared(tmp_path, agent)
    assert len(old.flips) == len(changed) and np.isnan([flip.margin for flip in old.flips]).all()
    assert np.isnan(old.outputs_apart) and "margin" not in describe_comparison(old)


def series(calendar, num_bars, deviation, seed):
    """Bars of three assets around 60,000, 400 and 0.05 dollars, in digits that no exchange has; some without volume."""
    rng = np.random.default_rng(seed)
    shape = num_bars, 3
    close = np.array([60_000, 400, 0.05]) * np.exp(np.cumsum(rng.standard_t(3, shape) * deviation, axis=0))
    opens = np.concatenate([close[:1], close[:-1]]) * np.exp(rng.normal(0, deviation / 10, shape))
    reach = np.exp(np.abs(rng.normal(0, deviation / 2, (2, *shape))))
    per_day = calendar.bars_per_session or 1
    sessions = 18_000 + np.arange(num_bars) // per_day
    step = np.timedelta64(86_400 // per_day, "s")
    times = sessions.astype("datetime64[D]").astype("datetime64[ns]") + (np.arange(num_bars) % per_day) * step
    panel = make_panel(num_bars=2)
    return Panel(
        open=opens,
        high=np.maximum(opens, close) * reach[0],
        low=np.minimum(opens, close) / reach[1],
        close=close,
        volume=np.where(rng.random(shape) < 0.01, 0, rng.lognormal(8, 1.5, shape)),
        tradable=np.ones(shape, bool),
        sessions=sessions.astype(np.int32),
        labels=dataclasses.replace(panel.labels, times=times, calendar=calendar),
    )


@pytest.mark.parametrize(
    ("calendar", "deviation"),
    [(Calendar(365.25 * 24, 24, 365.25), 5e-3), (Calendar(252 * 390, 390, 252), 2e-4)],
    ids=["hours of coins", "minutes of stocks"],
)
def test_scaled_features_of_a_long_series_are_those_of_the_table(calendar, deviation):
    """In the units that a network reads: what is the same to a millionth may be far apart beside a small spread."""
    panel = series(calendar, 6000, deviation, 11)
    whole = build_market(panel, [feature.name for feature in FEATURES])
    table = np.asarray(whole.features)
    spread = np.asarray(fit_features(table[:4000], np.asarray(whole.tradable)[:4000]).spread)
    window = BarWindow(panel.labels, whole.feature_names)
    begin = 5300 - window.size
    window.count = begin
    worst = np.zeros(len(whole.feature_names))
    for row in range(begin, panel.num_bars):
        window.add(ClosedBar.of(panel, row))
        if row >= 5300 and row % 10 == 0:
            apart = np.abs(np.asarray(window.market().features[1]) - table[row]) / spread
            worst = np.maximum(worst, apart.max(axis=0))
    found = {name: float(x) for name, x in zip(whole.feature_names, worst, strict=True) if x > 5e-6}
    assert found == {}
    # The table is one of numbers that move.
    assert (table[5300:].std(axis=(0, 1)) > 0).sum() > len(FEATURES) - 8


@pytest.mark.slow
@pytest.mark.realdata
def test_a_trained_agent_decides_as_in_the_backtest_of_a_year(tmp_path):
    """Programs are compiled as for users; see `test_real_bars_are_traded_as_by_a_backtest`."""
    if not BITCOIN.is_file():
        pytest.skip("needs the market data folder beside the repository")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    run, sizes = str(tmp_path / "run"), ["--total-timesteps", "131072", "--num-envs", "64"]
    train = ["scripts/train.py", "--data", str(BITCOIN), "--end", "2020-12-31", *sizes, "--output", run]
    trade = ["-m", "tests.live.real_bars", str(BITCOIN), "2021-01-01", "2021-12-31", run, str(tmp_path / "j")]
    for command in (train, trade):
        command = [sys.executable, "-W", "ignore", *command]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    print(done.stdout)
    found = json.loads(done.stdout)
    assert found["bars"] > 8000 and found["fills"] > 300 and found["scaled_features_apart"] <= 1e-6
    assert found["fills_differ"] == 0 and found["equity_replay_apart"] == 0 and found["cash_replay_apart"] == 0
    assert found["outputs_apart"] <= 1e-5 and all(abs(margin) <= 1e-4 for margin in found["flips"])
