"""The markets that stages run on, made once on the CPU."""

import os
import pickle
import subprocess
import sys
import time

from benchmarks.gpu.stages.measuring import row, start_jax
from benchmarks.gpu.stages.plan import BARS, CARRIED, ENV, PPO, SCRIPT, TINY, WORK


def market_of(assets, features=0, folder=WORK):
    import numpy as np

    path = folder / f"market_{assets}.pkl"
    carried = CARRIED / path.name
    if not path.exists() and carried.exists():
        path = carried
    if path.exists():
        market = pickle.loads(path.read_bytes())
    else:
        import jax

        from ploutos_jax.market.features.build import build_market
        from ploutos_jax.market.synthetic.generate import synthetic_panel

        # Two cheap features, then as many drawn numbers as `core` has columns: compiling all indicators takes long, and
        # speed does not depend on what they hold. The stage `features` compares the real ones.
        market = build_market(synthetic_panel(jax.random.key(0), assets, BARS), ["log_return_1", "range"])
        market = jax.tree.map(np.asarray, market).replace(labels=market.labels)
        features = features or 28
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(market.replace(features=market.features[..., :1])))
        part.replace(path)
    features = features or 28
    if features:
        drawn = np.random.default_rng(0).normal(size=(*market.close.shape, features)).astype(np.float32)
        market = market.replace(features=drawn, feature_names=tuple(f"f{i}" for i in range(features)))
    return market


def stage_markets():
    """Build the markets on the CPU, one process each, at once."""
    wanted = sorted({e[0] for e in ENV} | {p["A"] for p in PPO.values()} | {3, 5, 30} if not TINY else {1, 3, 5})
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    began = time.time()
    wanted = [
        a for a in wanted if not (WORK / f"market_{a}.pkl").exists() and not (CARRIED / f"market_{a}.pkl").exists()
    ]
    children = {a: subprocess.Popen([sys.executable, str(SCRIPT), "market", str(a)], env=env) for a in wanted}
    codes = {a: c.wait() for a, c in children.items()}
    row(markets=codes, seconds=round(time.time() - began, 1))


def stage_market(assets):
    start_jax()
    market_of(int(assets))


def stage_markets_here():
    """On a machine with time to spare: build the markets into ./markets beside this file, to be carried along."""
    CARRIED.mkdir(exist_ok=True)
    start_jax(cache=False)
    for assets in (1, 3, 5, 30, 503):
        began = time.time()
        market_of(assets, folder=CARRIED)
        row(
            assets=assets,
            seconds=round(time.time() - began, 1),
            mib=(CARRIED / f"market_{assets}.pkl").stat().st_size / 2**20,
        )
