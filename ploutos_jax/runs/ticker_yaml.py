"""Tickers in YAML as they are written: NO, ON and TRUE are no truth values there, 600519 and 000001 no numbers."""

import yaml

_KEY = "tickers"
_NOTHING = "tag:yaml.org,2002:null"


class SettingsLoader(yaml.SafeLoader):
    """The safe loader, but for the entries of `tickers`, which are texts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return a mapping; what stands under `tickers` stays as written."""
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == _KEY:
                for entry in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(entry, yaml.ScalarNode) and entry.tag != _NOTHING:
                        entry.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)
