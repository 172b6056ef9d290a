"""Every block of code on a page runs, and every command on it is one that the commands read.

Python blocks are executed, page by page, in an empty folder. Those of `PARSED` would train for long, download, or take
a file that nobody has: of them every public name has to exist and to take the arguments it is given. Commands are never
executed here (they train, download and install; the two of the README are run by CI, the others by tests/scripts): each
is split as a shell does and read by the parser of its command.
"""

import ast
import importlib
import inspect
import re
import shlex

import jax
import matplotlib
import pytest
import tyro

import ploutos_jax
from ploutos_jax.cli.check import Check
from ploutos_jax.cli.detach import without_flag
from ploutos_jax.cli.download import DownloadSettings
from ploutos_jax.cli.evaluate import Evaluation
from ploutos_jax.cli.orders import Orders
from ploutos_jax.cli.paper import Paper
from ploutos_jax.cli.serve import ServeSettings
from ploutos_jax.cli.sweep import read_sweep
from ploutos_jax.experiment.validation.config import ValidationConfig
from ploutos_jax.runs.command_line import REGISTRY, first_as, read, spell
from ploutos_jax.runs.older import translate_flags
from ploutos_jax.runs.settings import RunSettings, parse_settings
from tests.scripts.command_line import load_script
from tests.test_readme import ROOT, repository_files

ELSEWHERE = {
    "README.md": "tests/test_readme.py: test_quick_start_runs",
    "docs/python.md": "tests/test_api.py: test_the_page_for_people_who_know_pandas_can_be_typed_in",
}
"""Pages whose Python another test executes."""
PARSED = {"docs/design.md": "trains with all defaults", "data/README.md": "downloads"}
THOROUGH = {"docs/stress.md"}
SLOW = {"docs/index.md", "docs/tutorials/notebook.md", "docs/tutorials/own_reward.md"}
"""Pages that train."""
OTHER_COMMANDS = {"python3", ".venv/bin/pip", "uv", ".venv/bin/uv", ".venv/bin/pre-commit", "bash", "git", "ruff"}
OTHER_COMMANDS |= {"curl"}
"""First words of commands that are not of this package."""
PLACEHOLDERS = {"NAME": "default", "N": "3", "BPS": "2", "DATE": "2017-01-01", "PYTHON": "python", "TICKER": "AAA"}
"""What a page writes for a value of one's own, and one that can be read."""

PAGES = [path for path in repository_files() if path.endswith(".md") and not path.startswith(("tests/", "CHANGELOG"))]


def blocks(page, language):
    """Return the fenced blocks of a page in one language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```[ \t]*$", text, re.MULTILINE | re.DOTALL)


def commands_of(text):
    """Return the commands of a shell block, each as its words."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
    return [command for command in words if command]


def inline_commands(page):
    """Return the commands in code spans of a page that begin as one is typed, and whole ones in plain blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    spans = re.findall(r"`((?:ploutos |python scripts/)[^`\n]*)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [shlex.split(span) for span in spans if not re.search(r"[\[|{*]|\.\.\.|COMMAND", span)]


WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page not in ELSEWHERE | PARSED]


MARKS = dict.fromkeys(THOROUGH, pytest.mark.thorough) | dict.fromkeys(SLOW, pytest.mark.slow)


@pytest.mark.thorough
@pytest.mark.parametrize("page", [pytest.param(p, marks=MARKS.get(p, ())) for p in WITH_PYTHON])
def test_python_on_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    (tmp_path / "data").mkdir()  # the file that pages name
    panel = ploutos_jax.synthetic_panel(jax.random.key(0), num_assets=4, num_bars=600)
    panel.to_frame().to_parquet("data/sp500.parquet")
    names = {"__name__": "__main__"}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("page", PARSED)
def test_python_that_is_not_run_names_what_there_is(page):
    calls = [
        node for code in blocks(page, "python") for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)
    ]
    known = 0
    for call in calls:
        if not ast.unparse(call.func).startswith("pj."):
            continue
        called = ploutos_jax
        for name in ast.unparse(call.func).split(".")[1:]:
            called = getattr(called, name)
        arguments = [object() for _ in call.args], {word.arg: object() for word in call.keywords if word.arg}
        inspect.signature(called).bind(*arguments[0], **arguments[1])
        known += 1
    assert known >= 3


def test_pages_that_are_excused_have_python():
    assert all(blocks(page, "python") for page in [*ELSEWHERE, *PARSED, *MARKS])


def understand(words):
    """Read a command by its own parser; return its name, or None where it is not one of this package.

    Raises:
        ValueError: if the parser refuses it.
        SystemExit: likewise, by a code other than 0.
    """
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words[0].split("/")[-1].startswith("python") and len(words) > 1 and not words[1].startswith("-"):
        words = words[1:]
    script = re.fullmatch(r"(?:\./)?(scripts|benchmarks)/(\w+)\.py", words[0])
    if script is None and words[0] != "ploutos":
        assert words[0] in OTHER_COMMANDS or words[0].endswith(("/python", "/pytest")), f"unknown command {words}"
        return None
    if script is not None and script[1] == "benchmarks":
        assert (ROOT / words[0]).is_file()
        return None
    name, rest = (script[2], words[1:]) if script else (words[1], words[2:])
    rest = [PLACEHOLDERS.get(word, word) for word in rest]
    if name.startswith("--") or any(word in ("--help", "--help-all") for word in rest):
        return name
    READERS[name](rest)
    return name


def read_validation(args):
    words = spell(translate_flags(args), ValidationConfig, RunSettings)
    parse_settings(tyro.cli(ValidationConfig, args=words, return_unknown_args=True, registry=REGISTRY)[1])


def read_page(name):
    return lambda args: tyro.cli(load_script(name).Page, args=args)


READERS = {
    "train": lambda args: parse_settings(without_flag(args)),
    "serve": lambda args: tyro.cli(ServeSettings, args=args),
    "demo": parse_settings,
    "evaluate": lambda args: read(Evaluation, first_as("--checkpoint", args)),
    "orders": lambda args: read(Orders, first_as("--checkpoint", [*(args or ["RUN"])])),
    "paper": lambda args: read(
        Paper, first_as("--checkpoint", args or ["RUN", "--journal", "x", "--source", "replay:x"])
    ),
    "validate": read_validation,
    "sweep": lambda args: read_sweep(args or ["--over", "gamma=0.9,0.99"]),
    "check": lambda args: read(Check, args or ["--baseline", "FILE"]),
    "download": lambda args: read(DownloadSettings, args or ["--tickers", "SPY", "--output", "x.parquet"]),
    "benchmark": lambda args: read(load_script("benchmark").Benchmark, args),
    "plot_features": lambda args: read_page("plot_features")(args or ["--data", "x", "--output", "y"]),
    "plot_stress": lambda args: read_page("plot_stress")(args or ["--data", "x", "--output", "y"]),
}
"""How each command reads its words; a command that is only named is given what it cannot do without."""


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash") or inline_commands(page)])
def test_commands_on_a_page_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("seed: 1\n")  # for --config FILE
    for words in [*(c for block in blocks(page, "bash") for c in commands_of(block)), *inline_commands(page)]:
        try:
            understand(words)
        except (ValueError, SystemExit) as error:
            raise AssertionError(f"{page}: {shlex.join(words)}: {error}") from error


MODULES = ["train", "evaluate", "orders", "validate", "download", "demo", "serve", "sweep", "check"]


@pytest.mark.parametrize("name", MODULES)
def test_commands_in_a_docstring_are_understood(name):
    texts = [importlib.import_module(f"ploutos_jax.cli.{name}").__doc__ or ""]
    texts += [load_script(name).__doc__ or ""] if (ROOT / "scripts" / f"{name}.py").is_file() else []
    found = [
        understand(shlex.split(re.split(r"  +", line)[0]))
        for text in texts
        for line in text.splitlines()
        if line.startswith(("ploutos ", "python scripts/"))
    ]
    assert len(found) >= 2 and set(found) == {name}


@pytest.mark.parametrize(
    "text",
    [
        "python scripts/train.py --nm-envs 3",
        "ploutos evaluate RUN --no-such",
        "ploutos validate --train-windw 5",
        "rm -r x",
    ],
)
def test_commands_that_are_none_are_found(text):
    with pytest.raises((ValueError, SystemExit, AssertionError)):
        understand(shlex.split(text))
