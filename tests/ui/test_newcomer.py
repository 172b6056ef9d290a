"""A newcomer in a real browser: trains, watches, evaluates and compares two runs without a terminal."""

import pytest

from tests.evaluate.report.chromium import find_chromium
from tests.ui.projects import control_room, wait_for, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="the control room's pages are driven by playwright")
pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")

TITLES = ("Start", "Data", "Train", "Watch", "Models", "Evaluate", "Compare", "Sweeps", "Paper", "Jobs")
SMALL = {"total timesteps": "1024", "num envs": "8", "features": "minimal"}
SECONDS = 300
FITS = """() => {
  const frame = document.querySelector("iframe"), place = frame.getBoundingClientRect();
  const below = [...document.querySelectorAll("h3")].find((each) => each.textContent === "Over the same bars");
  return place.height >= frame.contentDocument.body.scrollHeight && below.getBoundingClientRect().top >= place.bottom;
}"""
"""A frame of curves is as high as what it holds, and what follows stands below it."""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def open_page(browser, address, width=1280, theme="light"):
    """Return a page and what goes wrong on it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page, wrong = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if foreign(asked.url, address) else None)
    page.goto(address)
    page.get_by_role("heading", name="ploutos", exact=True).wait_for()
    return page, wrong


def foreign(url, address):
    return not url.startswith((address, address.replace("http", "ws"), "data:", "blob:", "about:"))


def go_to(page, title):
    """Open a page as a person does; on a phone the menu is behind a button."""
    link = page.get_by_role("link", name=title, exact=True)
    place = link.bounding_box() if link.count() else None
    if place is None or place["x"] < 0:
        page.get_by_test_id("stExpandSidebarButton").click()
    link.click()
    name = "ploutos" if title == "Start" else title
    page.get_by_role("heading", name=name, exact=True).wait_for()


def settled(page):
    page.wait_for_function("document.querySelectorAll('[data-testid=stSkeleton]').length === 0")
    page.wait_for_timeout(500)


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_every_page_is_drawn_without_an_error(tmp_path, browser, width, theme):
    for number in (1, 2):
        write_run(tmp_path / "checkpoints" / f"run-{number}", updates=30, report=True, seed=number)
    with control_room(tmp_path) as (address, _):
        page, wrong = open_page(browser, address, width, theme)
        for title in TITLES:
            go_to(page, title)
            settled(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("[data-testid=stException]").count() == 0
        go_to(page, "Watch")
        frame = page.frame_locator("iframe")
        frame.locator("#chart-equity .main-svg").first.wait_for()
        assert frame.locator("html").get_attribute("data-theme") == theme
        page.goto(f"{address}/compare")  # by its own path, as a bookmark
        page.get_by_role("heading", name="Compare", exact=True).wait_for()
        curves = page.frame_locator("iframe").first
        curves.locator("#chart-equity svg.sketch polyline").nth(1).wait_for()  # at once, without Plotly's script
        curves.locator("#chart-equity .main-svg").first.wait_for()  # and by it, when the page has time
        page.wait_for_function(FITS)
        page.context.close()
    assert wrong == []


@pytest.mark.slow
def test_a_newcomer_trains_watches_evaluates_and_compares(tmp_path, browser):
    with control_room(tmp_path) as (address, _):
        page, wrong = open_page(browser, address)
        for number in (1, 2):
            go_to(page, "Train")
            page.get_by_label("Preset", exact=True).wait_for()
            for label, value in SMALL.items():
                page.get_by_label(label, exact=True).fill("x" if label == "num envs" and number == 1 else value)
            page.get_by_role("button", name="Train", exact=True).click()
            if number == 1:
                page.get_by_text("'x' is no whole number").first.wait_for()
                page.get_by_label("num envs", exact=True).fill(SMALL["num envs"])
                page.get_by_role("button", name="Train", exact=True).click()
            page.get_by_text(f"--output=checkpoints/run-{number}").first.wait_for()
            go_to(page, "Watch")
            frame = page.frame_locator("iframe")
            frame.get_by_role("button", name=f"checkpoints/run-{number}").wait_for(timeout=1000 * SECONDS)
            wait_for(
                lambda n=number: (tmp_path / "checkpoints" / f"run-{n}" / "report" / "report.html").exists(), SECONDS
            )
            frame.locator("#chart-equity .main-svg").first.wait_for()
        go_to(page, "Evaluate")
        report = page.frame_locator("iframe")
        report.get_by_role("heading", name="Backtest of agent").wait_for()
        page.get_by_role("tab", name="Score a run").click()
        page.get_by_label("stress", exact=True).fill("2")
        page.get_by_role("button", name="Write the report").click()
        wait_for(lambda: list(tmp_path.glob("checkpoints/run-*/evaluation-1/report.html")), SECONDS)
        go_to(page, "Compare")
        page.frame_locator("iframe").first.locator("#chart-equity polyline").nth(1).wait_for()
        page.get_by_role("button", name="Write the comparison").click()
        wait_for(lambda: list(tmp_path.glob("reports/comparison-1/*.html")), SECONDS)
        go_to(page, "Start")
        go_to(page, "Compare")
        page.frame_locator("iframe").nth(1).get_by_role("heading").first.wait_for()
        page.context.close()
    assert wrong == []
