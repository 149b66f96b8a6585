"""How long the page of many runs takes: to read the runs, to write it, to open it in a Chromium.

    python scripts/benchmark_report.py [key=value ...]

    num_runs=500      fake runs of a search (tests/tracking/comparison_folders.py)
    num_rows=30       rows in the metrics.csv of each
    num_repeats=3     openings; the median is quoted
    output=outputs/benchmark_report.json

`open` is from the call to the moment when the table can be used and the page stands (`data-ready`);
charts are drawn when they come into view, or later when the browser is idle. `all charts` scrolls
through the page until each is drawn. `filter` is one word typed, until the next frame. The browser
starts once, beforehand.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from install_browser import find_browser

from seqloom.tracking.comparison.page import write_comparison
from seqloom.tracking.comparison.payload import compare_runs, payload

DEFAULTS = {
    "num_runs": "500",
    "num_rows": "30",
    "num_repeats": "3",
    "output": "outputs/benchmark_report.json",
}
FILTER = """() => new Promise((done) => {
  const box = document.getElementById("filter"), start = performance.now();
  box.value = "lstm";
  box.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done((performance.now() - start) / 1000)));
})"""
SCROLL = """async () => {
  for (let top = 0; top < document.documentElement.scrollHeight + 600; top += 600) {
    scrollTo({ top, behavior: "instant" });
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  }
}"""


def make_page(folder: Path, num_runs: int, num_rows: int) -> dict[str, Any]:
    """Writes the page into `folder`; seconds of each part, and the size in MB."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "tracking"))
    from comparison_folders import make_search

    make_search(folder, num_runs=num_runs, num_rows=num_rows)
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    start = time.perf_counter()
    value = payload(compare_runs(folders), folder)
    read = time.perf_counter()
    path = write_comparison(value, folder / "report.html")
    written = time.perf_counter()
    size = path.stat().st_size / 1e6
    return {"read_s": read - start, "write_s": written - read, "size_mb": size}


def open_page(path: Path, num_repeats: int) -> dict[str, float]:
    """Median seconds in a headless Chromium."""
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=find_browser(), args=arguments)
        for _ in range(num_repeats):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            opened = time.perf_counter()
            page.evaluate(SCROLL)
            drawn = time.perf_counter()
            filtered = page.evaluate(FILTER)
            rows.append((opened - start, drawn - opened, filtered))
            page.close()
        browser.close()
    names = ("open_s", "all_charts_s", "filter_s")
    return dict(zip(names, map(statistics.median, zip(*rows, strict=True)), strict=True))


def main() -> None:
    options = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := set(options) - set(DEFAULTS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(DEFAULTS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "search"
        found = make_page(folder, int(options["num_runs"]), int(options["num_rows"]))
        found |= open_page(folder / "report.html", int(options["num_repeats"]))
    for name, value in found.items():
        print(f"{name:14}{value:8.2f}")
    output = Path(options["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": platform.platform(), "options": options, **found}
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
