"""The report page in a real browser: silent, no wider than its window, and its script works."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ploutos_jax.evaluate.report import assets
from ploutos_jax.evaluate.report.write import write_report
from tests.evaluate.accounts import SECTORS, make_ledger
from tests.evaluate.report.chromium import View, find_chromium, look_at
from tests.evaluate.report.drawn import charts_of

ASSETS = Path(assets.__file__).parent / "assets"
VIEWS = (
    View(1280, 900, "light"),
    View(1280, 900, "dark"),
    View(390, 844, "light", phone=True),
    View(390, 844, "dark", phone=True),
)
READY = """new Promise(done => {
  const charts = () => document.querySelectorAll('.uplot').length;
  const look = () => document.documentElement.dataset.charts === 'ready' ? done(charts()) : setTimeout(look, 20);
  look();
})"""
POINT_AT = """
const frameOf = words => [...document.querySelectorAll('.frame')].find(one => one.ariaLabel.startsWith(words));
const pointAt = (words, share) => {
  const over = frameOf(words).querySelector('.u-over'), box = over.getBoundingClientRect();
  const at = { clientX: box.left + share * (box.width - 2) + 1, clientY: box.top + 20, bubbles: true };
  over.dispatchEvent(new MouseEvent('mouseenter', at));
  over.dispatchEvent(new MouseEvent('mousemove', at));
  return new Promise(done => setTimeout(() => {
    const words = document.querySelector('.tip').innerText;
    over.dispatchEvent(new MouseEvent('mouseleave', at));
    done(words);
  }, 60));
};
const press = text => [...document.querySelectorAll('.spans button')].find(one => one.textContent === text).click();
"""
POINT = f"(async () => {{ {POINT_AT} return [await pointAt('Equity', 1), await pointAt('Price', 1)]; }})()"
ZOOM = f"""(async () => {{ {POINT_AT}
  const lefts = async () => [await pointAt('Equity', 0), await pointAt('Drawdown', 0)].map(text => text.slice(0, 10));
  const before = await lefts();
  press('3M');
  await new Promise(done => setTimeout(done, 60));
  const near = await lefts();
  press('Whole span');
  await new Promise(done => setTimeout(done, 60));
  return [before, near, await lefts()];
}})()"""
LOG = f"""(async () => {{ {POINT_AT}
  const button = [...document.querySelectorAll('.spans button')].find(one => one.textContent === 'Log scale');
  const linear = await pointAt('Equity', 1);
  press('Log scale');
  await new Promise(done => setTimeout(done, 60));
  const answer = [button.getAttribute('aria-pressed'), linear === await pointAt('Equity', 1)];
  press('3M');
  await new Promise(done => setTimeout(done, 60));
  const near = await pointAt('Equity', 0);
  press('Log scale');
  await new Promise(done => setTimeout(done, 60));
  answer.push(near === await pointAt('Equity', 0) && near !== linear);
  press('Whole span');
  return answer;
}})()"""
LEGEND = f"""(async () => {{ {POINT_AT}
  const key = frameOf('Sharpe').parentElement.querySelector('.key');
  key.click();
  const without = await pointAt('Sharpe', 1);
  key.click();
  return [without, await pointAt('Sharpe', 1)];
}})()"""
TOUCH = """(() => {
  const over = document.querySelector('.u-over'), box = over.getBoundingClientRect();
  const touches = [new Touch({ identifier: 0, target: over, clientX: box.left + 0.2, clientY: box.top + 20 })];
  over.dispatchEvent(new TouchEvent('touchstart', { touches }));
  return new Promise(done => setTimeout(() => done(document.querySelector('.tip').innerText.slice(0, 10)), 60));
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


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_page_in_chromium(tmp_path):
    ledger = make_ledger("agent", num_bars=300, trade_every=2)
    baselines = {"buy and hold": make_ledger("hold", 1, num_bars=300), "cash": make_ledger("c", 2, 300, 0)}
    write_report(tmp_path / "report", ledger, baselines, sectors=SECTORS)
    page = tmp_path / "report" / "report.html"
    expressions = ("document.documentElement.scrollWidth", READY, POINT, ZOOM, LOG, LEGEND, SORT, FILTER, THEME)
    looks = look_at(page, tmp_path / "profile", VIEWS, expressions)
    first, last = (str(ledger.times[row])[:10] for row in (0, -1))
    for view, look in zip(VIEWS, looks, strict=True):
        assert look.messages == []
        assert look.requests == [page.as_uri()]
        width, drawn, (tip, bar), zoomed, log, legend, profits, kept, papers = look.answers
        assert width <= view.width
        assert drawn == len(charts_of(page.read_text("utf-8"))) > 12
        day, *lines = tip.splitlines()
        assert day == last
        assert f"${ledger.equity[-1]:,.2f}" in lines[lines.index("agent") + 1]
        assert bar.startswith(last) and "Close" in bar
        (before, near, after) = zoomed
        assert before == after == [first, first] and near[0] == near[1] > first
        assert np.datetime64(last) - np.datetime64(near[0]) <= np.timedelta64(92, "D")
        assert log == ["true", True, True]
        assert "agent" not in legend[0] and "agent" in legend[1]
        np.testing.assert_allclose(profits, sorted(ledger.trades["pnl"]))
        stopped = ledger.trades[(ledger.trades["ticker"] == "BRK.B") & (ledger.trades["exit_reason"] == "stop")]
        assert kept == ["BRK.B stop"] * len(stopped) and kept
        assert papers[0] == papers[2] != papers[1]
        pixels = np.asarray(Image.open(io.BytesIO(look.picture)).convert("L"))
        assert (pixels[5, 5] > 128) == (view.theme == "light") and np.ptp(pixels) > 150


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_a_finger_reads_a_chart(tmp_path):
    ledger = make_ledger("agent", num_bars=300, trade_every=2)
    write_report(tmp_path / "report", ledger, {})
    (look,) = look_at(tmp_path / "report" / "report.html", tmp_path / "profile", VIEWS[2:3], (READY, TOUCH))
    assert look.messages == [] and look.answers[1] == str(ledger.times[0])[:10]


LABELS = f"""(() => {{
  {(ASSETS / "format.js").read_text("utf-8")}
  return [
    tickLabels([25, 27.5, 30], 'dollars'), tickLabels([100000, 110000], 'dollars'), tickLabels([1e6, 2.5e6], 'dollars'),
    tickLabels([-0.06, 0, 0.025], 'percent'), tickLabels([0, 1.5], 'times'), tickLabels([1000, 20], 'dollars'),
    logTicks(15, 900), logTicks(0.9, 2.1), logTicks(100, 130),
    write(-0.00001, 'percent'), write(0.5, 'percent'), write(-1234.567, 'dollars'), write(0.1234, 'dollars'),
    write(3, 'number'), write(null, 'number'), writeTime(86400, true), writeTime(86460, false),
  ];
}})()"""


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_labels_read_as_what_they_are(tmp_path):
    """A tick at 27.5 must not be written $28."""
    (tmp_path / "empty.html").write_text("<!DOCTYPE html><title>t</title><link rel='icon' href='data:,'>")
    (look,) = look_at(tmp_path / "empty.html", tmp_path / "profile", VIEWS[:1], (LABELS,))
    assert look.messages == []
    assert look.answers[0] == [
        ["$25.00", "$27.50", "$30.00"],
        ["$100k", "$110k"],
        ["$1.0M", "$2.5M"],
        ["−6.0%", "0.0%", "2.5%"],
        ["0.0×", "1.5×"],
        ["$1,000", "$20"],
        [20, 50, 100, 200, 500],
        [1, 1.25, 1.5, 1.75, 2],
        [100, 110, 120, 130],
        *["−0.0010%", "50.00%", "−$1,234.57", "$0.1234", "3", "–", "1970-01-02", "1970-01-02 00:01"],
    ]
