"""`seqloom report`: one run, many runs, every format, and what it says to mistakes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from seqloom.__main__ import main

FORMATS = ("markdown", "csv", "json", "latex")


def run_folder(folder: Path, *, seed: int, bleu: float, cell: str = "GRU") -> Path:
    folder.mkdir(parents=True)
    config = {"seed": seed, "task": {"name": "translation", "monitor": "val/loss", "mode": "min"}}
    config |= {"cell": {"_target_": f"seqloom.cells.{cell}"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    summary = {"task": "translation", "status": "finished", "metrics": {"test/bleu": bleu}}
    (folder / "summary.json").write_text(json.dumps(summary | {"seed": seed}), encoding="utf-8")
    (folder / "metrics.csv").write_text("step,val/loss\n1,2\n2,1\n", encoding="utf-8")
    return folder


@pytest.fixture
def three(tmp_path: Path) -> Path:
    run_folder(tmp_path / "runs/0", seed=1, bleu=10)
    run_folder(tmp_path / "runs/1", seed=2, bleu=12)
    run_folder(tmp_path / "runs/2", seed=1, bleu=20, cell="LSTM")
    return tmp_path / "runs"


def test_the_page_of_one_run_is_written_anew(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = three / "0/report.html"
    page.write_text("old", encoding="utf-8")
    assert main(["report", f"runs={three / '0'}"]) == 0
    assert capsys.readouterr().out.split() == [str(page)]
    assert "old" not in page.read_text(encoding="utf-8")[:3]
    assert not (three / "report.html").exists()


def test_many_runs_are_one_page_beside_their_own(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (three / "0/report.html").write_text("old", encoding="utf-8")
    assert main(["report", f"runs={three}"]) == 0
    assert capsys.readouterr().out.split() == [str(three / "report.html")]
    assert (three / "0/report.html").read_text(encoding="utf-8") == "old", "left as it was"
    assert (three / "1/report.html").is_file(), "written where it was missing"
    page = (three / "report.html").read_text(encoding="utf-8")
    assert "1/report.html" in page
    assert main(["report", f"runs={three}", "pages=true"]) == 0
    assert (three / "0/report.html").read_text(encoding="utf-8") != "old"


def test_the_page_goes_where_it_is_asked_for_and_links_from_there(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = three.parent / "page.html"
    assert main(["report", f"runs={three}/0,{three}/2", f"output={place}"]) == 0
    assert capsys.readouterr().out.split() == [str(place)]
    text = place.read_text(encoding="utf-8")
    assert "runs/2/report.html" in text
    assert "runs/1/" not in text
    assert not (three / "report.html").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_other_formats_go_to_the_output_or_a_file(
    form: str, three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", f"runs={three}/*", f"format={form}"]) == 0
    text = capsys.readouterr().out
    assert "LSTM" in text or "lstm" in text
    place = three.parent / "table"
    assert main(["report", f"runs={three}", f"format={form}", f"output={place}"]) == 0
    assert capsys.readouterr().out.split() == [str(place)]
    assert len(place.read_text(encoding="utf-8")) == len(text)
    assert not [*three.rglob("*.html")], "no page is written for a table"


def test_text_that_is_no_unicode_stops_no_table(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.dumps({"task": "translation", "status": "failed", "error": "\ud800"})
    (three / "0/summary.json").write_text(summary, encoding="utf-8")
    assert main(["report", f"runs={three}", "format=csv"]) == 0
    assert ",?," in capsys.readouterr().out
    assert main(["report", f"runs={three}"]) == 0


def test_a_run_page_that_cannot_be_written_is_told_on_the_page(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("seqloom.commands.report.write_report", refuse)
    assert main(["report", f"runs={three}"]) == 0
    page = (three / "report.html").read_text(encoding="utf-8")
    assert "0/report.html cannot be written: Permission denied" in page


def test_groups_and_metric_are_chosen(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["format=csv", "group_by=seed", "metric=bleu"]
    assert main(["report", f"runs={three}", *words]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["group"] for row in rows] == ["seed=1", "seed=2", "seed=1"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["metric=test/blue"], "metric=test/blue: no run has it; did you mean metric=test/bleu?"),
        (["group_by=sell"], "group_by=sell: no run has this setting; did you mean cell?"),
        (["format=xml"], "format=xml: does not fit; write html, markdown, csv, json or latex"),
        (["watts=-1"], "watts=-1: does not fit; write a number from 0 on"),
        (["output=-"], "output=-: a page is a file; write output=FILE, or another format"),
        (["outptu=x"], "outptu=x: seqloom report has no such key; did you mean output=x?"),
    ],
)
def test_a_wrong_word_is_one_line(
    words: list[str], line: str, three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", f"runs={three}", *words]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not (three / "report.html").exists()


def test_places_that_are_not_there_are_one_line(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", f"runs={three}x"]) == 2
    assert capsys.readouterr().err.endswith(f"did you mean {three}?\n")
    place = three / "no/table"
    assert main(["report", f"runs={three}", "format=csv", f"output={place}"]) == 1
    assert capsys.readouterr().err.startswith(f"error: output={place}: there is no such folder")
    assert main(["report", f"runs={three}", "format=csv", f"output={three}"]) == 1
    assert "it is a folder" in capsys.readouterr().err
    assert main(["report", f"runs={three}", "format=csv", "output=/proc/table"]) == 1
    assert capsys.readouterr().err.startswith("error: output=/proc/table: it cannot be written")
    own = three / "0/report.html"
    assert main(["report", f"runs={three}", f"output={own}"]) == 2
    assert "it is the page of a run" in capsys.readouterr().err


def test_a_comparison_needs_no_torch(three: Path) -> None:
    code = (
        "import sys; from seqloom.__main__ import main; "
        f"assert main(['report', 'runs={three}']) == 0; "
        "print(sorted({'torch', 'lightning', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
