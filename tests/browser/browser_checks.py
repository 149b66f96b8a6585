"""What is asked of every page in a browser: all of it drawn, no serious finding of axe-core."""

from typing import Any

import pytest


def scroll_through(page: Any) -> None:
    """Every part of the page is in view once, so every chart is drawn."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height + 600, 600):
        page.evaluate("top => scrollTo(0, top)", top)
        page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))"
        )
    page.evaluate("scrollTo(0, 0)")


def severe_findings(page: Any) -> list[str]:
    """What axe-core calls serious or critical, each with its first places."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    response = axe.Axe().run(page).response
    assert len(response["passes"]) > 10
    found = response["violations"]
    return [
        f"{entry['id']}: {[node['html'][:200] for node in entry['nodes'][:3]]}"
        for entry in found
        if entry["impact"] in ("serious", "critical")
    ]
