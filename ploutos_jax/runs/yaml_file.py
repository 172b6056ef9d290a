"""A mapping from a YAML file that anybody may have written: read within a second, or refused in one message."""

from pathlib import Path
from typing import Any

import yaml

from ploutos_jax.env.bounds import shown

_MOST_BYTES = 2**20
_MOST_VALUES = 100_000
"""Values that a file may stand for, aliases written out: nine lines of aliases of aliases stand for a billion."""
_MOST_DIGITS = 400
_NOTHING = "tag:yaml.org,2002:null"


class _Loader(yaml.SafeLoader):
    """PyYAML's own, with what is no integer of this world or no day named as such.

    Tickers are texts as they are written: NO, ON and TRUE are no truth values there, 600519 and 000001 no numbers.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return a mapping; what stands under `tickers` stays as written."""
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == "tickers":
                for entry in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(entry, yaml.ScalarNode) and entry.tag != _NOTHING:
                        entry.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


def _read_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    if len(node.value) > _MOST_DIGITS:
        raise yaml.MarkedYAMLError(None, None, f"a number of {len(node.value)} digits is none", node.start_mark)
    return yaml.SafeLoader.construct_yaml_int(loader, node)


def _read_time(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    try:
        return yaml.SafeLoader.construct_yaml_timestamp(loader, node)
    except ValueError as error:
        raise yaml.MarkedYAMLError(None, None, f"{node.value} is no date: {error}", node.start_mark) from None


_Loader.add_constructor("tag:yaml.org,2002:int", _read_int)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _read_time)


def read_yaml(path: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ValueError: if the file is missing or cannot be read, is no YAML, holds no mapping, or is larger than settings
            are, aliases written out.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"No such configuration file: {path}.")
    if (size := file.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, settings at most {_MOST_BYTES:,}: this is another file.")
    try:
        content = _load(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is not a file of settings: its brackets are nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not a YAML file: {shown(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold settings as `name: value`, found {type(content).__name__}.")
    return content


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > _MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {_MOST_VALUES:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for; what stands in several places is looked at once.

    Raises:
        yaml.YAMLError: if a value holds itself.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.MarkedYAMLError(None, None, "a value holds itself", node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    inner = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
    known[id(node)] = 1 + sum(_count(each, known) for each in inner)
    return known[id(node)]
