"""What benchmarks/real.py does to one configuration: universes, windows, training, and accounts on bars not trained on.

Nothing here looks at a result, and nothing is chosen by one: the budget is fixed and the last weights are taken.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.ensemble import ensemble
from ploutos_jax.datasets.config import default_features
from ploutos_jax.datasets.samplers import bootstrap_stream, weigh_starts
from ploutos_jax.datasets.selection import most_traded
from ploutos_jax.datasets.splits import Window
from ploutos_jax.datasets.training import TrainingData, read_training
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.backtest.baselines import RULES
from ploutos_jax.evaluate.backtest.handover import play_segments
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.runs.overrides import merge
from ploutos_jax.runs.presets import PRESETS, fitting
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.loop import train_seeds

ARMS_FILE = Path(__file__).with_name("real_arms.json")
FILE = "{file}"
"""What stands for the file of bars in the settings of an arm."""
_SCORE_KEY = 2_000_000
"""Of the paths that ablations are scored on; streams to train on have other keys."""


@dataclasses.dataclass(frozen=True)
class Universes:
    """Which tickers: `universes` disjoint ones of `size`, drawn from the `liquid` most traded of the first window.

    Attributes:
        universes: how many.
        size: tickers of each.
        liquid: tickers that they are drawn from, by the median of dollars traded in a bar.
        split_seed: of the draw; one seed, the same universes.
    """

    universes: int = 4
    size: int = 25
    liquid: int = 100
    split_seed: int = 0

    def draw(self, panel: Panel) -> list[tuple[str, ...]]:
        """Return the tickers of each universe, by what was traded in the bars of `panel`.

        Raises:
            ValueError: if so many tickers were not traded.
        """
        symbols = most_traded(panel, self.liquid)
        if len(symbols) < self.universes * self.size:
            raise ValueError(
                f"{self.universes} universes of {self.size} need {self.universes * self.size} tickers;"
                f" {len(symbols)} of the {self.liquid} most traded ones are there. Give smaller ones."
            )
        order = np.random.default_rng(self.split_seed).permutation(len(symbols))
        parts = order[: self.universes * self.size].reshape(self.universes, self.size)
        return [tuple(symbols[i] for i in sorted(part)) for part in parts]


def read_arms(given: str | None) -> dict[str, dict[str, Any]]:
    """Return arms by name: of a JSON file, or those of `real_arms.json` that are named with commas (all without).

    Raises:
        ValueError: if the file is no mapping of settings, or has no arm of a name.
    """
    is_file = given is not None and given.endswith(".json")
    file = Path(str(given)) if is_file else ARMS_FILE
    arms = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(arms, dict) or not all(isinstance(arm, dict) for arm in arms.values()):
        raise ValueError(f"{file} must hold settings by the name of an arm.")
    if rule := next((name for name in arms if name in RULES), None):
        raise ValueError(f"{file}: an arm is named {rule!r}, as a rule that it is compared with; give it another name.")
    if given is None or is_file:
        return arms
    names = [name.strip() for name in given.split(",")]
    if unknown := [name for name in names if name not in arms]:
        raise ValueError(f"{file} has no arm {unknown[0]!r}; it has {', '.join(arms)}.")
    return {name: arms[name] for name in names}


def settings_of(name: str, arm: Mapping[str, Any], file: str, steps: int, seeds: int, seed: int) -> RunSettings:
    """Return the settings of an arm: defaults, then its preset, then its own changes, then the budget.

    Args:
        name: for messages.
        arm: changes to `RunSettings`, nested as these are; `preset` names what they start from.
        file: of bars; stands where the arm says `FILE`.
        steps: of each seed.
        seeds: agents side by side.
        seed: the first of them.

    Raises:
        ValueError: naming the setting that is none.
    """
    changes = json.loads(json.dumps(dict(arm)).replace(FILE, json.dumps(file)[1:-1]))
    preset = changes.pop("preset", "default")
    if preset not in PRESETS:
        raise ValueError(f"arm {name}: preset={preset!r} is unknown; there are {', '.join(PRESETS)}.")
    chosen = {"data": str(changes.get("data", {}).get("data", file)), **changes.get("env", {})}
    settings = merge(RunSettings(preset=preset), fitting(preset, chosen), f"preset {preset}")
    settings = merge(settings, {"data": {"data": file}}, "--data")
    settings = merge(settings, changes, f"arm {name}")
    budget = {"total_timesteps": steps, "num_seeds": seeds, "seed": seed}
    return merge(settings, {"train": budget}, "the budget")


def hash_of(settings: RunSettings, file: str) -> str:
    """Return by what a configuration is known: the settings without seeds, place of the file, tickers and dates."""
    plain = dataclasses.asdict(settings)
    plain = {name: plain[name] for name in ("data", "env", "train")}
    plain["data"]["data"] = plain["data"]["data"].replace(file, FILE)
    for section, names in (("data", ("tickers", "start", "end")), ("train", ("seed", "num_seeds"))):
        for name in names:
            plain[section].pop(name)
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_windows(
    times: np.ndarray, first_test: str, last_test: str, train_bars: int, test_bars: int, folds: int
) -> list[Window]:
    """Return the rows of the tests, end to end, none after the last date to test; the last may be shorter.

    Raises:
        ValueError: if there are too few bars before or between the dates.
    """
    first = int(np.searchsorted(times, np.datetime64(first_test)))
    stop = int(np.searchsorted(times, np.datetime64(last_test), side="right"))
    starts = [first + fold * test_bars for fold in range(folds)]
    if first < train_bars or starts[-1] + 1 >= stop:
        raise ValueError(
            f"The data has {first} bars before {first_test} and {stop - first} up to {last_test}; {folds} folds need"
            f" {train_bars} before, and {test_bars} each but the last."
        )
    return [Window(start, min(start + test_bars, stop)) for start in starts]


def on_window(settings: RunSettings, tickers: Sequence[str], start: str, end: str) -> RunSettings:
    """Return settings that train on some tickers from one date to another."""
    data = dataclasses.replace(settings.data, tickers=tuple(tickers), start=start, end=end, liquid=None)
    return dataclasses.replace(settings, data=data)


def train_on(settings: RunSettings) -> tuple[tuple[Agent, ...], TrainingData]:
    """Train all seeds on a window with the fixed budget; return the last agents and the data that they had.

    Nothing is scored on the way and nothing is written.
    """
    data = read_training(settings.data, refresh=settings.train.market_refresh is not None)
    env, is_drawn = TradingEnv(settings.env), settings.train.market_refresh is not None
    agents = train_seeds(
        settings.train,
        data.market,
        env,
        params=_params(env, data, settings.data.stress_prob, is_drawn),
        draw=data.draw if is_drawn else None,
    )
    return agents, data


def _params(env: TradingEnv, data: TrainingData, stress_prob: float, is_drawn: bool) -> EnvParams:
    """Return the numbers of a window, of one form whatever its bars hold, so that all windows share a program."""
    market = with_sectors(data.market)
    params = env.default_params(market)
    if data.stressed_from is not None:
        params = params.replace(starts=jnp.asarray(weigh_starts(params.starts, data.stressed_from, stress_prob)))
    if is_drawn:
        return params
    delisted = jnp.zeros(params.market.close.shape, bool) if market.delisted is None else params.market.delisted
    return params.replace(has_gaps=jnp.zeros((), bool), market=params.market.replace(delisted=delisted))


def score_paths(panel: Panel, settings: RunSettings, *, paths: int, bars: int, warm_up: int, block: float) -> Market:
    """Return paths of `warm_up + bars` bars each, end to end, put together from blocks of a panel's bars.

    Args:
        panel: bars that nothing was trained on.
        settings: whose features the market has.
        paths: how many.
        bars: scored of a path.
        warm_up: bars of a path before those, for features and rules to know.
        block: mean length of a block in sessions.
    """
    stream = bootstrap_stream(
        jax.random.key(_SCORE_KEY),
        panel,
        default_features(settings.data),
        num_bars=warm_up + bars,
        num_paths=paths,
        mean_block=block,
    )
    return stream.first()


def play_paths(
    agents: Sequence[Agent], market: Market, config: EnvConfig, length: int, warm_up: int
) -> dict[str, list[Ledger]]:
    """Return ledgers of each seed, their ensemble and the rules, one per path, all over the same bars."""
    together = ensemble(agents)
    found: dict[str, list[Ledger]] = {}
    for begin in range(0, market.num_bars, length):
        path = market.window(begin, begin + length)
        ledgers = {f"seed {i}": backtest(agent, path, warm_up - 1) for i, agent in enumerate(agents)}
        ledgers["ensemble"] = backtest(together, path, warm_up - 1, name="ensemble")
        ledgers |= baselines_by_rule(path, config, RULES, warm_up - 1)
        for name, ledger in ledgers.items():
            found.setdefault(name, []).append(ledger)
    return found


def play_years(
    folds: Sequence[tuple[Agent, ...]], market: Market, windows: Sequence[Window], config: EnvConfig
) -> dict[str, Ledger]:
    """Return one account over all test windows for each seed, the ensemble and the rules.

    Args:
        folds: the agents of each fold, trained before its window.
        market: the whole history of the universe.
        windows: of the tests, end to end.
        config: rules and costs.
    """
    ledgers = {}
    for seed in range(len(folds[0])):
        turns = [(window, agents[seed]) for window, agents in zip(windows, folds, strict=True)]
        ledgers[f"seed {seed}"] = play_segments(f"seed {seed}", market, turns, config)
    turns = [(window, ensemble(agents)) for window, agents in zip(windows, folds, strict=True)]
    ledgers["ensemble"] = play_segments("ensemble", market, turns, config)
    return ledgers | baselines_by_rule(market, config, RULES, windows[0].start - 1, windows[-1].stop)


def read_bars(file: str, tickers: Sequence[str] | None = None) -> Panel:
    """Return the bars of a file, of some tickers or all.

    Raises:
        ValueError: as `load_panel` does.
    """
    return load_panel(file, tickers=tuple(tickers) if tickers else None)


def history_of(settings: RunSettings, file: str, tickers: Sequence[str]) -> Market:
    """Return bars and features of tickers over the whole history; features of a row know that row and earlier ones."""
    return build_market(read_bars(file, tickers), default_features(settings.data), cache=settings.data.cache_folder)
