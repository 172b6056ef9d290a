"""Forms: settings as the commands themselves describe them, and values turned into a command line.

The types of the settings need JAX, so they are read by a process of their own (`ploutos_jax.cli.settings_form`), whose
answer is kept in the project until a file of the package changes.
"""

import difflib
import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ploutos_jax.runs.run_files import read_json
from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.ui.project import DATA_FOLDERS, RUN_FOLDERS, Project

Value = str | int | float | bool | list[str | int | float] | None

_DESCRIBER = "ploutos_jax.cli.settings_form"
_SECONDS = 120
_PACKAGE = Path(__file__).resolve().parents[1]
_LONGEST_TEXT, _LONGEST_LIST = 1000, 2000
_MADE = re.compile(r"(synthetic|planted[a-z_]*)(:[a-z0-9.]{1,20}){0,3}")
_TICKER = re.compile(r"[A-Za-z0-9^][A-Za-z0-9.^=_-]{0,30}")
_FILES = frozenset({"universe", "sectors"})
_SEARCHED, _MOST_SEARCHED = "over", 20
_NOT_HERE = frozenset({"config", "resume", "list_url", "base_url", "checkpoint", "compare", "overwrite"})
"""Settings that a request cannot choose: they name places outside, or the request itself decides."""


class SettingError(ValueError):
    """A value that the command would refuse, or that a request cannot choose."""


class Forms:
    """The settings of the commands of this package; safe to use from threads.

    Args:
        project: in whose folder paths are looked for.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._reading, self._checking = threading.Lock(), threading.Lock()
        self._known: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return what forms show; see `ploutos_jax.cli.settings_form.describe`.

        Raises:
            RuntimeError: if the process that reads the types fails.
        """
        with self._reading:
            if self._known is None:
                self._known = self._read()
            return self._known

    def complaint(self, words: Sequence[str]) -> str | None:
        """Return what the command says of a command line that it refuses, or None: its own parser decides.

        Args:
            words: the command and its flags.
        """
        with self._checking:
            answer = _ask(["--check"], self._project.root, json.dumps(list(words)))
        return answer.get("complaint")

    def words(self, command: str, values: Mapping[str, Value]) -> list[str]:
        """Return the words of a command line, each setting with its value in one word.

        Args:
            command: its name.
            values: by setting.

        Raises:
            SettingError: if a setting is unknown, cannot be chosen here, or its value is of another kind.
            OutsideError: if a path is none of the project's.
        """
        sections = self.describe()["commands"][command]
        known = {each["name"]: each for section in sections for each in section["settings"]}
        words = [command]
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.0)[0]
                raise SettingError(f"{name[:100]!r} is no setting of {command}; did you mean {near!r}?")
            if name in _NOT_HERE:
                raise SettingError(f"{name} cannot be chosen here; the command line takes it.")
            words += self._searched(value, known) if name == _SEARCHED else self._word(known[name], value)
        return words

    def _searched(self, value: Value, known: Mapping[str, Any]) -> list[str]:
        """Return what a sweep searches, each in a word: the setting has to be one that a request may choose."""
        entries = value if isinstance(value, list) else [value]
        if not entries or len(entries) > _MOST_SEARCHED or not all(isinstance(each, str) for each in entries):
            raise SettingError(
                f"{_SEARCHED} is a list of 1 to {_MOST_SEARCHED} texts such as 'learning_rate=1e-4,1e-3'."
            )
        for entry in map(str, entries):
            name, _, text = entry.partition("=")
            name = name.strip().replace("-", "_")
            setting = known.get(name)
            if setting is None or name in _NOT_HERE | {_SEARCHED, "output"}:
                raise SettingError(f"{name[:100]!r} is no setting that a sweep can try here.")
            for part in text.split(","):
                self._text(name, part)
        return [f"--{_SEARCHED}={str(entry).strip()}" for entry in entries]

    def _word(self, setting: Mapping[str, Any], value: Value) -> list[str]:
        name, flag = setting["name"], f"--{setting['name'].replace('_', '-')}"
        if isinstance(value, bool) or setting["kind"] == "bool":
            if setting["kind"] != "bool" or not isinstance(value, bool):
                raise SettingError(f"{name}={value!r} is not of the kind {setting['kind']}.")
            return [flag if value else f"--no-{flag[2:]}"]
        if value is None:
            if not setting["optional"]:
                raise SettingError(f"{name} cannot be off.")
            return [f"{flag}=None"]
        if isinstance(value, list):
            if len(value) > _LONGEST_LIST:
                raise SettingError(f"{name} has {len(value):,} entries, at most {_LONGEST_LIST:,} are taken.")
            parts = [self._text(name, each) for each in value]
            if any("," in part for part in parts):
                raise SettingError(f"An entry of {name} holds a comma, which stands between entries.")
            return [f"{flag}={','.join(parts)}"] if parts else []
        return [f"{flag}={self._text(name, value)}"]

    def _text(self, name: str, value: str | int | float) -> str:
        text = str(value).strip()
        if not text or len(text) > _LONGEST_TEXT or not text.isprintable():
            raise SettingError(
                f"{name}={text[:80]!r} is no value: it is empty, too long, or has signs that are no text."
            )
        if isinstance(value, str) and text.startswith("-") and not _is_number(text):
            raise SettingError(f"{name}={text[:80]!r} begins as a flag does.")
        if name == "tickers":
            for ticker in re.split(r"[,\s]+", text):
                if ticker and not _TICKER.fullmatch(ticker):
                    raise SettingError(f"{ticker[:40]!r} is no ticker: letters, digits and . ^ = _ - are.")
        if name == "data" and not _MADE.fullmatch(text):
            kind, colon, file = text.rpartition("bootstrap:")
            if kind or (colon and not file):
                raise SettingError(f"data={text[:80]!r} is no data.")
            self._project.inside(file, DATA_FOLDERS)
        if name in _FILES:
            self._project.inside(text, DATA_FOLDERS)
        if name == "output":
            self._project.inside(text, (*RUN_FOLDERS, *DATA_FOLDERS, "reports"))
        return text

    def _read(self) -> dict[str, Any]:
        key, file = _key(), self._project.own / "settings.json"
        kept = read_json(file)
        if kept.get("key") == key:
            return kept["forms"]
        forms = _ask([], self._project.root, None)
        with suppress(OSError):  # a disk that is full or read-only: asked anew by the next server
            file.parent.mkdir(exist_ok=True)
            write_whole(file, json.dumps({"key": key, "forms": forms}))
        return forms


def _ask(words: Sequence[str], folder: Path, said: str | None) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", _DESCRIBER, *words]
    try:
        done = subprocess.run(command, input=said or "", capture_output=True, text=True, cwd=folder, timeout=_SECONDS)
        answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise RuntimeError(f"The settings of the commands could not be read: {error!r}.") from None
    return answer


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _key() -> str:
    """Return what changes with any file of the package."""
    files = sorted(_PACKAGE.rglob("*.py"))
    stamps = [f"{file}:{file.stat().st_mtime_ns}:{file.stat().st_size}" for file in files]
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()
