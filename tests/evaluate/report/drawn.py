"""What a page draws, read back from the page as its script reads it."""

import json
import re

import numpy as np

from ploutos_jax.evaluate.report.assets import script

_CHART = re.compile(
    r"<div class='frame' role='img' aria-label='([^']*)'[^>]*></div><script type='application/json'>(.*?)</script>",
    re.DOTALL,
)


def charts_of(page):
    """The charts of a page by what they show in words; see `Drawn`."""
    return [Drawn(words, json.loads(content)) for words, content in _CHART.findall(page)]


def chart_of(page, words):
    """The one chart whose words begin so."""
    (found,) = [one for one in charts_of(page) if one.words.startswith(words)]
    return found


def without_library(page):
    """The page without its script, whose library names its home in a comment."""
    assert script() in page
    return page.replace(script(), "")


class Drawn:
    """One chart: its words, the whole content, `x` as times, numbers or names, and `lines`: values by name."""

    def __init__(self, words, content):
        self.words, self.content = words, content
        x = content["x"]
        if x["kind"] == "time":
            self.x = (np.cumsum(x["steps"]) * x["seconds"]).astype("datetime64[s]")
        else:
            self.x = x["names"] if x["kind"] == "names" else np.array(x["values"])
        self.lines = {
            one.get("name", ""): np.array([np.nan if v is None else v for v in one["v"]], float)
            for one in content["series"]
        }
