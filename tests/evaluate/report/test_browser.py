"""The report page in a real browser: silent, no wider than its window, and its script works."""

import io

import numpy as np
import pytest
from PIL import Image

from ploutos_jax.evaluate.report.write import write_report
from tests.evaluate.accounts import SECTORS, make_ledger
from tests.evaluate.report.chromium import View, find_chromium, look_at

VIEWS = (
    View(1280, 900, "light"),
    View(1280, 900, "dark"),
    View(390, 844, "light", phone=True),
    View(390, 844, "dark", phone=True),
)
POINT = """(() => {
  const plot = document.querySelector('.plot[data-unit]'), box = plot.querySelector('svg').getBoundingClientRect();
  plot.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + box.width, clientY: box.top + 20 }));
  return document.querySelector('.tip').innerText;
})()"""
SORT = """(() => {
  document.querySelectorAll('table.sortable th')[7].click();
  return [...document.querySelectorAll('table.sortable tbody tr')].map(row => +row.cells[7].dataset.v);
})()"""
FILTER = """(() => {
  const input = document.querySelector('input[type=search]');
  input.value = 'brk stop'; input.dispatchEvent(new Event('input'));
  const rows = [...document.querySelectorAll('table.sortable tbody tr')].filter(row => !row.hidden);
  return rows.map(row => row.cells[0].innerText + ' ' + row.cells[10].innerText);
})()"""
THEME = """(() => {
  const paper = () => getComputedStyle(document.body).backgroundColor, before = paper();
  document.querySelector('#theme').click();
  const after = paper();
  document.querySelector('#theme').click();
  return [before, after, paper()];
})()"""
HIDDEN = "[...document.querySelectorAll('.plot .end')].filter(one => getComputedStyle(one).display === 'none').length"


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_page_in_chromium(tmp_path):
    ledger = make_ledger("agent", num_bars=300, trade_every=2)
    baselines = {"buy and hold": make_ledger("hold", 1, num_bars=300), "cash": make_ledger("c", 2, 300, 0)}
    write_report(tmp_path / "report", ledger, baselines, sectors=SECTORS)
    page = tmp_path / "report" / "report.html"
    expressions = ("document.documentElement.scrollWidth", POINT, SORT, FILTER, THEME, HIDDEN)
    looks = look_at(page, tmp_path / "profile", VIEWS, expressions)
    for view, look in zip(VIEWS, looks, strict=True):
        assert look.messages == []
        assert look.requests == [page.as_uri()]
        width, tip, profits, kept, papers, hidden = look.answers
        assert width <= view.width
        day, *lines = tip.splitlines()
        assert day == str(ledger.times[-1])[:10]
        assert f"${ledger.equity[-1]:,.0f}" in lines[lines.index("agent") + 1]
        np.testing.assert_allclose(profits, sorted(ledger.trades["pnl"]))
        stopped = ledger.trades[(ledger.trades["ticker"] == "BRK.B") & (ledger.trades["exit_reason"] == "stop")]
        assert kept == ["BRK.B stop"] * len(stopped) and kept
        assert papers[0] == papers[2] != papers[1]
        assert (hidden > 0) == view.phone
        pixels = np.asarray(Image.open(io.BytesIO(look.picture)).convert("L"))
        assert (pixels[5, 5] > 128) == (view.theme == "light") and np.ptp(pixels) > 150
