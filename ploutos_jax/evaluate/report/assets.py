"""What a report page brings with it: its style sheet, its script, and the charting library uPlot with its licence.

uPlot (MIT) lies in `assets/` as its authors publish it, under the name of its version; a page holds all of it.
"""

from functools import cache
from importlib.resources import files

LIBRARY = "uPlot-1.6.32"
_FOLDER = files("ploutos_jax.evaluate.report") / "assets"
_OWN = ("format.js", "draw.js", "charts.js", "page.js")
"""In the order in which they use each other."""


@cache
def style() -> str:
    """Return the style sheet: colours of both themes, then the page's rules."""
    light, dark = _read("colors_light.css"), _read("colors_dark.css")
    return (
        f":root {{\n{light}}}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{\n{dark}}} }}\n"
        f":root[data-theme=dark] {{\n{dark}}}\n"
        f"{_read(f'{LIBRARY}.min.css')}\n{_read('page.css')}"
    )


@cache
def script() -> str:
    """Return the script: the library under its licence, then what draws the charts and sorts the tables."""
    own = "\n".join(map(_read, _OWN))
    library = f"/*! {LIBRARY}\n{_read(f'{LIBRARY}.LICENSE')}*/\n{_read(f'{LIBRARY}.iife.min.js')}"
    return f'{library}\n(() => {{\n"use strict";\n{own}}})();\n'


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")
