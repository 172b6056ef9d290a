"""Presets of the command line: named changes to the settings; docs/presets.md says where each number comes from."""

import copy
from collections.abc import Mapping
from typing import Any

_OLDER_NETWORK = {"torso": "flat", "credit": "joint"}
"""One dense network and one value for the whole account, as Stable-Baselines3 builds them."""

_PLOUTOS: dict[str, Any] = {
    "data": {"features": "standard"},
    "env": {
        "stop_loss": 0.02,
        "take_profit": 0.04,
        "reward": "differential_sharpe, 50*drawdown_increment, sortino_bonus",
    },
    "train": {
        "num_envs": 32,
        "total_timesteps": 50_000_000,
        "rollout_length": 2048,
        "batch_size": 2048,
        "num_epochs": 10,
        "learning_rate": 1e-4,
        "learning_rate_schedule": "linear",
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_range": 0.2,
        "entropy_coef": 0.0,
        "max_grad_norm": 0.5,
        "seed": 42,
        "ratio": "joint",
        "policy": {**_OLDER_NETWORK, "hidden": (64, 64)},
    },
}

_PLOUTOS_V3: dict[str, Any] = {
    "data": {"features": "ploutos_v3"},
    "env": {
        "buy_pct": 0.20,
        "max_position_pct": 0.25,
        "spread_bps": 2.0,
        "slippage_bps": 0.0,
        "slippage_atr": 0.02,
        "impact": 1.0,
        "fees": "doc_compat",
        "max_trades_per_day": 4,
        "min_holding_bars": 5,
        "stop_loss": None,
        "take_profit": None,
        "reward": "five_term",
    },
    "train": {
        "num_envs": 16,
        "total_timesteps": 10_000_000,
        "rollout_length": 4096,
        "batch_size": 8192,
        "num_epochs": 20,
        "learning_rate": 5e-5,
        "learning_rate_schedule": "constant",
        "gamma": 0.995,
        "gae_lambda": 0.98,
        "clip_range": 0.2,
        "entropy_coef": 0.01,
        "target_kl": 0.015,
        "max_grad_norm": 0.5,
        "ratio": "joint",
        "policy": {**_OLDER_NETWORK, "hidden": (1024, 512, 256)},
    },
}

_SENTIO: dict[str, Any] = {
    "until_converged": True,
    "monthly_target": 0.1,
    "data": {"data": "synthetic:1", "features": "sentio"},
    "env": {
        "observation": "brief",
        "episode_length": 1000,
        "fees": "percent",
        "buy_pct": 1.0,
        "max_position_pct": 1.0,
        "spread_bps": 0.0,
        "tick_size": None,
        "slippage_bps": 0.0,
        "stop_loss": None,
        "take_profit": None,
        "reward": "simple_return",
    },
    "train": {
        "total_timesteps": 10_000_000,
        "learning_rate": 3e-4,
        "learning_rate_schedule": "adaptive",
        "target_kl": 0.02,
        "ratio": "joint",
        "policy": {**_OLDER_NETWORK, "hidden": (256, 256, 128), "dropout": 0.1},
    },
}
_SENTIO_MASKABLE: dict[str, Any] = {**_SENTIO, "env": {**_SENTIO["env"], "action_masks": "sound"}}
_SENTIO_ENHANCED: dict[str, Any] = {
    **_SENTIO_MASKABLE,
    "data": {**_SENTIO["data"], "features": "sentio_regimes"},
    "train": {
        **_SENTIO["train"],
        "policy": {
            **_SENTIO["train"]["policy"],
            "torso": "shared",
            "time": "recurrent",
            "time_width": 64,
            "regimes": "gates",
            "quantiles": 64,
        },
    },
}

_DEFAULT: dict[str, Any] = {
    "data": {"edge": 0.05},
    "env": {"action": "bands", "stop_loss": None, "take_profit": None},
    "train": {
        "num_envs": 64,
        "total_timesteps": 200_000,
        "rollout_length": 32,
        "learning_rate": 2e-3,
        "advantage": "position",
        "gae_lambda": 0.95,
        "clip_range": 0.3,
        "entropy_coef": 0.0,
        "average": 0.99,
        "policy": {"hidden": (32,), "width": 16, "forecast": "only", "hold_cash": False, "sees_account": False},
    },
}
"""Equal parts that learning moves where a forecast pays for the trade: the same for every market."""


_PATHWISE: dict[str, Any] = {
    "num_minibatches": 16,
    "num_epochs": 1,
    "learning_rate": 1e-2,
    "max_grad_norm": 1.0,
    "gae_lambda": 1.0,
}
"""What presets of this project hold otherwise where `--algorithm pathwise` is asked for."""


def _with_train(**changes: Any) -> dict[str, Any]:
    return {**_DEFAULT, "train": {**_DEFAULT["train"], **changes}}


def _with_env(**changes: Any) -> dict[str, Any]:
    return {**_DEFAULT, "env": {**_DEFAULT["env"], **changes}}


PRESETS: dict[str, dict[str, Any]] = {
    "default": _DEFAULT,
    "quick": _with_train(total_timesteps=50_000),
    "gpu": _with_train(num_envs=4096, total_timesteps=100_000_000, rollout_length=None, chunk_megabytes=2048.0),
    "rebalance": _with_env(decide_every=21),
    "ploutos": _PLOUTOS,
    "ploutos-v3": _PLOUTOS_V3,
    "sentio": _SENTIO,
    "sentio-maskable": _SENTIO_MASKABLE,
    "sentio-enhanced": _SENTIO_ENHANCED,
}
"""Changes to `RunSettings` by the preset's name, nested as the settings are."""
_LIMITS = {"minutes", "episodes", "total_timesteps", "timesteps"}
_OWN = ("default", "quick", "gpu", "rebalance")
"""Presets of this project; those of older systems hold whatever else is chosen."""


def fitting(preset: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of a preset but for those that what a person chose rules out.

    The known edge is of synthetic bars that nothing is done to; a forecast is fitted on bars that are not resampled,
    and on all of them at once; a position can judge actions that say weights, asset by asset; how long rollouts are
    follows from the numbers of accounts and of steps, where these are other ones; a run with a limit of its own ends
    there, converged or not.
    Settings that were chosen stay, and are refused where they do not go together.

    Args:
        preset: its name.
        chosen: settings given on the command line or in a file, by name.
    """
    changes = copy.deepcopy(PRESETS[preset])
    data, train = changes.get("data", {}), changes.get("train", {})
    source = str(chosen.get("data", data.get("data", "synthetic")))
    is_stressed = str(chosen.get("stress_prob", 0)) not in ("0", "0.0")
    if "edge" in data and (not source.startswith("synthetic") or is_stressed):
        del data["edge"]
    if chosen.keys() & _LIMITS:
        changes.pop("until_converged", None)
    if preset in _OWN and chosen.keys() & {"num_envs", "total_timesteps", "timesteps"}:
        train.pop("rollout_length", None)
    policy = train.get("policy", {})
    is_sliced = chosen.get("device_bars") is not None
    if "forecast" in policy and (source.startswith("bootstrap:") or is_stressed or is_sliced):
        del policy["forecast"]
    if train.get("advantage") == "position" and (
        chosen.get("action") == "discrete" or chosen.get("order_type") == "limit" or chosen.get("credit") == "joint"
    ):
        del train["advantage"]
    if preset in _OWN and chosen.get("algorithm") == "pathwise":
        train.pop("advantage", None)
        train |= _PATHWISE
    return changes
