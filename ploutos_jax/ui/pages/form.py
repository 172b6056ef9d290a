"""A form made from the settings' own types, defaults, bounds and help."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api
from ploutos_jax.ui.pages.shown import choose

OFF = "off"
HIDDEN = frozenset({"preset", "config", "resume", "checkpoint", "compare", "overwrite", "quiet", "output", "list_url"})
"""Settings that are chosen otherwise, or belong to a terminal."""


def settings_of(command: str) -> list[dict[str, Any]]:
    """Return the sections of settings of a command, as the API describes them."""
    return api().get("/api/settings")["commands"][command]


def ask(
    settings: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any], key: str, texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Show fields for settings; return those that were changed, by name.

    Numbers are asked for as text, so that what the command line takes (1e6, off) can be typed, and what it refuses is
    explained by it.

    Args:
        settings: what to ask for.
        defaults: values that the settings have without a change, where they are not their own defaults.
        key: of this form.
        texts: shorter help, by name.
    """
    changed: dict[str, Any] = {}
    columns = []
    for place, setting in enumerate(each for each in settings if each["name"] not in HIDDEN):
        if place % 2 == 0:  # row by row, so that fields keep their order where a narrow screen stacks columns
            columns = st.columns(2)
        name = setting["name"]
        default = defaults.get(name, setting["default"])
        text = (texts or {}).get(name) or setting["help"]
        with columns[place % 2]:
            value = _field(setting, default, f"{key}: {name}", text)
        if value != default:
            changed[name] = value
    return changed


def _field(setting: Mapping[str, Any], default: Any, key: str, text: str) -> Any:
    label = setting["name"].replace("_", " ")
    if setting["kind"] == "bool":
        return st.checkbox(label, value=bool(default), key=key, help=text)
    if setting["choices"]:
        options = [*([None] if setting["optional"] else []), *setting["choices"]]
        index = options.index(default) if default in options else 0
        return st.selectbox(label, options, index=index, key=key, help=text, format_func=lambda one: one or OFF)
    shown = _written(default)
    typed = st.text_input(label, value=shown, key=key, help=text, placeholder=OFF if setting["optional"] else "")
    typed = typed.strip()
    if typed == shown:
        return default
    if typed in ("", OFF):
        return None if setting["optional"] else [] if setting["several"] else typed
    return [part for part in typed.replace(",", " ").split() if part] if setting["several"] else typed


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def ask_preset_and_data(settings: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Show fields for the preset and the data; return the values chosen, and those that the preset gives others.

    Args:
        settings: of the command, by name.
    """
    presets = api().get("/api/settings")["presets"]
    preset = choose("Preset", list(presets), help=settings["preset"]["help"] + " Its values are the ones below.")
    files = [file["path"] for file in api().get("/api/data")]
    source = choose(
        "Data",
        ["synthetic", *files, "planted"],
        {"synthetic": "30 made stocks", "planted": "made, with a known answer"},
        help=settings["data"]["help"],
    )
    defaults: dict[str, Any] = {**presets[preset]}
    is_other = source != defaults.get("data", "synthetic")
    return {"preset": preset} | ({"data": source} if is_other else {}), defaults


def start_checked(command: str, address: str, values: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Any:
    """Let the command's own parser read the values, and start the job if it takes them.

    Args:
        command: its name.
        address: of the API that starts it.
        values: settings by name.
        more: what else the API takes.

    Returns:
        The job, or None where the values were refused; then the page says why.
    """
    try:
        with st.spinner("Reading the settings as the command does …"):
            checked = api().post("/api/settings/check", {"command": command, "values": values})
        if checked["complaint"]:
            st.error(checked["complaint"])
            st.code(checked["command"], language="bash", wrap_lines=True)
            return None
        return api().post(address, {"values": values, **(more or {})})
    except RefusedError as error:
        st.error(str(error))
        return None
