"""Bounds of the numbers of the learner's settings."""

import dataclasses

from ploutos_jax.env.bounds import Bound, share, whole

_STEPS = whole(1, 10**15)
TRAIN_BOUNDS: dict[str, Bound] = {
    "tail": Bound(0, 1, above=True),
    "cvar_weight": Bound(0, 1000),
    "turnover_penalty": Bound(0, 1000),
    "risk_aversion": Bound(0, 100),
    "mix": share(),
    "num_envs": whole(1, 2_000_000),
    "total_timesteps": _STEPS,
    "rollout_length": whole(1, 100_000),
    "num_minibatches": whole(1, 1_000_000),
    "batch_size": whole(1, 10**12),
    "num_epochs": whole(1, 10_000),
    "learning_rate": Bound(0, 1e30, above=True),
    "gamma": share(),
    "gae_lambda": share(),
    "clip_range": Bound(0, 1e6, above=True),
    "entropy_coef": Bound(0, 1e6),
    "value_coef": Bound(0, 1e6),
    "value_clip": Bound(0, 1e6, above=True),
    "time_gradient": whole(0, 1_000_000),
    "average": share(below=True),
    "max_grad_norm": Bound(0, 1e30, above=True),
    "target_kl": Bound(0, 1e6, above=True),
    "seed": whole(0, 2**31 - 1),
    "num_seeds": whole(1, 10_000),
    "market_refresh": whole(1, 1_000_000_000),
    "chunk_megabytes": Bound(0, 1e6, above=True),
    "checkpoint_every": _STEPS,
    "keep_checkpoints": whole(1, 1_000_000),
    "eval_every": _STEPS,
}
"""Numbers of `TrainConfig`."""
POLICY_BOUNDS: dict[str, Bound] = {
    "hidden": dataclasses.replace(whole(1, 100_000), several=True),
    "width": whole(1, 100_000),
    "time_width": whole(1, 100_000),
    "time_layers": whole(1, 1_000),
    "time_window": whole(2, 100_000),
    "quantiles": whole(0, 1_000),
    "dropout": share(below=True),
    "return_loss": Bound(0, 1e6),
}
"""Numbers of `PolicyConfig`, which knows nothing of settings."""
