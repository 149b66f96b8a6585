"""The comparison as one JSON value, and as text in every format."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from comparison_folders import make_member, make_search, make_sweep

from seqloom.sweeps.statistics import GroupScores, compare_all, metric_sums
from seqloom.tracking.comparison.payload import compare_runs, payload
from seqloom.tracking.comparison.runs import run_folders
from seqloom.tracking.comparison.tables import FORMATS

UNESCAPED = re.compile(r"(?<!\\)[&%$#_{}~^]")


def payload_of(folder: Path, **options: Any) -> dict[str, Any]:
    return payload(compare_runs(run_folders(str(folder)), **options))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return payload_of(make_sweep(tmp_path_factory.mktemp("sweep")))


def test_the_payload_of_a_sweep(sweep: dict[str, Any]) -> None:
    assert sweep["title"] == "12 runs of translation"
    assert (sweep["main"], sweep["mode"]) == ("test/bleu", "max")
    assert sweep["keys"] == ["cell", "unrolling"]
    assert [run["name"] for run in sweep["runs"]] == [str(k) for k in range(12)]
    assert [run["status"] for run in sweep["runs"]] == ["finished"] * 10 + ["failed"] * 2
    assert sweep["runs"][11]["error"] == "val/loss is NaN"
    for run in sweep["runs"]:
        group = sweep["groups"][run["group"]]
        assert group["settings"] == run["settings"]
    means = [g["metrics"]["test/bleu"]["mean"] for g in sweep["groups"] if g["metrics"]]
    assert means == sorted(means, reverse=True)
    assert sweep["groups"][-1]["num_failed"] == 2
    assert sweep["search"] is None
    assert json.loads(json.dumps(sweep, allow_nan=False)) == sweep


def test_numbers_are_short(sweep: dict[str, Any]) -> None:
    numbers = re.findall(r"-?\d+\.\d+(?:e-?\d+)?", json.dumps(sweep["runs"]))
    digits = [len(n.partition("e")[0].strip("-").replace(".", "").lstrip("0")) for n in numbers]
    assert max(digits) <= 6


def test_energy_is_seconds_times_power(sweep: dict[str, Any], tmp_path: Path) -> None:
    """The fakes had 8 cores and 2 threads: 20 W."""
    run = sweep["runs"][0]
    assert run["energy_wh"] == pytest.approx(run["seconds"] * 20 / 3600, rel=1e-5)
    assert any("10 W" in note and "no measurement" in note for note in sweep["notes"])
    folder = make_member(tmp_path / "0", {})
    named = payload_of(tmp_path, watts=36.0)
    assert named["runs"][0]["energy_wh"] == pytest.approx(named["runs"][0]["seconds"] / 100)
    assert payload_of(tmp_path, watts=0.0)["runs"][0]["energy_wh"] is None
    (folder / "environment.json").unlink()
    assert payload_of(tmp_path)["runs"][0]["energy_wh"] is None


def test_verdicts_are_those_of_the_statistics(tmp_path: Path) -> None:
    """Of values and predictions read here by other means."""
    scores = {"gru": (60.0, 61.0, 62.0, 63.0, 64.0), "lstm": (50.0, 51.0, 52.0, 53.0, 54.0)}
    texts: dict[str, list[Any]] = {"gru": [], "lstm": []}
    for cell, values in scores.items():
        for seed, value in enumerate(values):
            folder = make_member(tmp_path / f"{cell}{seed}", {"cell": cell, "seed": seed})
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            columns = ([row[name] for row in rows] for name in ("target", "prediction"))
            sums = metric_sums("exact_match", *columns)
            assert sums is not None
            assert sums.total == summary["metrics"]["test/exact_match"]
            texts[cell].append(sums)
            summary["metrics"]["test/bleu"] = value
            (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    found = payload_of(tmp_path)
    pairs = {item["metric"]: item for item in found["significance"]}
    bleu, match = pairs["test/bleu"], pairs["test/exact_match"]
    assert found["groups"][bleu["first"]]["label"] == "cell=gru"
    assert bleu["difference"] == 10.0
    assert bleu["p_seeds"] is not None
    assert bleu["p_seeds"] < 0.05
    assert bleu["words"]
    groups = [
        GroupScores(f"cell={cell}", range(5), [sums.total for sums in texts[cell]], texts[cell])
        for cell in ("gru", "lstm")
    ]
    (expected,) = compare_all(groups, "Exact match", "max")
    assert match["p_examples"] == pytest.approx(expected.p_examples, rel=1e-5)
    assert (match["words"], match["is_shown"]) == (expected.words, expected.is_shown)


def test_at_most_ten_groups_are_tested_and_that_is_said(tmp_path: Path) -> None:
    for number in range(12):
        make_member(tmp_path / str(number), {"dropout": number / 100}, num_examples=0)
    found = payload_of(tmp_path)
    pairs = {(i["first"], i["second"]) for i in found["significance"] if i["metric"] == "test/bleu"}
    assert pairs == {(a, b) for a in range(10) for b in range(a + 1, 10)}
    assert "Only the best 10 groups are held against each other; 2 more are not." in found["notes"]


def test_a_search_is_told_with_its_trials(tmp_path: Path) -> None:
    make_search(tmp_path, num_runs=40)
    found = payload_of(tmp_path)
    search = found["search"]
    assert (search["num_trials"], len(search["trials"])) == (40, 40)
    pruned = [trial for trial in search["trials"] if trial["state"] == "pruned"]
    assert len(pruned) == search["num_pruned"]
    assert search["pruned_share"] == pytest.approx(len(pruned) / 40)
    finished = [trial for trial in search["trials"] if trial["state"] == "finished"]
    assert search["best"] == min(finished, key=lambda trial: trial["values"])
    for trial in search["trials"]:
        assert found["runs"][trial["run"]]["status"] == trial["state"]
    assert search["default"] is None, "nothing says that it began with it"
    for sampler, first in (("tpe", search["trials"][0]), ("grid", None)):
        definition = {"settings": [], "sweep": {"start_from_default": True, "sampler": sampler}}
        (tmp_path / "sweep.yaml").write_text(json.dumps(definition), encoding="utf-8")
        assert payload_of(tmp_path)["search"]["default"] == first
    assert set(search["importance"]["val/loss"]) == set(search["best"]["params"])


def test_commands_train_the_same_again(tmp_path: Path) -> None:
    words = ["task=translation", "run_dir=/x", "data.path=a b", "cell=gru"]
    make_member(tmp_path / "0", {"cell": "gru"}, overrides=words)
    make_member(tmp_path / "1", {"cell": "lstm", "dropout": 0.25, "seed": 3})
    first, second = (shlex.split(run["command"]) for run in payload_of(tmp_path)["runs"])
    assert first == ["python", "train.py", "task=translation", "data.path=a b", "cell=gru"]
    shown = ["cell=lstm", "model.dropout=0.25", "seed=3"]
    assert second == ["python", "train.py", "task=translation", *shown]


def test_csv_holds_every_run_setting_and_score(sweep: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](sweep))))
    assert len(rows) == 12
    for row, run in zip(rows, sweep["runs"], strict=True):
        assert {key: row[key] for key in sweep["keys"]} == run["settings"]
        for metric in sweep["metrics"]:
            value = run["metrics"].get(metric["name"])
            assert row[metric["name"]] == ("" if value is None else repr(value))
        assert (row["status"], row["error"]) == (run["status"], run["error"] or "")
        assert (row["command"], int(row["seed"])) == (run["command"], run["seed"])


def test_json_is_the_payload_without_curves(sweep: dict[str, Any]) -> None:
    plain = json.loads(FORMATS["json"](sweep))
    assert plain["groups"] == sweep["groups"]
    for run, whole in zip(plain["runs"], sweep["runs"], strict=True):
        assert run == {key: value for key, value in whole.items() if key != "curves"}


def test_markdown_tells_groups_differences_and_failures(sweep: dict[str, Any]) -> None:
    lines = FORMATS["markdown"](sweep).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 6
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    best = sweep["groups"][0]["metrics"]["test/bleu"]
    assert f"**{best['mean']:.2f} \u00b1 {best['deviation']:.2f}**" in table[2]
    assert "| 0 | 2 | - |" in table[-1]
    assert "- 10: failed (RuntimeError: out of memory)" in lines
    assert any(line.startswith("- ") and "not shown" in line for line in lines)


def test_latex_is_well_formed_and_escaped(tmp_path: Path) -> None:
    odd = ["50%_a&b", "c#d{e}~^$", "back\\slash"]
    for number, text in enumerate(odd):
        folder = make_member(tmp_path / str(number), {"seed": number})
        config = (folder / "config.yaml").read_text(encoding="utf-8")
        config = config.replace("target_language: de", f"target_language: '{text}'")
        (folder / "config.yaml").write_text(config, encoding="utf-8")
    latex = FORMATS["latex"](payload_of(tmp_path))
    rows = [line for line in latex.splitlines() if line.endswith(" \\\\")]
    (columns,) = re.findall(r"\\begin\{tabular\}\{(l+r+)\}", latex)
    for row in rows:
        cells = re.split(r" (?<!\\)& ", row.removesuffix(" \\\\"))
        assert len(cells) == len(columns)
    first = {re.split(r" (?<!\\)& ", row)[0] for row in rows[1:]}
    assert first == {
        r"50\%\_a\&b",
        r"c\#d\{e\}\textasciitilde{}\textasciicircum{}\$",
        r"back\textbackslash{}slash",
    }
    assert rows[0].startswith(r"data.target\_language & Runs & BLEU")
    assert latex.count("\\begin") == latex.count("\\end") == 1
    for line in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert latex.splitlines().count(line) == 1
    plain = re.sub(r"\\text\w+\{\}|\\textbf\{([^{}]*)\}|\$\\pm\$", "", "\n".join(rows))
    assert set(UNESCAPED.findall(plain)) <= {"&"}


def test_the_best_of_each_metric_is_bold_by_its_direction(tmp_path: Path) -> None:
    for number, (bleu, loss) in enumerate(((10.0, 1.0), (20.0, 2.0))):
        metrics: dict[str, float | None] = {"test/bleu": bleu, "test/nll": loss}
        make_member(tmp_path / str(number), {"dropout": number / 10}, metrics=metrics)
    rows = [line for line in FORMATS["latex"](payload_of(tmp_path)).splitlines() if "&" in line]
    assert rows[1:] == [
        "0.1 & 1 & \\textbf{20} & 2 \\\\",
        "0 & 1 & 10 & \\textbf{1} \\\\",
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_one_failed_run_has_every_format(form: str, tmp_path: Path) -> None:
    make_member(tmp_path / "0", {}, status="failed", error="a | b\nc", num_rows=0)
    text = FORMATS[form](payload_of(tmp_path))
    assert text.endswith("\n")
    assert "\n\n\n" not in text


def test_csv_starts_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    make_member(tmp_path / "=1+1", {}, status="failed", error="@SUM(A1)")
    make_member(tmp_path / "-2", {"dropout": -0.5})
    make_member(tmp_path / "plain", {"dropout": 0.5})
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](payload_of(tmp_path)))))
    assert {row["name"] for row in rows} == {"'=1+1", "'-2", "plain"}
    assert {row["error"] for row in rows} == {"'@SUM(A1)", ""}
    assert "-0.5" in {row["model.dropout"] for row in rows}, "a number stays one"


def test_of_several_searches_it_is_said_which_is_shown(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_search(tmp_path / name, num_runs=6)
    found = payload_of(tmp_path)
    assert len(found["runs"]) == 12
    assert f"Of 2 searches the first is shown: {tmp_path / 'a'}." in found["notes"]
    assert {trial["run"] for trial in found["search"]["trials"]} == {
        k for k, run in enumerate(found["runs"]) if run["name"].startswith("a")
    }
