"""Many backtests at once beside vectorbt's `from_orders`: the same bars and target weights, in one run.

vectorbt wants an environment of its own, made as tests/oracles/README.md says; give its interpreter with
`--vectorbt PYTHON`, else only our side is measured.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.vectorized import play_decisions
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.generate import synthetic_panel

NUM_POLICIES, NUM_ASSETS, NUM_BARS = 1000, 30, 1258
QUICK_POLICIES = 100
TRADED = 0.05
"""Share of the bars in which a policy sets an asset's weight anew."""

BASIC = EnvConfig(tick_size=None, fees="none", spread_bps=2, slippage_bps=1, commission_bps=1).without_strategy_rules()
FULL = EnvConfig(action="weights", max_position_pct=1.0)
RULES = {"backtest, rules of vectorbt": BASIC, "backtest, full broker": FULL}


def measure_backtest(*, quick: bool, repeats: int, vectorbt: str | None) -> list[dict[str, Any]]:
    """Return a row for each set of rules, and for vectorbt if an interpreter that has it is given.

    Raises:
        ValueError: if the interpreter fails; the message holds what it said.
    """
    num_policies = QUICK_POLICIES if quick else NUM_POLICIES
    market = build_market(synthetic_panel(jax.random.key(0), NUM_ASSETS, NUM_BARS + 1), ())
    decisions = draw_decisions(num_policies)
    rows = []
    for name, config in RULES.items():
        began = time.perf_counter()
        play_decisions(decisions, market, TradingEnv(config))
        first = time.perf_counter() - began
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            play_decisions(decisions, market, TradingEnv(config))
            seconds.append(time.perf_counter() - began)
        rows.append(_row(name, num_policies, sorted(seconds)[len(seconds) // 2], first))
    if vectorbt is not None:
        rows.append(_measure_vectorbt(vectorbt, market, decisions, repeats))
    return rows


def draw_decisions(num_policies: int) -> np.ndarray:
    """Return target weights `[N, P, A]` that add up to less than 1; NaN leaves a position alone."""
    rng = np.random.default_rng(0)
    shape = NUM_BARS, num_policies, NUM_ASSETS
    weights = rng.uniform(0, 1 / NUM_ASSETS, shape).astype(np.float32)
    weights[rng.random(shape, np.float32) > TRADED] = np.nan
    return weights


def backtest_table(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for label in ("", "Policies", "Assets x bars/s", "Seconds", "First call s"):
        table.add_column(label, justify="left" if not label else "right")
    for row in rows:
        rate = f"{row['asset_bars_per_second']:,.0f}"
        table.add_row(
            row["section"], str(row["policies"]), rate, f"{row['seconds']:.2f}", f"{row['first_seconds']:.1f}"
        )
    return table


def _row(name: str, num_policies: int, seconds: float, first: float) -> dict[str, Any]:
    cells = num_policies * NUM_ASSETS * NUM_BARS
    return {
        "section": name,
        "policies": num_policies,
        "assets": NUM_ASSETS,
        "bars": NUM_BARS,
        "seconds": seconds,
        "first_seconds": first,
        "asset_bars_per_second": cells / seconds,
    }


_SCRIPT = """
import json, sys, time
import numpy as np, vectorbt
data = np.load(sys.argv[1])
close, opens, targets = data["close"], data["open"], data["targets"]
num_bars, num_policies, num_assets = targets.shape
sizes = targets.reshape(num_bars, -1).astype(np.float64)
groups = np.repeat(np.arange(num_policies), num_assets)
def wide(x):
    return np.tile(x, (1, num_policies))
close, opens = wide(close), wide(opens)
seconds = []
for _ in range(1 + int(sys.argv[2])):
    began = time.perf_counter()
    portfolio = vectorbt.Portfolio.from_orders(
        close, size=sizes, size_type="targetpercent", price=opens, group_by=groups, cash_sharing=True,
        call_seq="auto", fees=1e-4, slippage=2e-4, init_cash=100_000.0, freq="1D",
    )
    value = np.asarray(portfolio.value())
    seconds.append(time.perf_counter() - began)
print(json.dumps({"first": seconds[0], "seconds": sorted(seconds[1:])[(len(seconds) - 1) // 2],
                  "version": vectorbt.__version__, "mean": float(value[-1].mean())}))
"""


def _measure_vectorbt(python: str, market: Market, decisions: np.ndarray, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.npz"
        opens, close = (np.asarray(x[1:], np.float64) for x in (market.open, market.close))
        np.savez(path, open=opens, close=close, targets=decisions)
        # It must not see this project's packages, nor the settings of its interpreter.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [python, "-c", _SCRIPT, str(path), str(repeats)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
        except OSError as error:
            raise ValueError(f"--vectorbt {python} cannot be run: {error}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise ValueError(f"vectorbt failed under {python}: {last}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return _row(f"vectorbt {told['version']}", decisions.shape[1], told["seconds"], told["first"])
