"""What is validated and how: settings, bars, the plan of folds, and the folder that it goes to."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import yaml

from ploutos_jax.agents.provenance import DateSpan
from ploutos_jax.datasets.config import DataConfig, read_market, read_panel
from ploutos_jax.datasets.selection import most_traded
from ploutos_jax.datasets.splits import Plan, combinatorial_purged, longest_window, purged_k_fold, walk_forward
from ploutos_jax.env.bounds import check_bounds, check_kinds, whole
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.run.folder import check_output, plain

SETTINGS_FILE = "validation.yaml"
_DEFAULT_HOME, _DEFAULT_NAME = Path("checkpoints"), "validation-"

_OF_ONE_CALL = ("config", "output", "resume", "minutes", "quiet", "report", "device")

_WITHOUT_USE = (
    (None, "episodes"),
    (None, "until_converged"),
    ("data", "eval_start"),
    ("data", "eval_end"),
    ("data", "spans"),
    ("train", "market_refresh"),
)
"""Settings of training that folds do not heed: a plan says what they train and are scored on, and for how long."""


_PARTS_TRAINED, _LEAST_TESTS = 5, 3
"""Of default windows: how many tests long a training is, and how many tests a history holds at least."""

VALIDATION_BOUNDS = {
    "folds": whole(1, 1000),
    "test_folds": whole(1, 1000),
    "label_bars": whole(0, 1_000_000),
    "embargo": whole(0, 10_000_000),
    "liquid": whole(1, 1_000_000),
    "stages": whole(1, 10_000),
    "folds_at_once": whole(1, 1000),
}
"""Numbers of `ValidationConfig`."""


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """How a history is split, and what is done with each fold.

    Attributes:
        scheme: `walk-forward` trains on the past and tests on what follows; `k-fold` and `combinatorial` test every
            block once, or once on each path, and train on blocks before and after it.
        train_window: training bars of a walk-forward fold, such as 1260 bars or 5y of the calendar. Without any window
            the three are 1260, 252 and 252 bars; of a history too short for three tests five parts, one and one of what
            there is; of intraday bars five years, one and one, if there are so many.
        validation_window: bars after them that the agents are chosen on, such as 252 or 1y.
        test_window: bars after those that they are scored on; tests lie end to end.
        expanding: train from the first bar on instead of over a window that moves.
        folds: blocks of `k-fold` and `combinatorial`. In [1, 1,000].
        test_folds: blocks that each `combinatorial` fold tests. In [1, 1,000].
        label_bars: bars after a row that what is learnt at it rests on; rows closer to a test are not trained on. In
            [0, 1e6].
        embargo: bars left out after a test, in walk-forward between the windows; without it the longest window of a
            feature, and 0 in walk-forward, where training never follows a test. In [0, 1e7].
        liquid: keep the tickers that traded most dollars (median of a bar) in the first fold's training rows; all
            without it. In [1, 1e6].
        stages: times at which the agents of a fold are scored on its validation rows; the best for each seed is kept.
            In [1, 10,000].
        folds_at_once: folds trained side by side in one program. In [1, 1,000].
    """

    scheme: Literal["walk-forward", "k-fold", "combinatorial"] = "walk-forward"
    train_window: str | None = None
    validation_window: str | None = None
    test_window: str | None = None
    expanding: bool = False
    folds: int = 6
    test_folds: int = 2
    label_bars: int = 1
    embargo: int | None = None
    liquid: int | None = None
    stages: int = 5
    folds_at_once: int = 1

    def __post_init__(self) -> None:
        check_kinds(self, VALIDATION_BOUNDS)
        for name in ("stages", "folds_at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.liquid is not None and self.liquid < 1:
            raise ValueError(f"liquid={self.liquid} must be at least 1 ticker.")
        check_bounds(self, VALIDATION_BOUNDS)

    def fitted(self, num_bars: int, least_training: int = 0, year: int = 252) -> "ValidationConfig":
        """Return the same with the windows that were left out.

        Beside windows of the calendar they are five years, one and one.

        Args:
            num_bars: of the history.
            least_training: bars that a training window has to hold, if it can.
            year: bars of a year, which a default test is at most.
        """
        given = (self.train_window, self.validation_window, self.test_window)
        if any(window is not None and not window.strip().isdigit() for window in given):
            defaults = ("5y", "1y", "1y")
        else:
            part = max(min(year, num_bars // (_PARTS_TRAINED + 1 + _LEAST_TESTS)), 1)
            trained = _PARTS_TRAINED * part
            if trained < least_training:
                trained, part = least_training, max((num_bars - least_training) // (1 + _LEAST_TESTS), 1)
            defaults = (str(trained), str(part), str(part))
        train, validation, test = (own if own is not None else new for own, new in zip(given, defaults, strict=True))
        return dataclasses.replace(self, train_window=train, validation_window=validation, test_window=test)

    def plan(self, times: np.ndarray, feature_names: Sequence[str] = ()) -> Plan:
        """Return the folds of a history.

        Args:
            times: `[T]` dates of its bars.
            feature_names: what normalisers are fitted on; their windows set the embargo where none is given.
        """
        if self.scheme == "walk-forward":
            windows = self.fitted(len(times))
            return walk_forward(
                times,
                train=windows.train_window or "",
                validation=windows.validation_window or "",
                test=windows.test_window or "",
                expanding=self.expanding,
                label_bars=self.label_bars,
                embargo=self.embargo or 0,
            )
        embargo = longest_window(feature_names) if self.embargo is None else self.embargo
        sizes = (len(times), self.folds)
        if self.scheme == "k-fold":
            return purged_k_fold(*sizes, label_bars=self.label_bars, embargo=embargo)
        return combinatorial_purged(*sizes, self.test_folds, label_bars=self.label_bars, embargo=embargo)


class History(NamedTuple):
    """What is validated on.

    Attributes:
        market: the bars, with the features of all that came before them.
        plan: the folds.
        notes: on both, one sentence each.
        validation: how it is split, with the windows that were left out.
        chosen_on: first and last of the bars by which the tickers were chosen, where folds test some of them.
    """

    market: Market
    plan: Plan
    notes: tuple[str, ...]
    validation: ValidationConfig
    chosen_on: DateSpan | None = None


def read_history(data: DataConfig, validation: ValidationConfig, episode_length: int = 0) -> History:
    """Return the bars to validate on.

    Windows that were left out are chosen so that an episode fits into a training window.

    The tickers that `validation.liquid` keeps are chosen on the first fold's training rows alone. In plans that train
    on both sides of a test these are rows that other folds test.

    Raises:
        ValueError: naming what cannot be read, or why no plan fits.
    """
    count = validation.liquid if validation.liquid is not None else data.liquid
    data = dataclasses.replace(data, liquid=None)
    panel = read_panel(data)
    rows = panel.find_rows(data.start, data.end)
    notes, chosen_on = panel.notes, None
    if validation.scheme == "walk-forward":
        # A training window loses the bars of its purging, and an episode needs the bar before its first.
        least = episode_length + 2 + validation.label_bars
        year = round(panel.calendar.bars_per_year) if panel.calendar.is_intraday else 252
        validation = validation.fitted(rows.stop - rows.start, least, year)
    if count is not None and count < panel.num_assets:
        splits = validation.plan(panel.times[rows]).splits
        first, stop = rows.start + splits[0].train[0].start, rows.start + splits[0].train[-1].stop
        symbols = most_traded(panel.window(first, stop), count)
        dates = name_moment(panel.times[first]), name_moment(panel.times[stop - 1])
        used = f"from {dates[0]} to {dates[1]}, the training rows of the first fold"
        if any((split.test_rows < stop - rows.start).any() for split in splits):
            chosen_on, used = dates, f"{used}, which other folds test: that choice flatters the result"
        notes = (*notes, f"Of {panel.num_assets} tickers the {len(symbols)} that traded most dollars {used}.")
        data = dataclasses.replace(data, tickers=symbols)
    market = read_market(data).window(rows.start, rows.stop)
    return History(market, validation.plan(market.times, market.feature_names), notes, validation, chosen_on)


def default_output(*, resume: bool) -> str:
    """Return the next free `checkpoints/validation-N`; to resume, the newest that is there.

    Raises:
        ValueError: if there is none to resume.
    """
    numbers = [
        int(path.name.removeprefix(_DEFAULT_NAME))
        for path in _DEFAULT_HOME.glob(f"{_DEFAULT_NAME}*")
        if path.name.removeprefix(_DEFAULT_NAME).isdecimal()
    ]
    if resume and not numbers:
        raise ValueError(f"There is no validation to resume in {_DEFAULT_HOME}; name its folder with --output.")
    return str(_DEFAULT_HOME / f"{_DEFAULT_NAME}{max(numbers, default=0) + (not resume)}")


def start_output(settings: RunSettings, validation: ValidationConfig) -> tuple[Path, str]:
    """Return the folder of a validation and the text of its settings, which lies in it as `validation.yaml`.

    Raises:
        ValueError: if a setting of training has no meaning here, the folder is a file, holds a validation and it is
            not to be resumed, or one with other settings, or none and it is.
    """
    for place, name in _WITHOUT_USE:
        value = getattr(settings if place is None else getattr(settings, place), name)
        if value:
            raise ValueError(f"A validation has no use for {name}={value}; leave it out.")
    if settings.output is None:
        raise ValueError("A validation needs a folder of its own; name it with --output.")
    output = Path(settings.output)
    check_output(output, resume=False)
    content = {"validation": dataclasses.asdict(validation), **dataclasses.asdict(settings)}
    now = {name: value for name, value in content.items() if name not in _OF_ONE_CALL}
    text = yaml.safe_dump(plain(now), sort_keys=False, allow_unicode=True)
    file = output / SETTINGS_FILE
    if settings.resume != file.exists():
        raise ValueError(
            f"There is no validation to resume in {output}."
            if settings.resume
            else f"The folder {output} already holds a validation. Give another --output, or --resume to go on with it."
        )
    if settings.resume and (before := file.read_text(encoding="utf-8")) != text:
        lines = set(text.splitlines()) ^ set(before.splitlines())
        raise ValueError(
            f"The validation in {output} was started with other settings:"
            f" {'; '.join(sorted(line.strip() for line in lines))}. Give the same ones to resume, or another --output."
        )
    output.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return output, text
