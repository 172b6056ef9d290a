"""What an enemy may send, and what has to come of it: read, or refused in one line; nothing else."""

import contextlib
import functools
import io
import json
import os
import random
import shutil
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.runs.reader import Run
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.checkpoints.checkpoint import restore
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train
from ploutos_jax.train.run.figures import find_gaps, read_figures
from tests.market.io.test_mutated_files import MAPPINGS
from tests.market.io.test_mutated_files import mutated as mutated_csv

SECONDS = 10
"""Longest that one input may take."""
MEGABYTES = 2048
"""Most that one input may add to the memory of the process: what the loader's own estimate allows a thin grid."""


class Broken(AssertionError):
    """Something came of an input that may not come of any."""


def exercise(name: str, examples: int, seed: int) -> Counter[str]:
    """Send inputs to a target; return how many were read and how many refused.

    Raises:
        Broken, or whatever the target raised: with Hypothesis's smallest input that does it.
    """
    strategy, target = TARGETS[name]
    PREPARED.get(name, lambda: None)()
    counts: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @hypothesis.given(strategy)
    def send(given: Any) -> None:
        with _limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                target(given)
                counts["read"] += 1
            except ValueError as error:
                said = str(error)
                if "\n" in said or not said or len(said) > 2000:
                    raise Broken(f"a refusal of another form than one line: {said[:300]!r}") from error
                counts["refused"] += 1

    send()
    return counts


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    def too_long(*_: Any) -> None:
        raise Broken(f"no answer within {SECONDS} s")

    before = _resident()
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
    if _resident() - before > MEGABYTES:
        raise Broken(f"{_resident() - before:.0f} MB more than before the input")


def _resident() -> float:
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if pages.exists() else 0.0


# Files of bars.


def read_csv(given: tuple[tuple[str, str], str | None]) -> None:
    (name, text), columns = given
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        path.write_text(text, encoding="utf-8")
        load_panel(path, columns=columns).validate()


@functools.cache
def arrow_files() -> dict[str, bytes]:
    """Bars as Parquet and Feather files of several kinds, each a few kilobytes."""
    days = pd.bdate_range("2024-01-02", periods=40)
    table = pd.DataFrame({"date": np.repeat(days, 3), "ticker": ["AAA", "BBB", "CCC"] * 40})
    for name in ("open", "high", "low", "close"):
        table[name] = 10.0
    table["volume"] = 1000
    files = {}
    for compression in (None, "snappy", "zstd"):
        out = io.BytesIO()
        table.to_parquet(out, compression=compression)
        files[f"{compression}.parquet"] = out.getvalue()
    for compression in ("uncompressed", "lz4"):
        out = io.BytesIO()
        table.astype({"ticker": "category"} if compression == "lz4" else {}).to_feather(out, compression=compression)
        files[f"{compression}.feather"] = out.getvalue()
    return files


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)
"""Bytes to set: where, as a share of the length, and to what."""


def changed(content: bytes, changes: list[tuple[float, int]], kept: float = 1.0) -> bytes:
    """Return bytes with some of them set, and the end cut off."""
    made = bytearray(content)
    for place, byte in changes if made else []:
        made[int(place * len(made))] = byte
    return bytes(made[: int(kept * len(made))])


def read_arrow(given: tuple[str, list[tuple[float, int]], float]) -> None:
    name, changes, kept = given
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        path.write_bytes(changed(arrow_files()[name], changes, kept))
        load_panel(path).validate()


# Settings.

YAML_PIECES = [
    *(
        "data: synthetic\n",
        "env:\n",
        "  spread_bps: ",
        "  fees: none\n",
        "train:\n",
        "  num_envs: ",
        "  hidden: [",
        "]",
    ),
    *("tickers: [", "NO, ON, 600519", "start: ", "2021-02-30", "2020-01-01", "1e999", ".nan", "-1", "9" * 500, "null"),
    *(
        "&a ",
        "*a",
        "&b [*a, *a, *a]",
        "<<: ",
        "!!python/object:os.system ",
        "!!binary ",
        "{",
        "}",
        ": ",
        "- ",
        "\n",
        "  ",
    ),
    *(
        "\t",
        "'",
        '"',
        "# ",
        "---\n",
        "...\n",
        "? ",
        "| ",
        "> ",
        "\x00",
        "\u202e",
        "é",
        "yes",
        "0x1F",
        "1:30",
        "policy:\n",
    ),
]


def read_settings(given: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "settings.yaml"
        path.write_text("".join(given), encoding="utf-8")
        parse_settings(["--config", str(path)])


NUMBERS = st.one_of(
    st.integers(),
    st.integers(1, 4999).map(lambda digits: -(10**digits) if digits % 2 else 10**digits),
    st.floats(),
    st.sampled_from([None, True, "", "none", "1", "text", [], [1], (), {}, b"", 10**30, 2**63, 5e-324, -0.0]),
)
KINDS = {kind: [field for field in kind.__dataclass_fields__ if field != "policy"] for kind in (EnvConfig, TrainConfig)}


def make_settings(given: tuple[type, dict[int, Any]]) -> None:
    kind, values = given
    fields = KINDS[kind]
    kind(**{fields[number % len(fields)]: value for number, value in values.items()})


# Run folders.

FIGURES = "".join(json.dumps({"update": i, "timesteps": 10 * i, "loss": 0.5}) + "\n" for i in range(1, 9)).encode()


def read_metrics(given: tuple[list[tuple[float, int]], float]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "metrics.jsonl").write_bytes(changed(FIGURES, *given))
        (folder / "config.yaml").write_text("data: {data: synthetic}\n", encoding="utf-8")
        (folder / "summary.json").write_bytes(changed(b'{"best": {"update": 3}, "score_by_seed": [1]}', *given))
        rows = read_figures(folder)
        find_gaps(rows, 8)
        run = Run(folder)
        if len(run.metrics) != len(rows) or not isinstance(run.summary, dict):
            raise Broken("two readers of one file see different things")


@functools.cache
def run_folder() -> tuple[Path, frozenset[bytes]]:
    """A run of three checkpoints, and the parameters that it may give."""
    folder = Path(tempfile.mkdtemp()) / "run"
    config = TrainConfig(
        num_envs=4, rollout_length=8, num_epochs=1, num_minibatches=1, total_timesteps=96, checkpoint_every=32,
        policy=PolicyConfig(hidden=(4,), width=4),
    )  # fmt: skip
    train(config, _market(), TradingEnv(EnvConfig(episode_length=20)), output=folder)
    steps = [int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit()]
    return folder, frozenset(_numbers(restore(folder, step=step)) for step in steps)


@functools.cache
def _market() -> Any:
    return build_market(synthetic_panel(jax.random.key(0), 3, 120), ["log_return_1"])


def _numbers(agent: Any) -> bytes:
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(agent.params))


def read_run(given: tuple[int, str, list[tuple[float, int]], float]) -> None:
    which, kind, changes, kept = given
    source, known = run_folder()
    with tempfile.TemporaryDirectory() as place:
        folder = shutil.copytree(source, Path(place) / "run")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        chosen, other = files[which % len(files)], files[(which // len(files)) % len(files)]
        if kind == "bytes":
            chosen.write_bytes(changed(chosen.read_bytes(), changes, kept))
        elif kind == "gone":
            chosen.unlink()
        elif kind == "other":
            shutil.copyfile(other, chosen) if other != chosen else None
        elif kind == "moved" and not other.parent.is_relative_to(chosen.parent):
            moved = shutil.copytree(chosen.parent, Path(place) / "moved")
            shutil.rmtree(other.parent)
            shutil.copytree(moved, other.parent)
        try:
            agent = restore(folder)
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error  # a run without a checkpoint, which says so
        if _numbers(agent) not in known:
            raise Broken(f"{kind} of {chosen.relative_to(folder)}: numbers that no checkpoint held")


# Actions.


@functools.cache
def _world(action: str) -> Any:
    env = TradingEnv(EnvConfig(action=action, episode_length=50))
    params = env.default_params(_market())
    _, state = env.reset_at(20, 70, params)
    return jax.jit(env.step_env), params, state


def act(given: tuple[str, list[Any], Any]) -> None:
    kind, values, dtype = given
    step, params, state = _world(kind)
    with np.errstate(all="ignore"):
        action = np.array(values, dtype)
    for _ in range(2):
        _, state, reward, _, _, info = step(jax.random.key(0), state, action, params)
    if not bool(jnp.isfinite(jnp.stack([reward, info["equity"], info["cash"], state.equity])).all()):
        raise Broken(f"money is no number after {action!r}")
    if not 0.5e6 < float(info["equity"]) < 2e6 and float(params.initial_cash) == 1e6:
        raise Broken(f"{float(info['equity'])} dollars after {action!r}")


ACTIONS = ("discrete", "weights", "bands", "levels")
FLOATS = st.one_of(st.floats(width=32), st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.3]))

TARGETS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "CSV": (st.tuples(mutated_csv(), st.sampled_from(MAPPINGS)), read_csv),
    "Parquet and Feather": (
        st.tuples(
            st.deferred(lambda: st.sampled_from(sorted(arrow_files()))), CHANGES, st.sampled_from([1, 1, 1, 0.7])
        ),
        read_arrow,
    ),
    "YAML": (st.lists(st.sampled_from(YAML_PIECES), max_size=25), read_settings),
    "settings": (
        st.tuples(st.sampled_from(sorted(KINDS, key=str)), st.dictionaries(st.integers(0, 200), NUMBERS, max_size=3)),
        make_settings,
    ),
    "figures": (st.tuples(CHANGES, st.sampled_from([1.0, 1.0, 0.6])), read_metrics),
    "run folders": (
        st.tuples(
            st.integers(0, 10**6),
            st.sampled_from(["bytes", "bytes", "gone", "other", "moved"]),
            CHANGES,
            st.sampled_from([1.0, 1.0, 0.5, 0.0]),
        ),
        read_run,
    ),
    "actions": (
        st.one_of(
            st.tuples(st.just("weights"), st.lists(FLOATS, max_size=6), st.sampled_from([np.float32, np.float64])),
            st.tuples(
                st.sampled_from(["discrete", "levels"]),
                st.lists(st.integers(-128, 127), max_size=5),
                st.sampled_from([np.int8, np.int32]),
            ),
            st.tuples(
                st.just("bands"),
                st.lists(st.lists(FLOATS, min_size=2, max_size=2), max_size=4),
                st.sampled_from([np.float32, np.float64]),
            ),
        ),
        act,
    ),
}
"""By what is sent: inputs, and who takes them."""


PREPARED: dict[str, Callable[[], Any]] = {
    "Parquet and Feather": arrow_files,
    "run folders": run_folder,
    "actions": lambda: [
        act(
            (
                kind,
                [[0, 0]] * 3 if kind == "bands" else [0, 0, 0],
                np.float32 if kind in ("weights", "bands") else np.int8,
            )
        )
        for kind in ACTIONS
    ],
}
"""What inputs need, made before the first."""


def seeds() -> Iterator[int]:
    """Give numbers without end, other ones in every process."""
    while True:
        yield random.SystemRandom().randrange(2**31)
