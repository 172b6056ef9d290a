"""An agent as two plain files, arrays in `policy.npz` and all else in `policy.json`: no Orbax, no device, no pickle.

NumPy is told never to unpickle, JSON holds no code, and every array is checked against the shape that the network of
the description has, so that loading a file from a stranger can fail but not run anything.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.checksum import digest_of
from ploutos_jax.agents.ensemble import ensemble
from ploutos_jax.agents.network import AgentParams
from ploutos_jax.agents.spec import agent_from, check_format, describe_agent, members_of, shapes_of
from ploutos_jax.train.checkpoints.checkpoint import PathLike, restore, restore_seeds
from ploutos_jax.train.run.folder import CONFIG_FILE

ARRAYS_FILE, DESCRIPTION_FILE = "policy.npz", "policy.json"
_NAMED = ".pth"
"""Ending of the arrays of an agent in files of a name of its own."""
_KIND = "ploutos_jax policy"
_PACKAGES = ("ploutos_jax", "jax", "flax", "numpy")


def export_policy(
    run: PathLike | Agent,
    path: PathLike,
    *,
    step: int | None = None,
    best: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write an agent as a folder of plain files that `load_policy` reads on any machine.

    An ensemble is one agent: its arrays are `[N, ...]`, and the description names its N members.

    Args:
        run: run folder, or an agent or ensemble.
        path: folder to make; it appears whole or not at all.
        step, best, seed: which agent of the run, see `restore`.
        overwrite: replace an older export.

    Returns:
        The folder.

    Raises:
        ValueError: if there is no such agent, or the folder holds something else already.
    """
    agent = run if isinstance(run, Agent) else restore(run, step=step, best=best, seed=seed)
    target = Path(path).absolute()
    _check_target(target, overwrite=overwrite)
    arrays, description = _exported(agent)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Next to the target, so that the last move is a rename.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
        made = Path(place) / target.name
        made.mkdir()
        np.savez(made / ARRAYS_FILE, allow_pickle=False, **arrays)
        (made / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        if not isinstance(run, Agent) and (Path(run) / CONFIG_FILE).is_file():
            shutil.copyfile(Path(run) / CONFIG_FILE, made / CONFIG_FILE)
        if target.exists():
            target.rename(Path(place) / "older")
        made.rename(target)
    return target


def _exported(agent: Agent) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of an agent by name, and its description."""
    arrays = {name: np.asarray(leaf) for name, leaf in _named(agent.params).items()}
    description = {
        "kind": _KIND,
        **describe_agent(agent),
        "arrays": sorted(arrays),
        "digest": digest_of(arrays),
        "versions": {package: version(package) for package in _PACKAGES},
    }
    return arrays, description


def write_named(agent: Agent, name: str, more: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write an agent as `NAME.pth` and `NAME_metadata.json`, the files of an older system, and return their paths.

    The first holds the arrays as `policy.npz` does, whatever its ending: no PyTorch, no pickle. `load_policy` reads the
    two by the path of the first. Earlier ones are replaced.

    Args:
        agent: or ensemble.
        name: path without an ending; its folder is made.
        more: what else goes into the metadata, such as scores and settings.
    """
    arrays_file, metadata_file = named_files(name)
    arrays, description = _exported(agent)
    arrays_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arrays_file.parent, prefix=f".{arrays_file.stem}-") as place:
        made = Path(place) / "arrays.npz", Path(place) / "metadata.json"
        np.savez(made[0], allow_pickle=False, **arrays)
        made[1].write_text(json.dumps({**more, **description}, indent=2, default=str) + "\n", encoding="utf-8")
        made[0].replace(arrays_file)
        made[1].replace(metadata_file)
    return arrays_file, metadata_file


def named_files(name: str | Path) -> tuple[Path, Path]:
    """Return where `write_named` puts the arrays and the metadata of an agent of that name."""
    name = Path(name).absolute()
    return name.with_name(f"{name.name}{_NAMED}"), name.with_name(f"{name.name}_metadata.json")


def load_policy(path: PathLike) -> Agent:
    """Return an exported agent or ensemble, ready to act on the present default device.

    Args:
        path: folder of an export, or the file `NAME.pth` with `NAME_metadata.json` beside it.

    Raises:
        ValueError: if that is no export, or one that is not what was written; nothing in it is ever run.
    """
    place = Path(path).absolute()
    files = place / ARRAYS_FILE, place / DESCRIPTION_FILE
    if place.suffix == _NAMED:
        files = named_files(place.with_suffix(""))
    arrays_file, description_file = files
    description = _read_description(description_file, arrays_file)
    try:
        template = shapes_of(description, max(len(members_of(description)), 1))
        agent = agent_from(description, template, description["step"])
        wanted = _named(template)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{description_file} does not describe a policy: {error!r}.") from None
    arrays = _read_arrays(arrays_file, wanted)
    if digest_of(arrays) != description.get("digest"):
        raise ValueError(f"{arrays_file} is damaged: its numbers are not those that were exported.")
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    params: AgentParams = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return dataclasses.replace(agent, params=params)


def load_agent(
    path: PathLike, *, step: int | None = None, best: bool = False, seed: int = 0, all_seeds: bool = False
) -> Agent:
    """Return an agent of a run folder or of an exported policy.

    Args:
        path: run folder, folder of an export, or the file `NAME.pth` of one.
        step, best, seed: which agent of the run, see `restore`.
        all_seeds: take the ensemble of all seeds of the run instead of one of them.

    Raises:
        ValueError: as `restore`, `load_ensemble` and `load_policy` do, or if a choice is made where an export holds one
            agent.
    """
    if all_seeds and seed:
        raise ValueError(f"seed={seed} is one agent, and an ensemble is made of all; leave one of them out.")
    is_export = (Path(path) / DESCRIPTION_FILE).is_file() or Path(path).suffix == _NAMED
    if not is_export:
        return (
            load_ensemble(path, step=step, best=best) if all_seeds else restore(path, step=step, best=best, seed=seed)
        )
    if step is not None or best or seed:
        raise ValueError(f"{path} is an exported policy, one agent alone: leave out step, best and agent.")
    agent = load_policy(path)
    if all_seeds and not agent.members:
        raise ValueError(f"{path} is an exported policy, one agent alone and no ensemble.")
    return agent


def load_ensemble(runs: PathLike | Sequence[PathLike], *, step: int | None = None, best: bool = False) -> Agent:
    """Return the ensemble of all seeds of a run, or of several runs; see `ensemble`.

    Args:
        runs: one run folder or several.
        step, best: which checkpoint of each, see `restore`.

    Raises:
        ValueError: as `restore` does, or if there is one agent only, or the agents cannot be members of one ensemble.
    """
    folders = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    agents, names = [], []
    for folder in folders:
        place = f"{Path(folder).name}, " if len(folders) > 1 else ""
        for name, agent in restore_seeds(folder, step=step, best=best).items():
            agents.append(agent)
            names.append(f"{place}{name}, update {agent.step}")
    if len(agents) < 2:
        raise ValueError(
            f"{', '.join(map(str, folders)) or 'No run'} holds {len(agents)} agent; an ensemble needs two or more."
            " Train several with --num-seeds."
        )
    return ensemble(agents, names)


def _check_target(target: Path, *, overwrite: bool) -> None:
    if target.is_file():
        raise ValueError(f"{target} is a file; give a folder to export to.")
    if not target.exists() or not any(target.iterdir()):
        return
    if not (target / DESCRIPTION_FILE).is_file():
        raise ValueError(f"The folder {target} holds other files; give a new one to export to.")
    if not overwrite:
        raise ValueError(f"The folder {target} already holds a policy; give another one, or overwrite=True.")


def _named(params: Any) -> dict[str, Any]:
    """Return the leaves by their places, such as `network/params/Dense_0/kernel`."""
    return {
        jax.tree_util.keystr(place, simple=True, separator="/"): leaf
        for place, leaf in jax.tree.leaves_with_path(params)
    }


def _read_description(file: Path, arrays_file: Path) -> dict[str, Any]:
    if not file.is_file() or not arrays_file.is_file():
        raise ValueError(
            f"No policy in {file.parent}: an export holds {file.name} and {arrays_file.name}. Write one with"
            " pj.export_policy(run, path)."
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no JSON: {error}.") from None
    if not isinstance(description, dict) or description.get("kind") != _KIND:
        raise ValueError(f"{file} does not describe a policy.")
    check_format(description, file)
    return description


def _read_arrays(file: Path, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a file if they are those wanted, by name, shape and type."""
    try:
        # Opened here, as NumPy leaves a file open that is no archive.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            if set(stored.files) != set(wanted):
                different = sorted(set(stored.files) ^ set(wanted))
                raise ValueError(f"it holds other arrays than the network has, such as {different[0]!r}")
            arrays = {name: stored[name] for name in wanted}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise ValueError(f"{file} cannot be read as a policy: {' '.join(str(error).split())}.") from None
    for name, array in arrays.items():
        if array.shape != wanted[name].shape or array.dtype != wanted[name].dtype:
            raise ValueError(
                f"{file}: {name} is {array.dtype} {array.shape}, but the network described beside it has"
                f" {wanted[name].dtype} {wanted[name].shape}."
            )
    return arrays
