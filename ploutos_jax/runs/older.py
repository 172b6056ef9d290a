"""Settings and commands of the older systems: read as what they are called here, or answered with the form to type."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

_SECTIONS = {"training": "train", "environment": "env"}

_NO_SETTING: dict[str, str] = {
    "nohup": "--detach, which starts the run in the background as a job",
    "model": "a trained run is a folder; type python scripts/evaluate.py --checkpoint RUN --data FILE --output REPORT",
    "period": "history is downloaded first",
    "interval": "history is downloaded first",
}
"""Flags and keys that have no counterpart in training, and what to type for them."""

_TYPES = {"standard": "sentio", "maskable": "sentio-maskable", "enhanced-maskable": "sentio-enhanced"}
"""Variants of Sentio, and the presets that they are here."""

_DOWNLOADED = ("period", "interval")


def translate_flags(args: Sequence[str]) -> list[str]:
    """Return the words of a command line with values of the older systems in the form that they have here.

    Raises:
        ValueError: for flags without a counterpart, with the form to type.
    """
    words = list(args)
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            continue
        key = name[2:].replace("-", "_")
        if key == "device" and (equals or at + 1 < len(words)):
            device = translate_device(value if equals else words[at + 1], name)
            words[at : at + 1 if equals else at + 2] = [f"{name}={device}"] if equals else [name, device]
        elif key == "type":
            preset = translate_type(value or _after(words, at), name)
            words[at : at + 1 if equals else at + 2] = ["--preset", preset]
        elif key in _DOWNLOADED:
            raise ValueError(f"{name}: {_NO_SETTING[key]}; {_download({key: value or _after(words, at)})}.")
        elif key in _NO_SETTING:
            raise ValueError(f"{name}: {_NO_SETTING[key]}.")
    return words


def translate_file(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of a file with sections and values of the older systems in the form that they have here.

    `training` and `environment` are `train` and `env`; the device stands at the top. Names such as `n_envs` are known
    everywhere, see `overrides.ALIASES`.

    Raises:
        ValueError: for keys without a counterpart, with the form to type.
    """
    new: dict[str, Any] = {}
    for key, value in content.items():
        name = _SECTIONS.get(str(key), key)
        inner = dict(value) if isinstance(value, Mapping) else value
        if isinstance(inner, dict):
            if name == "train" and "device" in inner:
                new["device"] = translate_device(inner.pop("device"), f"{source}: device")
            if name == "data" and (asked := {each: inner[each] for each in _DOWNLOADED if each in inner}):
                tickers = inner.get("tickers") or ["SP500"]
                asked["tickers"] = ",".join(map(str, tickers)) if isinstance(tickers, list | tuple) else tickers
                names = " and ".join(each for each in _DOWNLOADED if each in inner)
                raise ValueError(
                    f"{source}: {names}: {_NO_SETTING['period']}; {_download(asked)}, as data: data/bars.parquet."
                )
            if isinstance(new.get(name), dict):
                inner = new[name] | inner
        new[name] = inner
    if "type" in new:
        new.setdefault("preset", translate_type(new.pop("type"), f"{source}: type"))
    if isinstance(new.get("device"), str):
        new["device"] = translate_device(new["device"], f"{source}: device")
    return new


def translate_type(variant: Any, source: str) -> str:
    """Return the preset of a variant of Sentio.

    Raises:
        ValueError: for a variant that there is not.
    """
    if variant not in _TYPES:
        raise ValueError(f"{source}={variant} is no variant of Sentio; there are {', '.join(_TYPES)}.")
    return _TYPES[variant]


def of_earlier_version(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with names as they are now.

    A run that states all its settings but not what it observes of the account observes all of it, and its features
    `sentio` are the twenty that are called `sentio_20` since then.
    """
    env, data = content.get("env"), content.get("data")
    if not isinstance(env, Mapping) or "ruin_pct" not in env or "observation" in env:
        return dict(content)
    new = {**content, "env": {**env, "observation": "full"}}
    if isinstance(data, Mapping) and data.get("features") == "sentio":
        new["data"] = {**data, "features": "sentio_20"}
    return new


def translate_device(device: Any, source: str) -> Any:
    """Return `gpu` for the CUDA devices of PyTorch; other values as they are.

    Raises:
        ValueError: for another GPU than the first, which is chosen outside of the program here.
    """
    found = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    if found is None:
        return device
    if int(found[1] or 0) > 0:
        raise ValueError(
            f"{source}={device}: which GPU is seen is set outside: CUDA_VISIBLE_DEVICES={found[1]}, and --device gpu."
        )
    return "gpu"


def _after(words: Sequence[str], at: int) -> str:
    return words[at + 1] if at + 1 < len(words) else ""


def _download(asked: Mapping[str, Any]) -> str:
    words = ["python", "scripts/download.py", "--tickers", str(asked.get("tickers", "TICKERS"))]
    for name in _DOWNLOADED:
        words += [f"--{name}", str(asked[name])] if asked.get(name) else []
    return f"type {shlex.join([*words, '--output', 'data/bars.parquet'])}, then --data data/bars.parquet"
