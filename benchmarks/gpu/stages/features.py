"""The features of a small market on CPU and GPU."""

import os
import subprocess
import sys
import time

from benchmarks.gpu.stages.measuring import row, start_jax
from benchmarks.gpu.stages.plan import ON_CPU, SCRIPT, WORK


def features_work(where):
    jax = start_jax()
    import numpy as np

    from ploutos_jax.market.features.build import build_market
    from ploutos_jax.market.synthetic.generate import synthetic_panel

    began = time.time()
    with jax.default_device(jax.devices("cpu")[0]):
        panel = synthetic_panel(jax.random.key(0), 3, 320)
        panel = jax.tree.map(np.asarray, panel).replace(labels=panel.labels)
    market = build_market(panel, "core")
    np.savez(WORK / f"features_{where}.npz", features=np.asarray(market.features), names=np.array(market.feature_names))
    row(where=where, build_market_s=round(time.time() - began, 1))


def stage_features():
    import numpy as np

    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    gpu_env = {**os.environ} if ON_CPU else {**os.environ, "JAX_PLATFORMS": "cuda,cpu"}
    jobs = [
        subprocess.Popen([sys.executable, str(SCRIPT), "features_work", "cpu"], env=env),
        subprocess.Popen([sys.executable, str(SCRIPT), "features_work", "gpu"], env=gpu_env),
    ]
    row(codes=[j.wait() for j in jobs])
    a, b = np.load(WORK / "features_cpu.npz"), np.load(WORK / "features_gpu.npz")
    apart = np.abs(a["features"].astype(np.float64) - b["features"]).max(axis=(0, 1))
    row(
        what="features, largest difference GPU to CPU",
        by_feature={str(n): float(d) for n, d in sorted(zip(a["names"], apart, strict=True), key=lambda x: -x[1])[:12]},
    )
