"""The page of one run in a real Chromium: zoom, reading by keys, copying; silent, for everybody."""

from pathlib import Path

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from report_run_folder import make_run

    from seqloom.tracking.report import write_report

    return write_report(make_run(tmp_path_factory.mktemp("browser") / "run"))


def test_browser_zooms_the_curves_of_a_run(open_page, run_page):
    page = open_page(run_page)
    chart = page.locator(".chart").first
    line = chart.locator("svg .line").first
    whole = line.get_attribute("d")
    chart.locator(".reader").focus()
    assert "step" in chart.locator(".readout").inner_text()
    page.keyboard.press("+")
    assert line.get_attribute("d") != whole
    page.keyboard.press("0")
    assert line.get_attribute("d") == whole
    chart.locator("[data-zoom='in']").click()
    assert line.get_attribute("d") != whole


def test_browser_copies_from_the_page_of_a_run(open_page, run_page):
    page = open_page(run_page)
    button = page.locator("[data-copy]").first
    button.click()
    expect(page.locator("#said")).to_have_text("Copied")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_browser_page_of_a_run_fits_and_is_accessible(open_page, run_page, tmp_path, width, scheme):
    from browser_checks import scroll_through, severe_findings

    page = open_page(run_page, width=width, scheme=scheme)
    scroll_through(page)
    page.screenshot(path=str(tmp_path / f"report-{width}-{scheme}.png"), full_page=True)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert not page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    assert not severe_findings(page)
