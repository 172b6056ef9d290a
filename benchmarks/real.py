"""Learning on real bars, by a protocol that is fixed before anything is trained: ablations, candidates, the page.

python benchmarks/real.py ablate --data data/sp500.parquet --arms base,weights --seeds 3 --steps 131072
python benchmarks/real.py score  --data data/sp500.parquet --candidate weights --seeds 5 --steps 524288
python benchmarks/real.py render

An arm is a named set of changes to the settings of a run, of `real_arms.json` or of a file of that form. `ablate`
compares arms on bars before the test years, as often as wanted. `score` lets one candidate touch the test years, once.
Every configuration that is scored is appended to `trials.jsonl` before its figures are shown. REAL.md says what the
protocol is and what it can show; figures lie in `real_results/`. Trained agents are kept in a working folder, so that a
command that was stopped goes on where it was. Bars are never part of this repository.
"""

import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.real_figures import (  # noqa: E402
    RIVALS,
    TRADING_DAYS,
    add_trial,
    book_of,
    circumstances,
    figures_of,
    judge,
    package_tree,
    paired,
    render,
    trial_sharpes,
    without_nan,
)
from benchmarks.real_protocol import (  # noqa: E402
    Universes,
    hash_of,
    history_of,
    on_window,
    play_paths,
    play_years,
    read_arms,
    read_bars,
    score_paths,
    settings_of,
    test_windows,
    train_on,
)
from ploutos_jax.agents.agent import Agent  # noqa: E402
from ploutos_jax.agents.ensemble import ensemble, members_of_ensemble  # noqa: E402
from ploutos_jax.cli.terminal import exit_codes, result_console  # noqa: E402
from ploutos_jax.env.limits import LimitsWarning  # noqa: E402
from ploutos_jax.evaluate.ledger import Ledger  # noqa: E402
from ploutos_jax.evaluate.metrics.returns import sharpe  # noqa: E402
from ploutos_jax.runs.settings import RunSettings  # noqa: E402
from ploutos_jax.train.checkpoints.export import export_policy, load_policy  # noqa: E402

HERE = Path(__file__).parent
RESULTS, TRIALS, PAGE = HERE / "real_results", HERE / "trials.jsonl", HERE / "REAL.md"
TEST_YEARS_BEGIN = "2011-01-01"


@dataclasses.dataclass(frozen=True)
class Common:
    """What both ways to score have in common.

    Attributes:
        data: file of daily bars.
        arms: names with commas, or a JSON file of arms.
        seeds: agents of each configuration, side by side in one program; they count from 0.
        steps: environment steps of each.
        resamples: of each bootstrap.
        trials: file to which what was scored is appended.
        results: folder of the figures.
        work: folder of trained agents.
        tickers: universes.
    """

    data: str = "data/sp500_daily_adj_2005_2018.parquet"
    arms: str | None = None
    seeds: int = 3
    steps: int = 131_072
    resamples: int = 5000
    trials: Path = TRIALS
    results: Path = RESULTS
    work: Path = ROOT / "runs" / "real"
    tickers: Universes = Universes()

    def settings(self, name: str, arm: dict[str, Any]) -> RunSettings:
        return settings_of(name, arm, self.data, self.steps, self.seeds, 0)


@dataclasses.dataclass(frozen=True)
class Ablate(Common):
    """Compare arms on bars before the test years.

    Attributes:
        name: of the result.
        base: arm that others are compared with, where it is among them.
        train_start, train_end: window to train on; the universe is drawn by what was traded in it.
        score_start, score_end: bars that paths are made of; not trained on, and before the test years.
        paths: to score on.
        path_bars: scored of a path.
        warm_up: bars of a path before those, which features and rules look back on.
        block: sessions of a block, on average.
        before: first date that ablations must not touch.
    """

    name: str = "ablation"
    base: str = "base"
    train_start: str = "2005-01-03"
    train_end: str = "2008-12-31"
    score_start: str = "2009-01-01"
    score_end: str = "2010-12-31"
    paths: int = 32
    path_bars: int = 252
    warm_up: int = 253
    block: float = 20.0
    before: str = TEST_YEARS_BEGIN


@dataclasses.dataclass(frozen=True)
class Score(Common):
    """Let one candidate trade the test years.

    Attributes:
        candidate: name of an arm.
        first_test, last_test: dates of the first and the last bar tested at most.
        train_bars, test_bars: of a fold; the last test may be shorter.
        folds: number of folds.
        again: score a candidate whose figures are there already.
    """

    candidate: str = "base"
    seeds: int = 5
    first_test: str = TEST_YEARS_BEGIN
    last_test: str = "2017-12-31"
    train_bars: int = 1260
    test_bars: int = 252
    folds: int = 7
    again: bool = False


@dataclasses.dataclass(frozen=True)
class Render:
    """Write the page of the results.

    Attributes:
        results: folder of the figures.
        trials: file of what was scored.
        page: file to write.
    """

    results: Path = RESULTS
    trials: Path = TRIALS
    page: Path = PAGE


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    commands = {"ablate": (Ablate, ablate), "score": (Score, score), "render": (Render, write_page)}
    if not args or args[0] not in commands:
        raise ValueError(f"Say what to do: {', '.join(commands)}. Each has --help.")
    kind, run = commands[args[0]]
    wanted = tyro.cli(kind, args=args[1:], config=(tyro.conf.OmitArgPrefixes,), prog=f"real.py {args[0]}")
    # What rules keep an account from is said once for all windows by whoever chose the arm.
    warnings.simplefilter("ignore", LimitsWarning)
    run(wanted)
    return 0


def ablate(wanted: Ablate) -> dict[str, Any]:
    """Train every arm on one window, score it on one set of paths, and write and show what came of it.

    Raises:
        ValueError: if bars scored on are trained on or belong to the test years, or an arm is none.
    """
    if not wanted.train_end < wanted.score_start <= wanted.score_end < wanted.before:
        raise ValueError(
            f"Train to {wanted.train_end}, score from {wanted.score_start} to {wanted.score_end}: ablations score bars"
            f" after those trained on and before {wanted.before}."
        )
    arms = {name: wanted.settings(name, arm) for name, arm in read_arms(wanted.arms).items()}
    if wanted.base in arms:
        arms = {wanted.base: arms.pop(wanted.base)} | arms
    say = result_console().print
    one = dataclasses.replace(wanted.tickers, universes=1)
    (tickers,) = one.draw(read_bars(wanted.data).window(wanted.train_start, wanted.train_end))
    held_out = read_bars(wanted.data, tickers).window(wanted.score_start, wanted.score_end)
    scored_on = (
        f"{wanted.paths} paths of {wanted.path_bars} bars, blocks of {wanted.block:g} sessions of"
        f" {wanted.score_start} to {wanted.score_end}, {len(tickers)} tickers, split {wanted.tickers.split_seed};"
        f" trained on {wanted.train_start} to {wanted.train_end}"
    )
    say(f"{len(arms)} arms, {wanted.seeds} seeds each; scored on {scored_on}", style="dim")
    made_by, rows, rules = circumstances(), {}, {}
    sharpes: dict[str, np.ndarray] = {}
    for name, settings in arms.items():
        agents, seconds, key = _trained(wanted, settings, name, tickers, wanted.train_start, wanted.train_end)
        began, length = time.perf_counter(), wanted.warm_up + wanted.path_bars
        sizes = {"paths": wanted.paths, "bars": wanted.path_bars, "warm_up": wanted.warm_up, "block": wanted.block}
        paths = score_paths(held_out, settings, **sizes)
        played = play_paths(agents, paths, settings.env, length, wanted.warm_up)
        seeds = [f"seed {i}" for i in range(wanted.seeds)]
        by_path = {each: np.array([sharpe(x.returns, TRADING_DAYS) for x in played[each]]) for each in played}
        # An account that never trades has no Sharpe ratio; what it earned is nothing.
        by_path = {each: np.nan_to_num(values) for each, values in by_path.items()}
        own = np.stack([by_path[seed] for seed in seeds])
        add_trial(
            wanted.trials,
            {
                "name": name,
                "settings_hash": key,
                "scored_on": scored_on,
                "seeds": list(range(wanted.seeds)),
                "sharpe_by_seed": own.mean(axis=1).tolist(),
                **made_by,
            },
        )
        sharpes[name] = own
        against = {"base": paired(own, sharpes[wanted.base])} if wanted.base in sharpes and name != wanted.base else {}
        against |= {rival: paired(own, by_path[rival][None]) for rival in RIVALS if rival in by_path}
        together = {"ensemble_sharpe": float(by_path["ensemble"].mean()), "against": against}
        figures = _mean_figures([ledger for seed in seeds for ledger in played[seed]])
        rows[name] = {**figures, "sharpe": float(own.mean()), **together, "settings_hash": key}
        rows[name] |= {"sharpe_by_seed_and_path": own.tolist(), "train_seconds": seconds}
        if not rules:
            # At the costs of the first arm; the comparisons above are at each arm's own.
            others = [each for each in played if each not in (*seeds, "ensemble")]
            rules = {each: _mean_figures(played[each]) | {"sharpe": float(by_path[each].mean())} for each in others}
        shown = f"Sharpe {own.mean():.2f}, ensemble {by_path['ensemble'].mean():.2f}"
        say(f"{name}: {shown}; trained {seconds:.0f} s, played {time.perf_counter() - began:.0f} s", style="dim")
    content = {
        "kind": "ablation",
        "name": wanted.name,
        "data": Path(wanted.data).name,
        "trained": [wanted.train_start, wanted.train_end],
        "scored": [wanted.score_start, wanted.score_end],
        "paths": wanted.paths,
        "path_bars": wanted.path_bars,
        "block": wanted.block,
        "steps": wanted.steps,
        "num_seeds": wanted.seeds,
        "size": len(tickers),
        "tickers": list(tickers),
        "arms": rows,
        "rules": rules,
        "made_by": made_by,
    }
    _write(wanted.results / f"ablation-{wanted.name}.json", content)
    say(_table(rows | rules, ("sharpe", "ensemble_sharpe", "gross_sharpe", "turnover", "cost", "max_drawdown")))
    return content


def score(wanted: Score) -> dict[str, Any]:
    """Train a candidate before every test year and universe, let it trade them, and write and show what came of it.

    Raises:
        ValueError: if it was scored before, there is no such arm, or the file lacks bars.
    """
    arms = read_arms(wanted.arms if wanted.arms and wanted.arms.endswith(".json") else wanted.candidate)
    if wanted.candidate not in arms:
        raise ValueError(f"{wanted.arms} has no arm {wanted.candidate!r}; it has {', '.join(arms)}.")
    target = wanted.results / f"score-{wanted.candidate.replace(' ', '-')}.json"
    if target.exists() and not wanted.again:
        raise ValueError(
            f"{target} is there: a candidate trades the test years once. Give changed settings a name of their own, or"
            " --again to repeat the same."
        )
    settings, say = wanted.settings(wanted.candidate, arms[wanted.candidate]), result_console().print
    bars = read_bars(wanted.data)
    dates = wanted.first_test, wanted.last_test
    windows = test_windows(bars.times, *dates, wanted.train_bars, wanted.test_bars, wanted.folds)
    first = windows[0].start
    universes = wanted.tickers.draw(bars.window(first - wanted.train_bars, first))
    times, seconds, played, key = bars.times, [], [], ""
    for number, tickers in enumerate(universes):
        folds = []
        for fold, window in enumerate(windows):
            begin, end = (str(times[row])[:10] for row in (window.start - wanted.train_bars, window.start - 1))
            agents, took, key = _trained(wanted, settings, wanted.candidate, tickers, begin, end)
            folds.append(agents)
            seconds.append(took)
            say(f"universe {number + 1}, fold {fold + 1}: trained on {begin} to {end}, {took:.0f} s", style="dim")
        market = history_of(settings, wanted.data, tickers)
        if not np.array_equal(market.times[: windows[-1].stop], times[: windows[-1].stop]):
            raise ValueError(f"The tickers of universe {number + 1} lack whole days that others of {wanted.data} have.")
        began = time.perf_counter()
        played.append(play_years(folds, market, windows, settings.env))
        say(f"universe {number + 1}: played in {time.perf_counter() - began:.0f} s", style="dim")
    books = {name: book_of([accounts[name] for accounts in played]) for name in played[0]}
    seeds, made_by = [f"seed {i}" for i in range(wanted.seeds)], circumstances()
    days = [str(times[row])[:10] for row in (first, windows[-1].stop - 1)]
    scored_on = f"{days[0]} to {days[1]}, {len(universes)} universes of {wanted.tickers.size}, split"
    scored_on += f" {wanted.tickers.split_seed}; trained on {wanted.train_bars} bars for each {wanted.test_bars}"
    figures = {name: figures_of(book) for name, book in books.items()}
    row = {"name": wanted.candidate, "settings_hash": key, "scored_on": scored_on, "seeds": list(range(wanted.seeds))}
    add_trial(wanted.trials, {**row, "sharpe_by_seed": [figures[seed]["sharpe"] for seed in seeds], **made_by})
    returns = {name: book.returns for name, book in books.items()}
    mean_of_seeds = {key: float(np.mean([figures[seed][key] for seed in seeds])) for key in figures["ensemble"]}
    content = {
        "kind": "score",
        **row,
        "first": days[0],
        "last": days[1],
        "num_bars": len(returns["ensemble"]),
        "steps": wanted.steps,
        "train_bars": wanted.train_bars,
        "test_bars": wanted.test_bars,
        "split_seed": wanted.tickers.split_seed,
        "universes": len(universes),
        "size": wanted.tickers.size,
        "tickers": [list(tickers) for tickers in universes],
        "data": Path(wanted.data).name,
        "figures": {"ensemble": figures["ensemble"], "mean of the seeds": mean_of_seeds, **figures},
        "verdict": judge(returns["ensemble"], returns, trial_sharpes(wanted.trials), wanted.resamples),
        "fold_seconds": seconds,
        "made_by": made_by,
        "returns": {name: np.round(values, 8).tolist() for name, values in returns.items()},
    }
    _write(target, content)
    say(_table(content["figures"], ("sharpe", "gross_sharpe", "annual_return", "turnover", "cost", "max_drawdown")))
    for rival, test in content["verdict"]["against"].items():
        say(f"ensemble less {rival}: {test['annual_lead']:+.2%} a year, Sharpe {test['sharpe_difference']:+.2f}")
    return content


def write_page(wanted: Render) -> None:
    """Write the page of the results."""
    wanted.page.write_text(render(wanted.results, wanted.trials), encoding="utf-8")


def _trained(
    wanted: Common, settings: RunSettings, name: str, tickers: Sequence[str], start: str, end: str
) -> tuple[tuple[Agent, ...], float, str]:
    """Return agents, new or of an earlier call, the seconds that training took, and the hash of their settings."""
    key = hash_of(settings, wanted.data)
    window = {"tickers": list(tickers), "start": start, "end": end, "seeds": wanted.seeds, "hash": key}
    window["package"] = package_tree()
    folder = wanted.work / f"{name.replace(' ', '-')}-{key}" / f"{tickers[0]}-{len(tickers)}-{start}-{end}"
    facts = folder / "window.json"
    if facts.exists():
        known = json.loads(facts.read_text(encoding="utf-8"))
        if {each: known.get(each) for each in window} == window:
            return members_of_ensemble(load_policy(folder / "agents")), known["seconds"], key
    began = time.perf_counter()
    agents, _ = train_on(on_window(settings, tickers, start, end))
    seconds = round(time.perf_counter() - began, 1)
    export_policy(ensemble(agents), folder / "agents", overwrite=True)
    _write(facts, {**window, "seconds": seconds})
    return agents, seconds, key


def _mean_figures(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """Return the mean over accounts of the figures of each."""
    each = [figures_of(book_of([ledger])) for ledger in ledgers]
    return {key: float(np.mean(np.nan_to_num([one[key] for one in each]))) for key in each[0]}


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(without_nan(content), indent=1) + "\n", encoding="utf-8")


def _table(rows: dict[str, dict[str, Any]], columns: Sequence[str]) -> Table:
    table = Table()
    for heading in ("", *columns):
        table.add_column(heading.replace("_", " "), justify="right" if heading else "left")
    for name, row in rows.items():
        values = [row.get(column) for column in columns]
        table.add_row(name, *("–" if value is None or not np.isfinite(value) else f"{value:.3f}" for value in values))
    return table


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
