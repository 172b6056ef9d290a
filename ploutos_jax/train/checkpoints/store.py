"""A folder of saved steps, over Orbax: a step is there whole or not at all, and is read only if nothing is wrong in it.

Orbax writes a step into `N.orbax-checkpoint-tmp` in the background and renames that to `N` when every file is
written, so a process killed at any moment leaves the earlier steps as they were. What a rename cannot guard against, a
copy that broke off or a disk that lost bytes, is found by digests: of the arrays, in the step's JSON, and of the files,
in a list that is written before the rename. The list is looked at first, as Orbax cannot be stopped cleanly once it has
begun to read broken files. Seal, digests and list are required of what this version saves (`integrity`), and a step
says of which run and number it is.

Nothing here runs code when it is read: arrays are numbers in OCDBT files read by tensorstore, all else is JSON.
Orbax is slow to load, so each function that needs it imports it: training without a run folder does without.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ploutos_jax.agents.checksum import digest_of
from ploutos_jax.train.checkpoints.integrity import (
    META,
    DamagedError,
    check_description,
    check_files,
    check_list,
    list_files,
    sealed,
)
from ploutos_jax.train.checkpoints.older_trees import ADDED, as_saved, completed
from ploutos_jax.train.run.folder import IDENTITY_FILE

_UNFINISHED = ".orbax-checkpoint-tmp"
_SET_ASIDE = "damaged-"
_KEYS, _RAW = "keys", "data"
"""Keys of random numbers are saved as the numbers that they are, which any number of hosts can write and read."""
_ROOM, _ROOM_FACTOR, _ROOM_BYTES = "room", 2, 2**19
"""A file that tries how much room there is: twice the arrays, as two steps may be under way, and blocks half filled."""


class SaveError(OSError):
    """A checkpoint could not be written; those before it are as they were."""


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
        self._run = _identity(self.path.parent / IDENTITY_FILE)
        self._saving: int | None = None
        if write:
            for unfinished in self.path.glob(f"*{_UNFINISHED}*"):
                shutil.rmtree(unfinished, ignore_errors=True)
        with _in_words_of_ours(f"The folder {self.path} cannot be used for checkpoints"):
            options_of_saving = ocp.AsyncOptions(post_finalization_callback=self._list_files)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                read_only=not write,
                create=write and jax.process_count() == 1,
                async_options=options_of_saving,
                multiprocessing_options=_alone(),
            )
            if write:
                self.path.mkdir(parents=True, exist_ok=True)
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
        content = sealed({**meta, "step": step, "run": self._run, "digests": digests, _KEYS: _RAW})
        arrays = {name: ocp.args.StandardSave(_raw(tree)) for name, tree in items.items()}
        self._saving = step
        with self._telling_what_failed():
            _make_sure_of_room(self.path, sum(leaf.nbytes for leaf in jax.tree.leaves(dict(items))))
            self._manager.save(
                step,
                args=ocp.args.Composite(**arrays, **{META: ocp.args.JsonSave(content)}),
            )

    def wait(self) -> None:
        """Return once what was saved is on the disk.

        Raises:
            SaveError: if it cannot be written.
        """
        with self._telling_what_failed():
            self._manager.wait_until_finished()
        self._saving = None

    def _list_files(self) -> None:
        """Write down the files of the step that is being saved, in the moment before it gets its name."""
        list_files(self.path / f"{self._saving}{_UNFINISHED}")

    def read_meta(self, step: int) -> dict[str, Any]:
        """Return the JSON of a step.

        Raises:
            DamagedError: if it cannot be read or is not what was saved.
        """
        import orbax.checkpoint as ocp

        with self._finding_damage(step):
            check_files(self.path / str(step), [META])
            args = ocp.args.Composite(**{META: ocp.args.JsonRestore()})
            meta = self._manager.restore(step, args=args)[META]
            return check_description(meta, step, self._run)

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
            check_files(self.path / str(step), templates)
            digests = meta.get("digests", {})
            trees = {}
            for name, template in templates.items():
                tree, added = self._read_tree(step, name, template, meta.get(_KEYS) == _RAW)
                if digests and digest_of(tree, added) != digests.get(name):
                    raise DamagedError(f"the numbers of its {name} part were changed")
                trees[name] = tree
            check_list(self.path / str(step), meta)
            return trees

    def _read_tree(self, step: int, name: str, template: Any, raw: bool) -> tuple[Any, tuple[str, ...]]:
        """Return a tree of a step, and which of its fields are not from the disk, as it was saved without them."""

        def restored(tree: Any) -> Any:
            import orbax.checkpoint as ocp

            wanted = jax.eval_shape(_key_data, tree) if raw else tree
            arguments = ocp.args.Composite(**{name: ocp.args.StandardRestore(_here(wanted))})
            found = self._manager.restore(step, args=arguments)[name]
            return jax.tree.map(_as_keys, found, tree) if raw else found

        try:
            return restored(template), ()
        except ValueError as error:
            for added in ADDED:
                part, is_shorter = as_saved(template, added)
                if is_shorter:
                    with suppress(ValueError):
                        return completed(template, restored(part)), added
            raise error

    def read_newest(
        self, templates: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """Return number, JSON and arrays of the newest step that is whole; warn about each that is not.

        Args:
            templates: from the JSON of a step to the `templates` of `read`; a `DamagedError` of it counts as damage.

        Raises:
            DamagedError: if there is no whole one.
        """
        steps = self.numbers[::-1]
        for step, earlier in zip(steps, [*steps[1:], None], strict=True):
            try:
                return step, *self.read_whole(step, templates)
            except DamagedError as error:
                if earlier is None:
                    raise
                warnings.warn(f"{error} The one before it, of step {earlier}, is used.", DamagedWarning, stacklevel=2)
        raise DamagedError(f"There is no finished checkpoint in {self.path}.")

    def read_whole(
        self, step: int, templates: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return JSON and arrays of a step; see `read_newest`."""
        meta = self.read_meta(step)
        try:
            wanted = templates(meta)
        except DamagedError as error:
            raise self._damaged(step, str(error)) from error
        return meta, self.read(step, wanted, meta)

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
            raise self._damaged(step, reason) from error

    def _damaged(self, step: int, reason: str) -> DamagedError:
        return DamagedError(f"The checkpoint of step {step} in {self.path} is damaged ({reason}).")


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


def _identity(file: Path) -> str | None:
    """Return what the checkpoints of a run are known by; None where that is not known, as of older runs."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _alone() -> Any:
    """Return what makes Orbax wait for nobody: of several hosts the first alone writes and reads."""
    from orbax.checkpoint.options import MultiprocessingOptions

    if jax.process_count() == 1:
        return MultiprocessingOptions()
    return MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="first")


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(tree: Any) -> Any:
    """Return a tree with keys of random numbers as the numbers that they are."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _as_keys(leaf: Any, template: Any) -> Any:
    """Return an array as the template has it: keys of numbers that are those, on this host's device."""
    array = jax.numpy.asarray(leaf)
    return jax.random.wrap_key_data(array) if _is_key(template) else array


def _raw(tree: Any) -> Any:
    """Return a tree as Orbax writes it: where there are several hosts, NumPy's arrays, as it takes no others of one."""
    tree = _key_data(tree)
    return tree if jax.process_count() == 1 else jax.tree.map(np.asarray, tree)


def _here(tree: Any) -> Any:
    """Return shapes, dtypes and the default device for every leaf, so that any saved topology can be read.

    Raises:
        DamagedError: if several hosts are to read keys that an older version has saved.
    """
    if jax.process_count() > 1:
        if any(_is_key(leaf) for leaf in jax.tree.leaves(tree)):
            raise DamagedError("an older version saved it, for one host alone: resume it with one host first")
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
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
