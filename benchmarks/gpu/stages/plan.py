"""What the first minutes measure, at full size or tiny, and where it is written."""

import os
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "benchmarks" / "gpu" / "first_light.py"
"""Every stage is a process of it."""
CARRIED = SCRIPT.parent / "markets"
"""Markets that were made beforehand."""
OUT = Path(os.environ.get("OUT") or Path(tempfile.gettempdir()) / "first_light_out")
WORK = Path(os.environ.get("FL_WORK") or Path(tempfile.gettempdir()) / "first_light_work")
FLAGS = {
    "as it is": "",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "loops inside command buffers": "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL",
    "loops inside command buffers, unrolled": "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL"
    " --xla_gpu_command_buffer_unroll_loops=true",
}
"""Of XLA, about what a CUDA graph holds."""
TINY = os.environ.get("FL_TINY") == "1"
ON_CPU = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
BEGAN = time.time()

# What is measured.
# env rows: assets, envs, steps, what the recorder keeps ("mean" is the project's own benchmark; "store" keeps [E] rows)
ENV = [
    (1, 4096, 128, "mean"),
    (1, 65536, 64, "mean"),
    (1, 65536, 64, "store"),
    (1, 262144, 32, "store"),
    (1, 1048576, 16, "store"),
    (503, 4096, 16, "mean"),
    (503, 4096, 16, "store"),
    (503, 16384, 8, "store"),
    (503, 65536, 8, "store"),
    (30, 4096, 32, "store"),
    (30, 65536, 16, "store"),
]
# ppo rows: name, network, assets, envs, steps, features, precision of float32 products, chunk MB
PPO = {
    "ppo_2x128": dict(net="2x128", A=1, E=4096, S=128, feat=0, prec=None, chunk=256, profile=1),
    "ppo_2x128_wide": dict(net="2x128", A=1, E=65536, S=32, feat=0, prec=None, chunk=2048),
    "ppo_1024_tf32": dict(net="1024", A=503, E=4096, S=16, feat=85, prec=None, chunk=2048, profile=1),
    "ppo_1024_bf16": dict(net="1024bf16", A=503, E=4096, S=16, feat=85, prec=None, chunk=2048, profile=1),
    "ppo_1024_bf16_wide": dict(net="1024bf16", A=503, E=16384, S=16, feat=85, prec=None, chunk=2048),
    "ppo_1024_fp32": dict(net="1024", A=503, E=4096, S=16, feat=85, prec="float32", chunk=2048),
    "ppo_default_1": dict(net="default", A=1, E=4096, S=128, feat=0, prec=None, chunk=256),
    "ppo_default_503": dict(net="default", A=503, E=2048, S=16, feat=0, prec=None, chunk=2048, profile=1),
    "ppo_default_30": dict(net="default", A=30, E=4096, S=32, feat=0, prec=None, chunk=2048),
}
if TINY:
    ENV = [(a, max(8, e // 4096), 4, r) for a, e, s, r in ENV if a == 1][:3]
    PPO = {k: dict(v, A=min(v["A"], 3), E=32, S=8) for k, v in PPO.items() if k in ("ppo_2x128", "ppo_1024_bf16")}
BARS = 300 if TINY else 1260
# stage: (command line, seconds it needs at least, seconds it may take)
STAGES = [
    ("machine", ["machine"], 5, 40),
    ("markets", ["markets"], 20, 90),
    ("smoke", ["smoke"], 30, 110),
    ("env", ["env"], 30, 120),
    ("ppo_2x128", ["ppo", "ppo_2x128"], 25, 90),
    ("ppo_1024_tf32", ["ppo", "ppo_1024_tf32"], 25, 90),
    ("ppo_1024_bf16", ["ppo", "ppo_1024_bf16"], 25, 80),
    ("ppo_default_503", ["ppo", "ppo_default_503"], 25, 80),
    ("determinism", ["determinism"], 40, 110),
    ("ppo_default_1", ["ppo", "ppo_default_1"], 20, 70),
    ("ppo_2x128_wide", ["ppo", "ppo_2x128_wide"], 20, 70),
    ("tests", ["tests"], 30, 110),
    ("ppo_1024_bf16_wide", ["ppo", "ppo_1024_bf16_wide"], 25, 80),
    ("ppo_2x128_graphs", ["ppo", "ppo_2x128", "loops inside command buffers"], 25, 70),
    ("ppo_1024_fp32", ["ppo", "ppo_1024_fp32"], 25, 80),
    ("ppo_default_30", ["ppo", "ppo_default_30"], 25, 80),
    ("flags", ["flags"], 25, 90),
    ("features", ["features"], 30, 120),
]
