"""The page of `seqloom watch` in a real browser, while what it shows grows."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_checks import severe_findings

from seqloom.commands.watch import _follow
from seqloom.commands.watch_page import PageServer
from seqloom.runs import MetricsFile, RunFolder, Summary
from seqloom.runs.lock import RunLock
from seqloom.sweeps.record import JobRecord, SweepRecord
from seqloom.sweeps.watched import View, Watched
from seqloom.tracking.watch import page_state, render_page

EVERY_S = 0.1
SETTINGS = ["cell=lstm,a_rather_long_name_of_a_cell", "optimizer.lr=0.0012345", "seed=1"]
Opener = Callable[..., Any]


class GrowingSweep:
    """Three jobs: one finished, one that runs, one that waits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.jobs = [
            JobRecord(0, "0", [*SETTINGS, "x=0"], "finished", [0.5], seconds=41),
            JobRecord(1, "1", [*SETTINGS, "x=<b>1</b>"], "running"),
            JobRecord(2, "2", [*SETTINGS, "x=2"]),
        ]
        for number in (0, 1):
            (root / str(number)).mkdir()
            RunFolder(root / str(number)).write_config(
                {"task": {"monitor": "val/loss", "mode": "min"}, "trainer": {"max_steps": 20}}
            )
            file = MetricsFile(root / str(number) / "metrics.csv")
            for step in range(10):
                file.append(step, {"train/loss": 3 / (step + 1), "val/loss": 4 / (step + 1)})
            file.close()
        Summary("copy", status="finished").write(root / "0" / "summary.json")
        (root / "0" / "report.html").write_text("<!doctype html><title>of job 0</title>")
        self.locks = [RunLock(root / "1"), RunLock(root)]
        self.file = MetricsFile(root / "1" / "metrics.csv")
        self.write()

    def close(self) -> None:
        self.file.close()
        for lock in self.locks:
            lock.release()

    def write(self) -> None:
        SweepRecord("copy/NIGHT", "train", {"val/loss": "min"}, 3, self.jobs).write(self.root)

    def end(self, number: int, values: list[float], error: str | None = None) -> None:
        state = "finished" if error is None else "failed"
        job = dataclasses.replace(self.jobs[number], state=state, values=values, error=error)
        self.jobs[number] = job
        self.write()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GrowingSweep]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    found = GrowingSweep(tmp_path / "sweep")
    yield found
    found.close()


@pytest.fixture
def server(sweep: GrowingSweep) -> Iterator[PageServer]:
    with PageServer(render_page("copy/NIGHT", EVERY_S), sweep.root, 0) as found:
        found.publish(page_state(View(None, [], is_over=False), {}, sweep.root), [])
        arguments = (Watched(sweep.root), found, None, EVERY_S, True)
        # It ends with the last job; a daemon, for a test that fails before.
        threading.Thread(target=_follow, args=arguments, daemon=True).start()
        yield found


@pytest.fixture
def open_watch(browser: Any, server: PageServer) -> Iterator[Opener]:
    contexts, complaints = [], []

    def open_(width: int = 1440, scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: note(request.url))
        page.goto(server.address)
        page.wait_for_selector(".jobs tbody tr:nth-child(3)")
        return page

    def note(url: str) -> None:
        if not url.startswith((server.address, "data:")):
            complaints.append(url)

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_text_contents()]


def test_watch_page_shows_what_grows(open_watch: Opener, sweep: GrowingSweep) -> None:
    page = open_watch()
    assert texts(page, ".jobs .status") == ["finished", "running", "waiting"]
    assert texts(page, ".chart h3") == ["val/loss", "train/loss"]
    assert "x=<b>1</b>" in texts(page, ".jobs .settings")[1]
    assert page.locator(".jobs b").count() == 0
    page.wait_for_selector("text=50 %")
    line = page.locator(".chart .line").nth(1)
    before = line.get_attribute("d")
    sweep.file.append(14, {"train/loss": 0.2, "val/loss": 0.125})
    page.wait_for_selector("text=75 %")
    assert texts(page, ".jobs tbody tr:nth-child(2) .best") == ["0.125"]
    assert line.get_attribute("d") != before
    assert page.locator("#said").text_content() == "", "a number is no news"


def test_watch_page_tells_news_once_and_the_end(open_watch: Opener, sweep: GrowingSweep) -> None:
    page = open_watch()
    assert page.locator("#said").get_attribute("role") == "status"
    sweep.end(1, [0.25])
    page.wait_for_selector(".jobs .is-finished.is-best:nth-child(2)")
    assert page.title() == "2/3 \u00b7 copy/NIGHT"
    assert page.locator("#said").text_content() == "job 1 finished, val/loss 0.25"
    assert texts(page, ".jobs .is-best .best") == ["0.25"]
    sweep.end(2, [], "DataError: no room")
    page.wait_for_selector("#whole:text-is('over')")
    assert page.locator("#said").text_content() == "job 2 failed"
    assert texts(page, ".jobs .note")[2] == "DataError: no room"


def test_watch_page_says_when_nobody_answers(
    browser: Any, sweep: GrowingSweep, server: PageServer
) -> None:
    page = browser.new_context().new_page()
    page.goto(server.address)
    page.wait_for_selector(".jobs tbody tr:nth-child(3)")
    assert page.locator("#lost").is_hidden()
    server.close()
    page.wait_for_selector("#lost:not([hidden])")
    assert "does not answer" in page.locator("#lost").text_content()
    assert page.locator(".jobs tbody tr").count() == 3, "what was shown stays"
    page.context.close()


def test_watch_page_leads_to_reports(open_watch: Opener) -> None:
    page = open_watch()
    assert page.locator(".jobs a").count() == 1
    page.locator(".jobs a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/0/report.html")
    assert page.title() == "of job 0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_watch_page_fits_and_can_be_read(
    open_watch: Opener, tmp_path: Path, width: int, scheme: str
) -> None:
    page = open_watch(width, scheme)
    page.wait_for_selector(".chart .line")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.screenshot(path=tmp_path / "watch.png", full_page=True)
    assert not severe_findings(page)
