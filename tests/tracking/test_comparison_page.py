"""The comparison page as text: self-contained, escaped, in words where runs have gaps."""

import base64
import hashlib
import json
import re

import pytest
from comparison_payload import METRIC, make_payload
from test_report_page import Page

from seqloom.runs import files
from seqloom.tracking.comparison.columns import Column, columns, text
from seqloom.tracking.comparison.page import render_comparison, write_comparison


def parsed(payload) -> Page:
    """The page of `payload`, which must be well-formed."""
    page = Page(render_comparison(payload))
    assert not page.errors
    assert not page.open
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    return page


def without(payload, **changes):
    return {**payload, **changes}


def test_comparison_page_shows_every_run_and_group_without_a_script():
    payload = make_payload(num_runs=12)
    words = parsed(payload).words
    for run in payload["runs"]:
        assert run["command"] in words
    for group in payload["groups"]:
        assert group["label"] in words
    for heading in ("Runs", "Groups", "Curves", "Settings", "Slices", "Cost", "Differences"):
        assert heading in words
    assert "The second group is better by 1.0." in words
    assert "RuntimeError: <out> of memory" in words
    assert "11 finished" in words
    assert "1 failed" in words


def test_comparison_page_names_the_best_by_the_direction_of_the_metric():
    payload = make_payload(num_runs=12)
    scores = [run["metrics"].get(METRIC) for run in payload["runs"]]
    finished = [score for score in scores if score is not None]
    assert f"Best run by test/bleu: {scores.index(max(finished))} with" in parsed(payload).words
    lower = without(payload, mode="min")
    assert f"Best run by test/bleu: {scores.index(min(finished))} with" in parsed(lower).words
    assert f"Best group: {payload['groups'][0]['label']}" in parsed(payload).words


def test_comparison_page_fetches_nothing_and_links_only_beside_itself():
    payload = make_payload()
    payload["runs"][0]["report"] = "javascript:alert(1)"
    payload["runs"][1]["report"] = "//example.org/x"
    payload["runs"][2]["report"] = "../a b/report.html"
    page = parsed(payload)
    links = [value for tag, name, value in page.attributes if name == "href"]
    assert "./javascript%3Aalert%281%29" in links
    assert "./example.org/x" in links
    assert "./../a%20b/report.html" in links
    assert all(link.startswith(("#", "data:", "./")) for link in links)
    for tag, name, _ in page.attributes:
        assert tag not in ("img", "iframe", "object", "embed")
        assert name != "src"
        assert not name.startswith("on")
    assert not re.search(r"@import|url\(", render_comparison(payload))


def test_comparison_page_names_its_script_in_its_policy():
    html = render_comparison(make_payload())
    page = Page(html)
    script = next(code for code in page.scripts if '"use strict"' in code)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(v for _, n, v in page.attributes if n == "content" and "script-src" in v)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_comparison_page_escapes_what_runs_say():
    payload = make_payload()
    evil = "</script><img src=x onerror=alert(1)>"
    payload["title"] = payload["folder"] = evil
    payload["problems"] = payload["notes"] = [evil]
    payload["runs"][0] |= {"name": evil, "error": evil, "command": evil}
    payload["runs"][0]["settings"] = {"cell": evil, "optimizer.lr": evil}
    payload["groups"][0]["label"] = evil
    payload["significance"][0]["words"] = evil
    page = parsed(payload)
    assert not [tag for tag, _, _ in page.attributes if tag == "img"]
    carried = next(json.loads(code) for code in page.scripts if '"runs"' in code[:2000])
    assert carried == payload


@pytest.mark.parametrize("num_runs", [0, 1, 2])
def test_comparison_page_of_few_runs_is_whole(num_runs):
    words = parsed(make_payload(num_runs=num_runs)).words
    assert ("There is no run in this folder" in words) == (num_runs == 0)


def test_comparison_page_of_failed_runs_says_so():
    payload = make_payload(num_runs=2)
    for run in payload["runs"]:
        run |= {"status": "failed", "error": "no", "metrics": {}, "curves": {}}
    for group in payload["groups"]:
        group["metrics"] = {}
    page = parsed(without(payload, main=None, mode=None, metrics=[], search=None))
    words = page.words
    assert "2 failed" in words
    assert "No run has a score yet." in words
    assert "Best run" not in words
    assert ("a", "href", "#run-curves") not in page.attributes
    assert ("a", "href", "#groups") in page.attributes


def test_comparison_page_replaces_an_older_one_in_one_move(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def no_replace(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", no_replace)
    with pytest.raises(Exception, match="disk full"):
        write_comparison(make_payload(), path)
    assert path.read_text() == "old"
    monkeypatch.undo()
    assert write_comparison(make_payload(), path) == path
    assert path.read_text().startswith("<!DOCTYPE html>")


def test_comparison_page_survives_lone_surrogates(tmp_path):
    payload = make_payload()
    payload["runs"][0]["error"] = "\ud800"
    assert write_comparison(payload, tmp_path / "report.html").read_bytes().decode()


def test_comparison_columns_put_the_main_metric_first_and_leave_out_empty_ones():
    payload = make_payload()
    for run in payload["runs"]:
        run["energy_wh"] = None
    found = columns(payload)
    names = [column.name for column in found]
    assert names[:4] == ["cell", "optimizer.lr", "seed", METRIC]
    assert "energy_wh" not in names
    assert [column.name for column in found if not column.is_shown] == ["steps", "epochs"]


def test_comparison_columns_write_values_as_on_a_command_line():
    assert [text(v) for v in (None, True, [1, 2], "a b", 0.1)] == [
        "null",
        "true",
        "[1,2]",
        "a b",
        "0.1",
    ]
    run = make_payload()["runs"][0] | {"seconds": 125.0, "peak_memory_bytes": 2.94e9}
    assert Column("field", "seconds", "time").words(run) == "2 min 5 s"
    assert Column("field", "peak_memory_bytes", "memory").words(run) == "2.94 GB"
    assert Column("settings", "model.dropout", "model.dropout").words(run) == ""
    run["metrics"][METRIC] = None
    assert Column("metrics", METRIC, METRIC).words(run) == "not a number"


def test_comparison_page_shows_no_matrix_of_one_run_each():
    payload = make_payload()
    assert 'class="matrix"' in render_comparison(payload)
    single = [entry | {"num_runs": [1, 1]} for entry in payload["significance"]]
    text = render_comparison(without(payload, significance=single))
    assert 'class="matrix"' not in text
    assert "One run each: nothing can be shown." in text


def test_comparison_page_holds_the_best_of_a_search_against_the_config_itself():
    payload = make_payload()
    search = payload["search"]
    assert "the config itself" not in render_comparison(payload)
    first = next(trial for trial in search["trials"] if trial["values"])
    best = [trial for trial in search["trials"] if trial["values"]][-1]
    changed = search | {"default": first, "best": best}
    text = render_comparison(without(payload, search=changed))
    assert f"the config itself</th><td>{first['number']}</td>" in text
    assert f"the best</th><td>{best['number']}</td>" in text


def test_comparison_page_of_several_tasks_names_no_best():
    payload = make_payload()
    assert "Best run by" in render_comparison(payload)
    text = render_comparison(without(payload, task=None, tasks=["translation", "adding"]))
    assert "Best run by" not in text
    assert "Best group:" not in text
