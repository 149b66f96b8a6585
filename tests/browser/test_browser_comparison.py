"""The comparison page in a real Chromium: it works by mouse and keys, in silence, for everybody."""

import re
from pathlib import Path
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

pytestmark = pytest.mark.xdist_group("browser")

TINY = (
    *("task=translation", "data.num_train=64", "data.num_val=16", "data.num_test=16"),
    *("tokenizer.vocab_size=300", "batching.batch_size=16", "decoding.beam_size=2"),
    *("model.embedding_size=8", "model.hidden_size=16", "trainer.accelerator=cpu"),
    *("model.num_encoder_layers=1", "model.num_decoder_layers=1"),
    *("trainer.max_epochs=1", "trainer.max_steps=4", "logger=csv"),
)
NEVER_FITS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of 12 runs, 2 of them failed."""
    from comparison_folders import make_sweep

    from seqloom.tracking.comparison.page import write_comparison
    from seqloom.tracking.comparison.payload import compare_runs, payload

    folder = make_sweep(tmp_path_factory.mktemp("browser") / "sweep")
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    return write_comparison(payload(compare_runs(folders), folder), folder / "report.html")


@pytest.fixture(scope="module")
def search_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 120 runs and a search over them."""
    from comparison_payload import make_payload

    from seqloom.tracking.comparison.page import write_comparison

    folder = tmp_path_factory.mktemp("browser")
    return write_comparison(make_payload(num_runs=120), folder / "report.html")


def visible_names(page: Any) -> list[str]:
    return page.locator("#runs-table tbody tr:not([hidden]) > th").all_inner_texts()


def column(page: Any, title: str) -> list[str]:
    heads = page.locator("#runs-table thead th").all_inner_texts()
    place = [head.strip() for head in heads].index(title)
    return page.locator(
        f"#runs-table tbody tr:not([hidden]) > :nth-child({place + 1})"
    ).all_inner_texts()


def line_of(page: Any, chart: str) -> str:
    page.locator(f"#{chart}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#{chart} svg g path", state="attached")
    return page.locator(f"#{chart} svg g path").last.get_attribute("d")


def test_browser_sorts_runs_by_a_metric_and_back(open_page, sweep_page):
    page = open_page(sweep_page)
    head = page.locator("#runs-table th", has_text="test/bleu")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(page, "test/bleu") if text]
    assert values == sorted(values, reverse=True)
    assert len(values) == 10
    assert column(page, "test/bleu")[-2:] == ["", ""]  # failed runs come last
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in column(page, "test/bleu") if text]
    assert values == sorted(values)
    assert column(page, "test/bleu")[-2:] == ["", ""]
    assert page.locator("#runs-table [aria-sort='ascending']").count() == 1


@pytest.mark.parametrize(
    ("words", "num"),
    [
        ("", 12),
        ("gru", 8),  # gru and min_gru
        ("cell=gru", 4),
        ("cell!=gru", 8),
        ("cell=gru seed=1", 2),
        ("CELL=GRU unrolling=static", 2),
        ("bleu>0", 10),
        ("test/bleu<0", 0),
        ("bleu>=55 cell=min_gru", 0),
        ("state=failed", 2),
        ("memory", 1),  # in an error
        ('"cell=gru"', 4),
    ],
)
def test_browser_filters_runs_in_words(open_page, sweep_page, words, num):
    page = open_page(sweep_page)
    page.fill("#filter", words)
    assert len(visible_names(page)) == num
    assert page.locator("#count").inner_text() == f"{num} of 12 runs"
    assert not page.locator("#filter-words").is_visible()


def test_browser_filter_names_an_unknown_column(open_page, sweep_page):
    page = open_page(sweep_page)
    page.fill("#filter", "blue>3")
    assert "There is no column blue" in page.locator("#filter-words").inner_text()
    page.click("#reset")
    assert not page.locator("#filter-words").is_visible()
    assert page.locator("#count").inner_text() == "12 of 12 runs"


def test_browser_filters_by_state_and_hides_columns(open_page, sweep_page):
    page = open_page(sweep_page)
    page.select_option("#state", "failed")
    assert column(page, "cell") == ["min_gru", "min_gru"]
    page.click(".menu summary")
    page.get_by_label("cell", exact=True).uncheck()
    assert not page.locator("#runs-table th", has_text=re.compile(r"^cell$")).is_visible()
    assert page.locator("#runs-table tbody td:nth-child(3):visible").count() == 0


def test_browser_charts_follow_ticks_and_filter(open_page, sweep_page):
    page = open_page(sweep_page)
    line_of(page, "curve-chart")
    words = page.locator("#curve-chart [data-words]")
    assert words.inner_text().startswith("5 groups")  # the sixth has failed runs only
    legend = page.locator("#curve-legend button")
    assert legend.count() == 5
    legend.first.click()
    expect(words).to_contain_text(re.compile(r"^4 groups"))
    legend.first.click()
    page.click("[data-lines='runs']")
    expect(legend).to_have_count(6)
    expect(words).to_contain_text(re.compile(r"^12 runs"))
    page.locator("#runs-table tbody input").first.uncheck()
    assert "11 ticked" in page.locator("#count").inner_text()
    page.locator("#curve-chart").scroll_into_view_if_needed()
    expect(words).to_contain_text(re.compile(r"^11 runs"))
    page.fill("#filter", "cell=nothing")
    page.locator("#curve-chart").scroll_into_view_if_needed()
    expect(words).to_contain_text(re.compile(r"^0 runs"))


def test_browser_zooms_by_keys_buttons_and_drag(open_page, sweep_page):
    page = open_page(sweep_page)
    whole = line_of(page, "curve-chart")
    reader = page.locator("#curve-chart .reader")
    reader.focus()
    assert "step" in reader.get_attribute("aria-valuetext")
    assert page.locator("#curve-chart .readout").inner_text() == reader.get_attribute(
        "aria-valuetext"
    )
    page.keyboard.press("Home")
    assert reader.get_attribute("aria-valuenow") == "0"
    page.keyboard.press("+")
    assert line_of(page, "curve-chart") != whole
    page.keyboard.press("0")
    assert line_of(page, "curve-chart") == whole
    page.locator("#curve-chart [data-zoom='in']").click()
    assert line_of(page, "curve-chart") != whole
    page.locator("#curve-chart [data-zoom='all']").click()
    assert line_of(page, "curve-chart") == whole
    box = reader.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    page.mouse.up()
    assert line_of(page, "curve-chart") != whole
    ticks = [float(t) for t in page.locator("#curve-chart .ticks-x span").all_inner_texts()]
    assert 80 < min(ticks) < max(ticks) < 210  # of 30 to 300 steps


def test_browser_copies_a_command(open_page, sweep_page):
    page = open_page(sweep_page)
    button = page.get_by_label("Copy the command of 4", exact=True)
    button.click()
    expect(page.locator("#said")).to_have_text("Copied")
    page.locator("#filter").focus()
    page.keyboard.press("Control+V")
    assert page.input_value("#filter").startswith("python train.py task=translation cell=gru")


def test_browser_ranges_by_keyboard_filter_the_table(open_page, sweep_page):
    page = open_page(sweep_page)
    page.locator("#parallel summary", has_text="Ranges").click()
    end = page.get_by_label("test/bleu from")
    end.focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    expect(end).to_have_value("500")
    expect(page.locator("#count")).to_contain_text("ranges set: test/bleu")
    assert 0 < len(visible_names(page)) < 10
    page.click("#free-ranges")
    assert len(visible_names(page)) == 12
    expect(end).to_have_value("0")


def test_browser_brushes_an_axis(open_page, sweep_page):
    page = open_page(sweep_page)
    strip = page.locator(".strip-axis").first  # gru, lstm, min_gru from below
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    page.mouse.move(box["x"] + 14, box["y"] + box["height"] * 0.98)
    page.mouse.down()
    page.mouse.move(box["x"] + 14, box["y"] + box["height"] * 0.7, steps=4)
    page.mouse.up()
    assert set(column(page, "cell")) == {"gru"}
    page.mouse.click(box["x"] + 14, box["y"] + box["height"] * 0.5)
    assert len(visible_names(page)) == 12


def test_browser_marks_the_front_of_cost_and_quality(open_page, sweep_page):
    page = open_page(sweep_page)
    line_of(page, "cost-chart")
    page.locator("#cost-chart summary").click()
    rows = page.locator("#cost-chart tbody tr")
    expect(rows).to_have_count(10)
    cells = [row.split("\t") for row in rows.all_inner_texts()]
    best = -1.0
    for _, _, quality, is_front in cells:  # cheap first
        assert (is_front == "yes") == (float(quality) > best)
        best = max(best, float(quality))


def test_browser_tells_a_difference_in_words(open_page, sweep_page):
    page = open_page(sweep_page)
    cell = page.locator(".matrix .cell").first
    cell.focus()
    assert page.locator("[data-matrix-words]").first.inner_text() == cell.get_attribute(
        "data-words"
    )
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.className") == "cell"
    assert page.evaluate("document.activeElement.closest('td').cellIndex") == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_browser_page_of_a_sweep_fits_and_is_accessible(
    open_page, sweep_page, tmp_path, width, scheme
):
    from browser_checks import scroll_through, severe_findings

    page = open_page(sweep_page, width=width, scheme=scheme)
    scroll_through(page)
    picture = tmp_path / f"comparison-{width}-{scheme}.png"
    page.screenshot(path=str(picture), full_page=True)
    assert picture.stat().st_size > 20_000
    assert not page.evaluate(NEVER_FITS)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert not severe_findings(page)
    assert not page.evaluate(NEVER_FITS)


def test_browser_shows_a_search(open_page, search_page):
    page = open_page(search_page)
    assert len(visible_names(page)) == 100
    page.click("#more")
    assert len(visible_names(page)) == 120
    line_of(page, "trial-chart")
    reader = page.locator("#trial-chart .reader")
    reader.focus()
    page.keyboard.press("Home")
    assert page.locator("#trial-chart .readout").inner_text().startswith("trial 0, ")
    page.locator("#trial-chart summary").click()
    expect(page.locator("#trial-chart tbody tr")).to_have_count(120)


def test_browser_shows_runs_without_a_script(browser, sweep_page):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(sweep_page.as_uri())
    assert page.locator("#runs-table tbody tr:visible").count() == 12
    assert page.locator(".groups tbody tr:visible").count() >= 6
    assert not page.locator("#filter").is_visible()
    context.close()


UNDRAWN = """() => [...document.querySelectorAll(".chart svg")]
    .filter((svg) => !svg.querySelector("g path, .thread"))
    .map((svg) => svg.closest(".chart").id)"""


def test_browser_draws_all_charts_without_scrolling(open_page, search_page):
    page = open_page(search_page)
    page.wait_for_function(f"() => !({UNDRAWN})().length")
    assert page.evaluate("scrollY") == 0


def test_browser_prints_the_charts_and_no_buttons(open_page, search_page):
    page = open_page(search_page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(UNDRAWN) == []
    page.emulate_media(media="print")
    for chart in ("curve-chart", "cost-chart", "trial-chart"):
        assert page.locator(f"#{chart} svg").bounding_box()["height"] > 50, chart
    assert not page.locator("#filters").is_visible()
    assert not page.locator("#curve-metric").is_visible()


@pytest.mark.slow
def test_browser_shows_a_real_sweep_with_the_numbers_of_its_files(open_page, tmp_path):
    """Trained here, 2 cells and 2 seeds; the numbers are read and computed by other means."""
    import json

    import numpy as np
    from scipy import stats

    from seqloom.__main__ import main
    from seqloom.commands.train import train
    from seqloom.config import plain
    from seqloom.config.overrides import compose_config

    for number, (cell, seed) in enumerate([("gru", 1), ("gru", 2), ("lstm", 1), ("lstm", 2)]):
        words = [f"cell={cell}", f"seed={seed}", f"run_dir={tmp_path / 'sweep' / str(number)}"]
        cache = f"data.cache_dir={tmp_path / 'cache'}"
        train(plain(compose_config([*TINY, cache, *words])))
    assert main(["report", f"runs={tmp_path / 'sweep'}"]) == 0
    page = open_page(tmp_path / "sweep/report.html")
    found = page.evaluate("JSON.parse(document.getElementById('comparison').text)")
    summaries = [
        json.loads((tmp_path / f"sweep/{k}/summary.json").read_text(encoding="utf-8"))
        for k in range(4)
    ]
    scores = [summary["best"]["metrics"] | summary["metrics"] for summary in summaries]
    num_held = 0
    assert len(found["groups"]) == 2
    for group, entry in enumerate(found["groups"]):
        members = [k for k in range(4) if found["runs"][k]["group"] == group]
        assert members in ([0, 1], [2, 3])
        for name, numbers in entry["metrics"].items():
            values = [scores[k][name] for k in members]
            assert numbers["mean"] == pytest.approx(np.mean(values), rel=1e-5)
            if np.ptp(values):  # scipy has no interval of equal values
                low, high = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values))
                expected = [np.std(values, ddof=1), low, high]
                shown = [numbers[key] for key in ("deviation", "low", "high")]
                np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-9)
                num_held += 1
    assert num_held >= 2
    for run, summary in zip(found["runs"], summaries, strict=True):
        assert run["seconds"] == pytest.approx(summary["seconds"], rel=1e-5)
        assert run["parameters"] == summary["parameters"]
    assert len(visible_names(page)) == 4
    assert page.locator("#runs-table a").count() == 4
    page.wait_for_function(f"() => !({UNDRAWN})().length")
