"""Trees that an older version saved with fewer fields, read into those of today."""

import dataclasses
from typing import Any

ADDED = ("waiting",)
"""Fields that trees saved before 0.3.0 lack; in what is read they are as in the template."""


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


def as_saved(node: Any) -> tuple[Any, bool]:
    """Return a tree as nested dictionaries and lists without the fields in `ADDED`, and whether it had any of them."""
    fields = _fields(node)
    if fields is not None:
        parts = {name: as_saved(value) for name, value in fields.items() if name not in ADDED}
        shorter = len(parts) < len(fields) or any(is_shorter for _, is_shorter in parts.values())
        return {name: part for name, (part, _) in parts.items()}, shorter
    if isinstance(node, list | tuple):
        items = [as_saved(value) for value in node]
        return [part for part, _ in items], any(is_shorter for _, is_shorter in items)
    return node, False


def completed(node: Any, part: Any) -> Any:
    """Return a node with what `as_saved` kept of it from `part`, the rest as it is."""
    fields = _fields(node)
    if fields is not None:
        found = {name: completed(value, part[name]) for name, value in fields.items() if name in part}
        if isinstance(node, dict):
            return node | found
        named: Any = node
        return named._replace(**found) if isinstance(node, tuple) else dataclasses.replace(named, **found)
    if isinstance(node, list | tuple):
        return type(node)(completed(value, each) for value, each in zip(node, part, strict=True))
    return part
