"""How long pages of the control room take in Chromium, with finished runs and one that trains meanwhile.

python -m benchmarks.pages --runs 50 --repeats 3 --output pages.json

A run is trained and copied, so that all have figures and a report; another one trains while pages are opened: by their
address in a browser that was never there, by their address again, and from the menu. Times are to the heading and to
the page drawn: nothing that waits to be filled, and curves where it has some.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.control_room import ask, job_ended, memory_mb, serving, start_endless_run

PAGES = ("", "data", "train", "watch", "models", "evaluate", "compare", "sweeps", "paper", "jobs")
WITH_CURVES = ("watch", "compare")
IS_DRAWN = (
    "document.querySelectorAll('[data-testid=stSkeleton]').length === 0"
    " && !document.querySelector('[data-testid=stStatusWidget]')"
)


def open_page(page: Page, name: str, address: str | None) -> tuple[float, float]:
    """Open a page by its address or from the menu; return seconds until its heading and until all is drawn."""
    began = time.perf_counter()
    if address is None:
        page.get_by_role("link", name=name.capitalize(), exact=True).first.click()
    else:
        page.goto(f"{address}/{name}")
    page.get_by_role("heading", name=name.capitalize() or "ploutos", exact=True).wait_for()
    headed = time.perf_counter()
    if name in WITH_CURVES:
        page.frame_locator("iframe").first.locator("#chart-equity svg").first.wait_for()
    page.wait_for_function(IS_DRAWN)
    return headed - began, time.perf_counter() - began


def visit(address: str, repeats: int, chromium: str) -> dict[str, dict[str, list[float]]]:
    """Return medians of both seconds for each way and page."""
    seconds: dict[str, dict[str, list[tuple[float, float]]]] = {
        way: {name or "start": [] for name in PAGES} for way in ("new", "again", "menu")
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            for name in PAGES:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.set_default_timeout(60_000)
                for way in ("new", "again"):
                    seconds[way][name or "start"].append(open_page(page, name, address))
                page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        open_page(page, "", address)
        for _ in range(repeats):
            for name in PAGES[1:]:
                time.sleep(2)  # as somebody reads
                seconds["menu"][name].append(open_page(page, name, None))
        browser.close()
    return {
        way: {
            name: [round(statistics.median(both), 2) for both in zip(*times, strict=True)]
            for name, times in pages.items()
            if times
        }
        for way, pages in seconds.items()
    }


def measure(runs: int, repeats: int, port: int, chromium: str, folder: Path) -> dict[str, Any]:
    """Return the seconds of pages, and the memory of the server."""
    address, first = f"http://127.0.0.1:{port}", folder / "checkpoints" / "run-1"
    with serving(port, folder) as server:
        job_ended(address, ask(f"{address}/api/runs", {"values": {"preset": "quick"}}))
        for number in range(2, runs + 1):
            shutil.copytree(first, first.with_name(f"run-{number}"))
        live = start_endless_run(address, first.with_name(f"run-{runs + 1}"))
        found: dict[str, Any] = visit(address, repeats, chromium)
        found |= {"server_mb": memory_mb(server), "load": os.getloadavg()[0]}
        ask(f"{address}/api/jobs/{live['id']}/stop", {})
        job_ended(address, live)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=8798)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--output", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = measure(given.runs, given.repeats, given.port, given.chromium, Path(place))
    print(json.dumps(found))
    if given.output is not None:
        Path(given.output).write_text(json.dumps(found, indent=2) + "\n")
