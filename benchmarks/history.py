"""Speed over commits: a line of `history.jsonl` for each run that was recorded, a picture of them, and a guard.

python scripts/benchmark.py env train --record    measure, and append a line
python -m benchmarks.history                      draw history.png
python -m benchmarks.history guard                measure a few configurations anew; exit code 1 where one became slower

What is compared is work done while the reference program runs once (`reference_program.py`), timed in turn with it:
machines differ in speed, and one machine from hour to hour, by more than a change of the program should cost.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).with_name("history.jsonl")
PICTURE = HISTORY.with_suffix(".png")
KEPT = ("steps_per_second", "per_reference", "share", "cold_seconds", "cached_seconds", "peak_megabytes")
GUARDED = (("env", 1), ("env", 30), ("train", 30), ("train 1e6c51a", 30))
"""Measured anew by the guard, at quick sizes: what, and of how many assets."""
TOLERANCE = 1.4
"""By how much less than before is a loss: on machines of another kind the ratios to the reference differ by less."""
LAST = 5
"""Recorded runs whose median counts."""

Row = dict[str, Any]


def line_of(rows: Sequence[Row], machine: Row, *, quick: bool) -> Row:
    """Return what is recorded of a run of the benchmarks.

    Raises:
        ValueError: if nothing in it is a speed.
    """
    speeds = {_name(row): {key: row[key] for key in KEPT if key in row} for row in rows if "per_reference" in row}
    if not speeds:
        raise ValueError("Nothing here is compared across commits; record the sections env and train.")
    return {**machine, "quick": quick, "rows": speeds}


def append(line: Row, file: Path = HISTORY) -> None:
    """Add a line to the history."""
    with file.open("a", encoding="utf-8") as history:
        history.write(json.dumps(line) + "\n")


def read(file: Path = HISTORY) -> list[Row]:
    """Return the recorded runs, oldest first."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def losses(line: Row, history: Sequence[Row], tolerance: float = TOLERANCE) -> list[str]:
    """Return a sentence for each configuration that does less work than before while the reference program runs.

    Args:
        line: of a run, as `line_of` gives it.
        history: recorded runs; those of the same sizes and kind of device count.
        tolerance: by how many times less is a loss.

    Raises:
        ValueError: if no configuration of the run has been recorded before: then nothing is guarded.
    """
    found, compared = [], 0
    for name, row in line["rows"].items():
        like = [x for x in history if x["quick"] == line["quick"] and name in x["rows"] and _kind(x) == _kind(line)]
        if not like:
            continue
        compared += 1
        before = statistics.median(x["rows"][name]["per_reference"] for x in like[-LAST:])
        if row["per_reference"] < before / tolerance:
            found.append(
                f"{name}: {row['per_reference']:,.0f} steps while the reference program runs once, {before:,.0f} before"
                f" (median of the last {len(like[-LAST:])} recorded, the last at {like[-1]['commit']}):"
                f" {before / row['per_reference']:.2f} times slower, {tolerance} is allowed."
            )
    if not compared:
        raise ValueError("None of these configurations has been recorded: python scripts/benchmark.py --quick --record")
    return found


def guard(measured: Sequence[Row], machine: Row) -> int:
    """Print whether what was measured at quick sizes lost speed; return the exit code."""
    line = line_of(measured, machine, quick=True)
    slower = losses(line, read())
    for name, row in line["rows"].items():
        print(f"{name}: {row['per_reference']:,.0f} steps while the reference program runs once")
    print("\n".join(slower) if slower else f"None of them is {TOLERANCE} times slower than what is recorded.")
    return 1 if slower else 0


def draw(history: Sequence[Row], file: Path = PICTURE) -> None:
    """Draw the recorded runs of full size, or of quick size if there are no others, over the commits.

    What is drawn is work done while the reference program runs once.
    """
    from matplotlib.figure import Figure

    runs = [run for run in history if _kind(run) == "cpu"]
    runs = [run for run in runs if not run["quick"]] or runs
    groups = {"simulator": "env", "training": "train"}
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, (title, begins) in zip(figure.subplots(1, 2), groups.items(), strict=True):
        names = sorted({name for run in runs for name in run["rows"] if name.startswith(begins)})
        for name in names:
            places = [place for place, run in enumerate(runs) if name in run["rows"]]
            axes.plot(places, [runs[x]["rows"][name]["per_reference"] for x in places], marker="o", ms=4, label=name)
        axes.set_yscale("log")
        axes.set_title(f"{title}, CPU", loc="left", fontsize=11)
        axes.set_ylabel("steps while the reference program runs once")
        axes.set_xticks(range(len(runs)), [f"{run['commit']}\n{run['date'][:10]}" for run in runs], fontsize=8)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(file, dpi=110)


def _name(row: Row) -> str:
    return f"{row['section']}, {row['assets']} asset{'s' if row['assets'] > 1 else ''}"


def _kind(line: Row) -> str:
    return "cpu" if line["device"].lower() == "cpu" else line["device"]


def main(args: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    if args not in ([], ["guard"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not args:
        draw(read())
        return 0
    sys.path.insert(0, str(HISTORY.parents[1] / "scripts"))
    import benchmark

    rows = [row for what, assets in GUARDED for row in benchmark.measure_apart(what, assets, True, 15)]
    return guard(rows, benchmark.describe_run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
