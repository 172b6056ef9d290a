"""Trees that an older version saved with fewer fields, read into those of today."""

import dataclasses
from collections.abc import Collection
from typing import Any

ADDED = (("members",), ("members", "rate", "tail"), ("members", "rate", "tail", "waiting"))
"""Fields that saved trees may lack, those of newer ones first; in what is read they are as in the template."""


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


def as_saved(node: Any, added: Collection[str]) -> tuple[Any, bool]:
    """Return a tree as nested dictionaries and lists without some fields, and whether it had any of them."""
    fields = _fields(node)
    if fields is not None:
        parts = {name: as_saved(value, added) for name, value in fields.items() if name not in added}
        shorter = len(parts) < len(fields) or any(is_shorter for _, is_shorter in parts.values())
        return {name: part for name, (part, _) in parts.items()}, shorter
    if isinstance(node, list | tuple):
        items = [as_saved(value, added) for value in node]
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
