"""What panels and markets show of themselves: a line, a screen, a table; never an array."""

import jax
import numpy as np
import pytest

from ploutos_jax.market.display import Card, Shown
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel
from tests.market.io.test_load import bars

LINES, WIDTH = 24, 200


def panel_of(num_tickers: int = 3, days: int = 40, **columns) -> Panel:
    tickers = tuple(f"T{place:03}" for place in range(num_tickers))
    return Panel.from_frame(bars(days, tickers, **columns))


def test_a_panel_is_a_line():
    panel = panel_of(mood=1.0)
    assert repr(panel) == "Panel(3 tickers, 40 bars, 2020-01-01 to 2020-02-25, 1 signal)"
    assert repr(panel_of(1, 1)) == "Panel(1 ticker, 1 bar, 2020-01-01 to 2020-01-01)"


def test_rows_count_what_there_is():
    frame = bars(40, ("AAA", "BBB")).drop(index=[3, 4, 5, 6])
    frame.loc[10, "volume"] = 0.0
    said = str(Panel.from_frame(frame.assign(sector="Energy")))
    # 76 of the 80 cells of the grid hold a bar, and one of these traded nothing.
    assert "95.0 % of the grid; 93.8 % tradable" in said
    assert "2: AAA, BBB" in said and "1: Energy" in said and "one bar a day, 252 days a year" in said
    assert "1 in .notes; the first: 1 bar has no volume" in said


@pytest.mark.parametrize("num_tickers", [1, 300])
def test_a_screen_is_enough(num_tickers):
    panel = panel_of(num_tickers, mood=1.0)
    market = build_market(panel, "minimal")
    for one in (panel, market):
        lines = str(one).splitlines()
        assert len(lines) <= LINES and max(map(len, lines)) <= WIDTH and lines[0] == repr(one)
        assert len(one._repr_html_()) < 6_000
    assert f"{market.num_features} features" in repr(market)


def test_names_cannot_write_the_page():
    panel = panel_of()
    labels = Labels(("<b>x</b>", "a\u202eb", "C"), panel.sectors, panel.times)
    shown = panel.replace(labels=labels)
    assert "&lt;b&gt;x&lt;/b&gt;" in shown._repr_html_() and "<b>" not in shown._repr_html_()
    assert "\u202e" not in str(shown) and "\\u202e" in str(shown)


def test_traced_and_stripped_objects_have_a_card():
    panel, said = panel_of(), []
    jax.jit(lambda one: said.append((repr(one), str(one))))(panel)
    assert said[0][0] == "Panel(3 tickers, 40 bars, no labels)"
    assert repr(jax.tree.map(lambda _: None, panel)) == "Panel(shape (), no labels)"
    market = build_market(panel, "minimal")
    assert "no labels" in repr(jax.tree.map(lambda x: x, market))


def test_paths_are_counted():
    ends = np.repeat([19, 39], 20)
    market = build_market(panel_of(days=40), "minimal", path_end=ends)
    assert "2 paths" in repr(market)


def test_long_texts_are_cut():
    class Thing(Shown):
        def _card(self) -> Card:
            return Card("Thing", ["one"], [("name", "x" * 1_000)])

    assert len(str(Thing()).splitlines()[1]) < WIDTH and str(Thing()).endswith("…")
