"""A folder of saved steps, over Orbax: a step is there whole or not at all, and is read only if nothing is wrong in it.

Orbax writes a step into `N.orbax-checkpoint-tmp` in the background and renames that to `N` when every file is
written, so a process killed at any moment leaves the earlier steps as they were. What a rename cannot guard against, a
copy that broke off or a disk that lost bytes, is found by digests: of the arrays, in the step's JSON, and of the files,
in a list that is added once they are there. The list is looked at first, as Orbax cannot be stopped cleanly once it
has begun to read broken files; a step without it, of a process killed in that moment, is held to its arrays.

Nothing here runs code when it is read: arrays are numbers in OCDBT files read by tensorstore, all else is JSON.
Orbax is slow to load, so each function that needs it imports it: training without a run folder does without.
"""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from ploutos_jax.agents.checksum import digest_of

_META = "meta"
_UNFINISHED = ".orbax-checkpoint-tmp"
_FILES = "files.json"
_SET_ASIDE = "damaged-"
_ADDED = ("waiting",)
"""Fields that trees saved before 0.3.0 lack; in what is read they are as in the template."""
_ROOM, _ROOM_FACTOR, _ROOM_BYTES = "room", 2, 2**19
"""A file that tries how much room there is: twice the arrays, as two steps may be under way, and blocks half filled."""


class SaveError(OSError):
    """A checkpoint could not be written; those before it are as they were."""


class DamagedError(ValueError):
    """A checkpoint is not what was saved."""


class DamagedWarning(UserWarning):
    """A checkpoint is not what was saved, and an earlier one is taken instead."""


class Steps:
    """The steps in a folder, each with trees of arrays by name and one mapping of JSON. Use as a context manager.

    Args:
        path: the folder; with `write` it is made, and what a killed process left unfinished in it is removed.
        keep: how many steps to keep, all of them without it; the oldest goes once a newer one is whole.
        write: whether steps will be saved.
    """

    def __init__(self, path: Path, *, keep: int | None = None, write: bool = False) -> None:
        import orbax.checkpoint as ocp

        self.path = path.absolute()
        self._saving: int | None = None
        if write:
            for unfinished in self.path.glob(f"*{_UNFINISHED}*"):
                shutil.rmtree(unfinished, ignore_errors=True)
        with _in_words_of_ours(f"The folder {self.path} cannot be used for checkpoints"):
            options = ocp.CheckpointManagerOptions(max_to_keep=keep, read_only=not write, create=write)
            self._manager = ocp.CheckpointManager(self.path, options=options)

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.wait()
        except SaveError:
            # Where the run ends with an error already, that one is reported.
            if kind is None:
                raise
        finally:
            # What could not be saved has been reported or is of no more interest.
            with _silent(), _no_error():
                self._manager.close()

    @property
    def numbers(self) -> list[int]:
        """The finished steps in ascending order, damaged ones included."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, items: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Start to write a step; returns once the arrays are copied, so that their buffers may be donated.

        Raises:
            SaveError: if this step or the one before it cannot be written.
        """
        import orbax.checkpoint as ocp

        self.wait()
        digests = {name: digest_of(tree) for name, tree in items.items()}
        content = {**meta, "step": step, "digests": digests}
        arrays = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        self._saving = step
        with self._telling_what_failed():
            _make_sure_of_room(self.path, sum(leaf.nbytes for leaf in jax.tree.leaves(dict(items))))
            self._manager.save(
                step,
                args=ocp.args.Composite(**arrays, **{_META: ocp.args.JsonSave({**content, "self": _seal(content)})}),
            )

    def wait(self) -> None:
        """Return once what was saved is on the disk.

        Raises:
            SaveError: if it cannot be written.
        """
        with self._telling_what_failed():
            self._manager.wait_until_finished()
            if self._saving is not None:
                _list_files(self.path / str(self._saving))
        self._saving = None

    def read_meta(self, step: int) -> dict[str, Any]:
        """Return the JSON of a step.

        Raises:
            DamagedError: if it cannot be read or is not what was saved.
        """
        import orbax.checkpoint as ocp

        with self._finding_damage(step):
            _check_files(self.path / str(step), [_META])
            args = ocp.args.Composite(**{_META: ocp.args.JsonRestore()})
            meta = self._manager.restore(step, args=args)[_META]
            seal = meta.pop("self", None)
            if seal is not None and seal != _seal(meta):
                raise DamagedError("its description was changed")
        return meta

    def read(self, step: int, templates: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return trees of arrays of a step on the present default device, whatever device they were saved from.

        Args:
            step: which one.
            templates: trees that give structure, shapes and types, by name.
            meta: what `read_meta` returned.

        Raises:
            DamagedError: if they cannot be read or are not what was saved.
        """
        with self._finding_damage(step):
            _check_files(self.path / str(step), templates)
            trees = {}
            for name, template in templates.items():
                tree, added = self._read_tree(step, name, template)
                if name in meta.get("digests", {}) and digest_of(tree, added) != meta["digests"][name]:
                    raise DamagedError(f"the numbers of its {name} part were changed")
                trees[name] = tree
        return trees

    def _read_tree(self, step: int, name: str, template: Any) -> tuple[Any, tuple[str, ...]]:
        """Return a tree of a step, and which of its fields are not from the disk, as it was saved without them."""

        def restored(tree: Any) -> Any:
            import orbax.checkpoint as ocp

            arguments = ocp.args.Composite(**{name: ocp.args.StandardRestore(_here(tree))})
            return self._manager.restore(step, args=arguments)[name]

        try:
            return restored(template), ()
        except ValueError:
            part, is_shorter = _as_saved(template)
            if not is_shorter:
                raise
            return _completed(template, restored(part)), _ADDED

    def read_newest(
        self, templates: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """Return number, JSON and arrays of the newest step that is whole; warn about each that is not.

        Args:
            templates: from the JSON of a step to the `templates` of `read`.

        Raises:
            DamagedError: if there is no whole one.
        """
        steps = self.numbers[::-1]
        for step, earlier in zip(steps, [*steps[1:], None], strict=True):
            try:
                meta = self.read_meta(step)
                return step, meta, self.read(step, templates(meta), meta)
            except DamagedError as error:
                if earlier is None:
                    raise
                warnings.warn(f"{error} The one before it, of step {earlier}, is used.", DamagedWarning, stacklevel=2)
        raise DamagedError(f"There is no finished checkpoint in {self.path}.")

    def set_aside(self, after: int) -> None:
        """Rename the steps after one, damaged all of them, so that they can be made again."""
        self._take_away(after, keep=True)

    def remove(self, after: int) -> None:
        """Remove the steps after one."""
        self._take_away(after, keep=False)

    def _take_away(self, after: int, *, keep: bool) -> None:
        later = [step for step in self.numbers if step > after]
        for step in later:
            target = self.path / f"{_SET_ASIDE}{step}"
            shutil.rmtree(target, ignore_errors=True)
            (self.path / str(step)).rename(target)
            if not keep:
                shutil.rmtree(target, ignore_errors=True)
        if later:
            self._manager.reload()

    @contextmanager
    def _telling_what_failed(self) -> Iterator[None]:
        step = self._saving
        with _in_words_of_ours(f"The checkpoint of step {step} cannot be written to {self.path}", self._forget):
            yield

    def _forget(self) -> str:
        """Remove what is left of a step that could not be written; return what there still is."""
        if self._saving is not None:
            shutil.rmtree(self.path / f"{self._saving}{_UNFINISHED}", ignore_errors=True)
        finished = [int(path.name) for path in self.path.glob("*") if path.name.isdecimal()]
        kept = f"The earlier ones, up to step {max(finished)}, are whole" if finished else "There is no earlier one"
        return f" {kept}; make room or choose another place, then go on with --resume."

    @contextmanager
    def _finding_damage(self, step: int) -> Iterator[None]:
        try:
            with _silent():
                yield
        # Which exception a missing or broken file leads to is the business of Orbax and tensorstore, and changes.
        except Exception as error:
            reason = str(error) if isinstance(error, DamagedError) else f"{type(error).__name__}: {_first_line(error)}"
            raise DamagedError(f"The checkpoint of step {step} in {self.path} is damaged ({reason}).") from error


def _list_files(step: Path) -> None:
    """Write down size and digest of every file of a finished step."""
    files = sorted(path for path in step.rglob("*") if path.is_file())
    listed = {path.relative_to(step).as_posix(): _digest_of_file(path) for path in files}
    unfinished = step / f"{_FILES}.part"
    unfinished.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    unfinished.replace(step / _FILES)


def _check_files(step: Path, items: Iterable[str]) -> None:
    """Make sure that the files of some items are those that were written, as far as they are listed."""
    if not (step / _FILES).is_file():
        return
    listed = json.loads((step / _FILES).read_text(encoding="utf-8"))
    for name, digest in listed.items():
        if name.partition("/")[0] not in items:
            continue
        if not (step / name).is_file():
            raise DamagedError(f"{name} is missing")
        if _digest_of_file(step / name) != digest:
            raise DamagedError(f"{name} was changed")


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _make_sure_of_room(folder: Path, num_bytes: int) -> None:
    """Ask for the room that a step needs and give it back, so that a full disk is met before anything is written.

    Met in the middle of a save, it leaves threads of Orbax behind that write and complain for as long as they like.
    """
    place = folder / _ROOM
    try:
        with place.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, _ROOM_FACTOR * num_bytes + _ROOM_BYTES)
    finally:
        place.unlink(missing_ok=True)


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fields(node: Any) -> dict[str, Any] | None:
    """Return the fields of a node that has names for them, as a checkpoint does; None for any other."""
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        names: Any = node
        return dict(zip(names._fields, node, strict=True))
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node if isinstance(node, dict) else None
    return {
        each.name: getattr(node, each.name)
        for each in dataclasses.fields(node)
        if each.metadata.get("pytree_node", True)
    }


def _as_saved(node: Any) -> tuple[Any, bool]:
    """Return a tree as nested dictionaries and lists without the fields in `_ADDED`, and whether it had any of them."""
    fields = _fields(node)
    if fields is not None:
        parts = {name: _as_saved(value) for name, value in fields.items() if name not in _ADDED}
        shorter = len(parts) < len(fields) or any(is_shorter for _, is_shorter in parts.values())
        return {name: part for name, (part, _) in parts.items()}, shorter
    if isinstance(node, list | tuple):
        items = [_as_saved(value) for value in node]
        return [part for part, _ in items], any(is_shorter for _, is_shorter in items)
    return node, False


def _completed(node: Any, part: Any) -> Any:
    """Return a node with what `_as_saved` kept of it from `part`, the rest as it is."""
    fields = _fields(node)
    if fields is not None:
        found = {name: _completed(value, part[name]) for name, value in fields.items() if name in part}
        if isinstance(node, dict):
            return node | found
        named: Any = node
        return named._replace(**found) if isinstance(node, tuple) else dataclasses.replace(named, **found)
    if isinstance(node, list | tuple):
        return type(node)(_completed(value, each) for value, each in zip(node, part, strict=True))
    return part


def _here(tree: Any) -> Any:
    """Return shapes, dtypes and the default device for every leaf, so that any saved topology can be read."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree)


@contextmanager
def _in_words_of_ours(what: str, after: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn any error of Orbax while it writes into a `SaveError` of one sentence."""
    try:
        with _silent():
            yield
    except Exception as error:
        # Threads of Orbax that were left behind would go on complaining.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _first_line(error)
        raise SaveError(f"{what}: {reason.rstrip('.')}.{after()}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Orbax from logging tracebacks of errors that are reported in one sentence."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _no_error() -> Iterator[None]:
    try:
        yield
    except Exception:
        return


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
