"""Words that people type for settings that have another name here: the same meaning under a name known elsewhere."""

import difflib
from collections.abc import Collection

_COSTS = ("commission_bps", "fees", "spread_bps", "slippage_bps")
_SHORT = "short selling and margin are not simulated."
_LIVE = "nothing is sent to a broker; `ploutos orders RUN` prints what an agent would do at the next open."

MEANINGS: dict[str, tuple[str, ...] | str] = {
    **dict.fromkeys(("commission", "commissions", "fee", "transaction_cost", "cost", "costs", "cost_bps"), _COSTS),
    **dict.fromkeys(("buy_cost_pct", "sell_cost_pct"), _COSTS),
    "spread": ("spread_bps",),
    "slippage": ("slippage_bps", "slippage_atr", "slippage_volatility"),
    **dict.fromkeys(("gpu", "cuda", "cpu", "tpu"), ("device",)),
    **dict.fromkeys(("file", "path", "csv", "input", "dataset", "prices", "data_path"), ("data",)),
    **dict.fromkeys(("save_dir", "log_dir", "logdir", "run_dir", "name", "run", "save"), ("output",)),
    **dict.fromkeys(("load", "checkpoint", "continue", "restart", "restore"), ("resume", "output")),
    **dict.fromkeys(("sl", "stop"), ("stop_loss", "stop_loss_atr")),
    **dict.fromkeys(("tp", "target"), ("take_profit", "take_profit_atr")),
    **dict.fromkeys(("from", "begin", "train_start", "start_date", "since"), ("start",)),
    **dict.fromkeys(("to", "until", "train_end", "end_date"), ("end",)),
    **dict.fromkeys(("test_start", "test", "validation"), ("eval_start", "holdout")),
    **dict.fromkeys(("split", "test_size", "train_split", "train_size"), ("holdout", "end")),
    **dict.fromkeys(("epochs", "iterations", "updates", "n_iter", "train_steps"), ("total_timesteps", "num_epochs")),
    **dict.fromkeys(("workers", "num_workers", "n_jobs", "threads", "parallel"), ("num_envs",)),
    **dict.fromkeys(("policy", "network", "net_arch", "layers", "model_size"), ("torso", "hidden", "width")),
    **dict.fromkeys(("indicators", "technical_indicators", "feature_set"), ("features",)),
    **dict.fromkeys(("lookback", "window", "window_size"), ("features", "episode_length")),
    **dict.fromkeys(("verbose", "debug", "silent", "progress"), ("quiet",)),
    **dict.fromkeys(("plot", "show", "html"), ("report",)),
    **dict.fromkeys(("top", "top_n", "num_tickers", "n_assets"), ("liquid", "tickers")),
    **dict.fromkeys(("max_weight", "max_position", "position_size"), ("max_position_pct", "buy_pct")),
    **dict.fromkeys(("short", "allow_short", "leverage", "margin"), _SHORT),
    **dict.fromkeys(("live", "paper", "broker"), _LIVE),
    "benchmark": "a run is always shown beside ten baselines; a ticker of your own is named when it is scored: "
    "`ploutos evaluate RUN --benchmark SPY`.",
    **dict.fromkeys(("wandb", "tensorboard"), "every run folder holds tensorboard/ and metrics.jsonl."),
}
"""What a word means here: settings, or a sentence where there is none."""

_SHOWN = 3
_LONGEST = 100
"""Signs of a word that are compared; a longer one is no misspelling."""


def advise(word: str, known: Collection[str]) -> str:
    """Return what to say of an unknown flag: settings of that meaning, with that word in them, or of near spelling.

    Args:
        word: as typed, without dashes in front.
        known: names of the settings that there are.
    """
    name = word[:_LONGEST].replace("-", "_").lower()
    meant = MEANINGS.get(name, ())
    if isinstance(meant, str):
        return meant
    named = [each for each in meant if each in known]
    named = named or sorted((each for each in known if name in each.split("_")), key=len)
    named = named or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    flags = [f"--{each.replace('_', '-')}" for each in named[:_SHOWN]]
    return f"did you mean {', '.join(flags[:-1]) + ' or ' if flags[1:] else ''}{flags[-1]}?"
