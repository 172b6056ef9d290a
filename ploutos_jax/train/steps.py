"""A folder of saved steps, over Orbax: a step is there whole or not at all, and is read only if nothing is wrong in it.

Orbax writes a step into `N.orbax-checkpoint-tmp` in the background and renames that to `N` when every file is
written, so a process killed at any moment leaves the earlier steps as they were. What a rename cannot guard against, a
copy that broke off or a disk that lost bytes, is found by digests of the arrays that lie in the step's JSON.

Nothing here runs code when it is read: arrays are numbers in OCDBT files read by tensorstore, all else is JSON.
"""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ploutos_jax.train.digest import digest_of

_META = "meta"
_UNFINISHED = ".orbax-checkpoint-tmp"
_SET_ASIDE = "damaged-"


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
            # Where the run ends with an error already, that one is told.
            if kind is None:
                raise
        finally:
            # What could not be saved has been told or is of no more interest.
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
        self.wait()
        digests = {name: digest_of(tree) for name, tree in items.items()}
        content = {**meta, "step": step, "digests": digests}
        arrays = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        self._saving = step
        with self._telling_what_failed():
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
        self._saving = None

    def read_meta(self, step: int) -> dict[str, Any]:
        """Return the JSON of a step.

        Raises:
            DamagedError: if it cannot be read or is not what was saved.
        """
        with self._finding_damage(step):
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
            wanted = {name: ocp.args.StandardRestore(_here(tree)) for name, tree in templates.items()}
            restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
            trees = {name: restored[name] for name in templates}
            for name, tree in trees.items():
                if name in meta.get("digests", {}) and digest_of(tree) != meta["digests"][name]:
                    raise DamagedError(f"the numbers of its {name} part were changed")
        return trees

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


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
        raise SaveError(f"{what}: {_first_line(error)}.{after()}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Orbax from logging tracebacks of errors that are told in one sentence."""
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
