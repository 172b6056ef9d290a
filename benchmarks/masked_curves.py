"""Learning curves of masked and unmasked PPO, of this trainer and of sb3-contrib and Stable-Baselines3, at equal steps.

python benchmarks/masked_curves.py      some minutes; writes masked_curves.json and .png beside this file

The market, the settings and the scaling are those of `reference_curves.py`: one asset, a column that tells the next
return with correlation 0.3. Rules refuse orders: an account buys half of itself at a time up to all, a position is held
for three bars at least, and there is nothing to sell where nothing is held. Masked, by `action_masks="advised"`, orders
that would be refused or come to nothing are no choices; unmasked, the broker refuses them. Greedy actions are scored on
bars that training never saw, against buying whenever the column is above 0 and selling whenever it is not.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.reference_curves import (
    CONFIG,
    ENV,
    NUM_BARS,
    SPLIT,
    UPDATES_PER_SCORE,
    Act,
    compare_and_draw,
    interval_of,
    oracle_act,
    own_curve,
    planted_market,
    play_once,
    reference_curve,
)
from ploutos_jax.env.trading import TradingEnv

UNMASKED = dataclasses.replace(ENV.config, buy_pct=0.5, min_holding_bars=3)
ENVS = {
    "masked": TradingEnv(dataclasses.replace(UNMASKED, action_masks="advised")),
    "unmasked": TradingEnv(UNMASKED),
}
LEARNERS = {"ploutos_jax": own_curve, "stable_baselines3": reference_curve}
NAMES = {
    ("ploutos_jax", "masked"): "ploutos_jax, masked",
    ("stable_baselines3", "masked"): "sb3-contrib, MaskablePPO",
    ("ploutos_jax", "unmasked"): "ploutos_jax, unmasked",
    ("stable_baselines3", "unmasked"): "Stable-Baselines3, PPO",
}


def compare(num_seeds: int) -> dict[str, Any]:
    """Return curves of both learners in both environments, as shares of the rule's log return on unseen bars."""
    arms = {}
    for kind, env in ENVS.items():
        unseen = env.default_params(planted_market().window(SPLIT, NUM_BARS))
        of_rule, refused_of_rule = map(float, play_once(env, oracle_act, None, unseen))
        for name, learn in LEARNERS.items():
            refused: list[float] = []

            def score(act: Act, learned: Any, env=env, unseen=unseen, of_rule=of_rule, refused=refused) -> float:
                gained, number = map(float, play_once(env, act, learned, unseen))
                refused.append(number)
                return gained / of_rule

            began = time.perf_counter()
            curves = [learn(seed, score, env) for seed in range(num_seeds)]
            arms[NAMES[name, kind]] = {
                "curves": curves,
                "interval": np.round(np.stack(interval_of(np.array(curves))), 4).tolist(),
                "refused_at_the_end": np.array(refused).reshape(num_seeds, -1)[:, -1].tolist(),
                "refused_of_rule": refused_of_rule,
                "rule_log_return": of_rule,
                "seconds": round(time.perf_counter() - began, 1),
            }
            print(f"{NAMES[name, kind]}: {arms[NAMES[name, kind]]['seconds']} s", flush=True)
    steps = np.arange(len(arms["ploutos_jax, masked"]["curves"][0])) * UPDATES_PER_SCORE * CONFIG.timesteps_per_update
    overlap = {}
    for kind in ENVS:
        (low, _, high), (their_low, _, their_high) = (
            np.array(arms[NAMES[name, kind]]["interval"]) for name in ("ploutos_jax", "stable_baselines3")
        )
        overlap[kind] = ((low <= their_high) & (their_low <= high)).tolist()
    return {"timesteps": steps.tolist(), "unseen_bars": NUM_BARS - SPLIT, "arms": arms, "intervals_overlap": overlap}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the curves, masked ones left and unmasked ones right: seeds thin, means thick, intervals shaded."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    steps = result["timesteps"]
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ENVS, strict=True):
        for name, colour in (("ploutos_jax", "#1f6feb"), ("stable_baselines3", "#d9480f")):
            arm = result["arms"][NAMES[name, kind]]
            low, mean, high = np.array(arm["interval"])
            axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
            for curve in arm["curves"]:
                axes.plot(steps, curve, color=colour, alpha=0.25, linewidth=0.7)
            axes.plot(steps, mean, color=colour, linewidth=2, label=NAMES[name, kind])
        axes.axhline(1, color="0.4", linewidth=0.8, linestyle="--")
        axes.set(title=kind, xlabel="environment steps", xlim=(0, steps[-1]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
    figure.get_axes()[0].set_ylabel("share of the rule's log return, unseen bars")
    figure.savefig(path)


def main() -> None:
    """Compare, write figures and picture, and print the table."""
    result = compare_and_draw("masked_curves", __doc__, compare, draw)
    arms = result["arms"]
    print(f"| Steps | {' | '.join(arms)} |\n|--:|{'--:|' * len(arms)}")
    for place, steps in enumerate(result["timesteps"]):
        bands = [np.array(arm["interval"])[:, place] for arm in arms.values()]
        print(f"| {steps:,} | {' | '.join(f'{mean:.2f} ({low:.2f} to {high:.2f})' for low, mean, high in bands)} |")
    for name, arm in arms.items():
        print(f"{name}: refused at the end {arm['refused_at_the_end']}, {arm['seconds']} s")
    print(f"Intervals overlap: {result['intervals_overlap']}")


if __name__ == "__main__":
    main()
