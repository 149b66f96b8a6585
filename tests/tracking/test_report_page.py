"""The page as a whole: self-contained, balanced, escaped, and in words where a run has gaps."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_run_folder import (
    make_attention,
    make_predictions,
    make_run,
    make_summary,
    write_predictions,
    write_summary,
)

from seqloom.errors import DataError
from seqloom.runs import files
from seqloom.tracking.report import Section, page, sentences, write_report
from seqloom.tracking.report.templating import render

VOID = {"meta", "link", "br", "hr", "img", "input", "rect", "path"}
FILES = ["config.yaml", "summary.json", "metrics.csv", "predictions.jsonl", "attention.json"]


class Page(HTMLParser):
    """Parses a report: the open tags at the end, every attribute, text by element."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.errors: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.errors.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read(folder: Path) -> Page:
    html = write_report(folder).read_text(encoding="utf-8")
    parsed = Page(html)
    assert not parsed.errors
    assert not parsed.open
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    return parsed


def test_page_of_a_finished_run_shows_every_part(tmp_path):
    words = read(make_run(tmp_path / "run")).words
    for part in (
        "Translation, en \u2192 de",
        "71.23",
        "82.35",
        "0.412",
        "nrefs:1|case:mixed|eff:no",
    ):
        assert part in words
    for part in (
        "5,234,123",
        "1 min 52 s",
        "1.2 %",
        "6.1 %",
        "lightning 2.6.6",
        "vocab_size: 4000",
    ):
        assert part in words
    for heading in ("Curves", "Sentence by sentence", "Examples", "Go on from here", "Config"):
        assert heading in words


def test_page_fetches_nothing(tmp_path):
    folder = make_run(tmp_path / "run")
    html = write_report(folder).read_text(encoding="utf-8")
    assert not re.search(r"https?:", html)
    assert not re.search(r"@import|url\(", html)
    for tag, name, value in read(folder).attributes:
        assert tag not in ("img", "iframe", "object", "embed")
        assert name != "src"
        if name == "href":
            assert value.startswith(("#", "data:"))
        assert not name.startswith("on")


def test_policy_names_the_script_of_the_page(tmp_path):
    parsed = read(make_run(tmp_path / "run"))
    policy = next(v for t, n, v in parsed.attributes if n == "content" and "script-src" in v)
    script = next(text for text in parsed.scripts if '"use strict"' in text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_text_of_a_run_is_escaped_everywhere(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"
    row = {"input": evil, "target": evil + " a", "prediction": evil + " b", "score": -1.0}
    folder = make_run(tmp_path / "run", num_predictions=1)
    write_predictions(folder, [row])
    picture = make_attention(0, row) | {"input_pieces": [evil], "output_pieces": [evil]}
    (folder / "attention.json").write_text(json.dumps([picture | {"weights": [[1.0]]}]))
    summary = make_summary() | {
        "task": evil,
        "status": evil,
        "error": evil,
        "versions": {evil: evil},
    }
    summary["metrics"] = {f"test/{evil}": 1.0, "test/bleu": evil}
    summary["signatures"] = {"test/bleu": evil}
    write_summary(folder, summary)
    (folder / "config.yaml").write_text(f"note: |\n  {evil}\ndata: {{source_language: '<b>'}}\n")
    (folder / "metrics.csv").write_text(
        f'step,"{evil.replace(chr(34), chr(34) * 2)}/bleu"\n1,2.5\n'
    )
    html = write_report(folder).read_text(encoding="utf-8")
    parsed = read(folder)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)
    assert html.count("<script") == html.count("</script>")
    assert "alert(1)" in parsed.words


@pytest.mark.parametrize("missing", FILES)
def test_page_stands_without_any_one_file(tmp_path, missing):
    folder = make_run(tmp_path / "run", num_predictions=30)
    (folder / missing).unlink()
    words = read(folder).words
    sentence = {
        "config.yaml": "No config: there is no config.yaml",
        "summary.json": "there is no readable summary.json",
        "metrics.csv": "No curves: nothing was logged",
        "predictions.jsonl": "No examples: there is no predictions.jsonl",
        "attention.json": "The run kept no attention",
    }[missing]
    assert sentence in words


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("failed", "the run failed before it was written"),
        ("interrupted", "the run was interrupted before it was written"),
        ("running", "the run has not come that far yet"),
    ],
)
def test_unfinished_run_says_why_parts_are_missing(tmp_path, status, why):
    write_summary(
        tmp_path, {"task": "translation", "status": status, "error": "loss is nan", "metrics": {}}
    )
    words = read(tmp_path).words
    assert f"No test scores: {why}." in words
    assert f"No examples: there is no predictions.jsonl, {why}." in words
    assert "loss is nan" in words


def test_empty_folder_gets_a_page(tmp_path):
    assert "status unknown" in read(tmp_path).words


@pytest.mark.parametrize("damaged", FILES)
def test_damaged_file_is_a_sentence_and_no_error(tmp_path, damaged):
    folder = make_run(tmp_path / "run", num_predictions=5)
    (folder / damaged).write_bytes(b'{"a: [\xff\x00 \n- b')
    words = read(folder).words
    if damaged != "metrics.csv":
        assert damaged in words
        assert "Not everything in the run folder could be read" in words


@pytest.mark.parametrize("damaged", ["summary.json", "attention.json", "config.yaml"])
@pytest.mark.parametrize("content", ["null", "[1, 2]", "3", '"text"', "{}"])
def test_file_of_another_shape_is_no_error(tmp_path, damaged, content):
    folder = make_run(tmp_path / "run", num_predictions=5)
    (folder / damaged).write_text(content)
    read(folder)


def test_one_prediction_and_none(tmp_path):
    one = read(make_run(tmp_path / "one", num_predictions=1))
    assert "All 1 sentence of the test split" in one.words
    none = read(make_run(tmp_path / "none", num_predictions=0))
    assert "predictions.jsonl holds none" in none.words


def test_empty_and_very_long_texts(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=3)
    word = "x" * 5000
    rows = [
        {"input": "", "target": "", "prediction": "", "score": None},
        {"input": word, "target": word, "prediction": word + "y", "score": float("nan")},
        {"input": "a " * 4000, "target": "b " * 4000, "prediction": "b " * 3999, "score": -3},
    ]
    write_predictions(folder, rows)
    assert "(4,000 more characters)" in read(folder).words


def test_non_finite_metrics(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=3)
    summary = make_summary()
    summary["metrics"] |= {"test/loss": float("nan"), "test/perplexity": None}
    write_summary(folder, summary)
    (folder / "metrics.csv").write_text(
        "step,epoch,seconds,train/loss,val/loss\n10,0,1,2.5,\n20,0,2,nan,\n30,0,3,1.5,inf\n40,0,"
    )
    words = read(folder).words
    assert "not a number" in words
    assert words.count("not a number") == 2
    assert "train/loss: 1 of 3 values are not finite, the first at step 20" in words


def test_right_to_left_text_and_languages(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=1)
    row = {"input": "\u0634\u0644\u0627\u0645", "target": "hallo", "prediction": "hallo"}
    write_predictions(folder, [row | {"score": -1}])
    attributes = read(folder).attributes
    assert ("dd", "dir", "auto") in attributes
    assert ("dd", "lang", "en") in attributes
    assert ("dd", "lang", "de") in attributes


def test_many_predictions_are_capped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sentences, "MAX_SCORED", 500)
    folder = make_run(tmp_path / "run", num_predictions=10, num_attention=3)
    rows = make_predictions(50) * 24
    write_predictions(folder, rows)
    parsed = read(folder)
    assert "20 of 1,200 examples" in parsed.words
    assert "500 evenly spread sentences of 1,200" in parsed.words
    assert (folder / "report.html").stat().st_size < 600_000


def test_another_task_gets_no_sentences(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=3)
    (folder / "metrics.csv").unlink()
    summary = make_summary() | {"task": "digits", "metrics": {"test/accuracy": 0.97123}}
    write_summary(folder, summary)
    words = read(folder).words
    assert "0.971" in words
    assert "Sentence by sentence" not in words


def test_a_new_section_is_one_function(tmp_path, monkeypatch):
    def status(run):
        html = render("config.html", {"text": "", "why_missing": run.status})
        return Section("New part", html, "new-part")

    monkeypatch.setattr(page, "SECTIONS", [*page.SECTIONS, status, lambda run: None])
    parsed = read(make_run(tmp_path / "run", num_predictions=2))
    assert "New part" in parsed.words
    assert ("a", "href", "#new-part") in parsed.attributes


def test_commands_name_the_folder_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("outputs/translation/my run")
    make_run(folder, num_predictions=2)
    words = read(folder).words
    assert "seqloom evaluate 'run=outputs/translation/my run'" in words
    assert "python train.py 'resume=outputs/translation/my run'" in words
    assert "python train.py task=translation seed=1" in words
    write_summary(folder, make_summary() | {"overrides": ["task=translation", "cell=gru"]})
    assert "python train.py task=translation cell=gru" in read(folder).words


def test_report_is_replaced_and_leaves_no_draft(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", num_predictions=2)
    before = {path.name for path in folder.iterdir()}
    assert write_report(folder) == folder / "report.html"
    assert {path.name for path in folder.iterdir()} == before | {"report.html"}
    old = (folder / "report.html").read_bytes()
    assert write_report(folder).read_bytes() == old

    def fail(source, target):
        raise OSError("disk")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == old


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no such run folder"):
        write_report(tmp_path / "nowhere")


def test_report_needs_no_torch():
    code = "import sys, seqloom.tracking.report.page; sys.exit('torch' in sys.modules)"
    source = Path(page.__file__).parents[3]
    call = [sys.executable, "-c", code]
    assert subprocess.run(call, env={"PYTHONPATH": str(source)}, check=False).returncode == 0
