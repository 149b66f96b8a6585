"""The section of classes: its counts against scikit-learn's, and in words where it is capped."""

import random
import re

import pytest
from report_clips_folder import make_class_run
from report_run_folder import make_run, make_summary, write_predictions, write_summary
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from test_report_page import read

from seqloom.tracking.report import write_report
from seqloom.tracking.report.classes import classes
from seqloom.tracking.report.run_data import read_run


def some_rows(names, num, seed=1, share_right=0.7):
    random_ = random.Random(seed)
    rows = []
    for _ in range(num):
        target = random_.choice(names)
        output = target if random_.random() < share_right else random_.choice(names)
        rows.append({"input": "x", "target": target, "prediction": output, "score": 0.5})
    return rows


def make(folder, rows, topology="sequence_to_vector", metrics=None):
    folder.mkdir()
    (folder / "config.yaml").write_text(f"task: {{name: names, topology: {topology}}}\n")
    write_summary(folder, make_summary() | {"task": "names", "metrics": metrics or {}})
    if rows is not None:
        write_predictions(folder, rows)
    return folder


def html_of(folder):
    section = classes(read_run(folder))
    assert section is not None
    return section.html


def table(html, number):
    """Rows of text of the table in this place of the section."""
    body = re.findall(r"<tbody>(.*?)</tbody>", html, re.S)[number]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[re.sub(r"<small>.*?</small>|<[^>]+>", "", cell) for cell in row] for row in cells]


@pytest.mark.parametrize("names", [["yes", "no"], [str(k) for k in range(12)]])
def test_counts_and_scores_are_those_of_scikit_learn(tmp_path, names):
    rows = some_rows(names, 500)
    html = html_of(make(tmp_path / "run", rows))
    targets, outputs = [r["target"] for r in rows], [r["prediction"] for r in rows]
    shown = table(html, 0)
    order = [row[0] for row in shown]
    assert order == sorted(names, key=lambda n: (int(n) if n.isdecimal() else 0, n))
    matrix = confusion_matrix(targets, outputs, labels=order)
    assert [[int(cell) for cell in row[1:-1]] for row in shown] == matrix.tolist()
    assert [int(row[-1]) for row in shown] == matrix.sum(axis=1).tolist()
    expected = precision_recall_fscore_support(targets, outputs, labels=order, zero_division=0)
    for k, row in enumerate(table(html, 1)):
        assert row[1:4] == [f"{scores[k]:.3f}" for scores in expected[:3]]
        assert int(row[4]) == expected[3][k]


def test_percentages_are_of_the_row(tmp_path):
    rows = [{"input": "", "target": "a", "prediction": p, "score": 1} for p in "aaab"]
    html = html_of(make(tmp_path / "run", rows))
    assert re.findall(r"(\d+)<small>([^<]*)</small>", html) == [("3", "75 %"), ("1", "25 %")]


def test_class_that_nobody_is_or_nobody_predicts(tmp_path):
    rows = [{"input": "", "target": "a", "prediction": "b", "score": 1}]
    html = html_of(make(tmp_path / "run", rows))
    assert table(html, 1) == [
        ["a", "\u2013", "0.000", "0.000", "1"],
        ["b", "0.000", "\u2013", "0.000", "0"],
    ]


def test_table_says_what_is_what_without_colours(tmp_path):
    parsed = read(make(tmp_path / "run", some_rows(["a", "b"], 20)))
    scopes = [value for tag, name, value in parsed.attributes if (tag, name) == ("th", "scope")]
    assert scopes.count("row") >= 4
    assert "Confusion matrix: examples of each target, by what was predicted" in parsed.words


@pytest.mark.parametrize(("num_classes", "has_matrix"), [(40, True), (41, False), (400, False)])
def test_many_classes_become_pairs(tmp_path, num_classes, has_matrix):
    names = [f"class {k}" for k in range(num_classes)]
    rows = some_rows(names, 20 * num_classes) + [
        {"input": "", "target": n, "prediction": n, "score": 1} for n in names
    ]
    for _ in range(50):
        rows.append({"input": "", "target": names[3], "prediction": names[1], "score": 1})
    html = html_of(make(tmp_path / "run", rows))
    assert ("Confusion matrix" in html) is has_matrix
    assert (f"{num_classes} classes are too many for a matrix (at most 40)" in html) != has_matrix
    assert len(table(html, -2)) == min(num_classes, 40)
    pairs = table(html, -1)
    assert len(pairs) == 30
    assert pairs[0][:2] == [names[3], names[1]]
    counts = [int(pair[2]) for pair in pairs]
    assert counts == sorted(counts, reverse=True)
    assert len(html) < 300_000


def test_names_in_natural_order(tmp_path):
    names = ["clip10", "clip9", "10", "9", "\u00b2", "b", "9" * 25]
    rows = [{"input": "", "target": n, "prediction": n, "score": 1} for n in names]
    order = [row[0] for row in table(html_of(make(tmp_path / "run", rows)), 0)]
    assert order.index("9") < order.index("10")
    assert order.index("clip9") < order.index("clip10")
    assert set(order) == set(names)


def test_single_frames_are_told_beside_the_accuracy(tmp_path):
    words = read(make_class_run(tmp_path / "run", with_clips=False)).words
    assert "51 of 60 examples of the test split right: accuracy 0.850." in words
    assert "A classifier that looks at single frames reaches 0.432." in words
    other = read(make(tmp_path / "other", some_rows(["a", "b"], 5))).words
    assert "single frames" not in other


def test_other_predictions_have_no_classes(tmp_path):
    numbers = make(tmp_path / "numbers", some_rows(["1.5"], 3), metrics={"test/mse": 1.0})
    steps = make(tmp_path / "steps", some_rows(["a"], 3), topology="sequence_to_sequence")
    for folder in (numbers, steps, make_run(tmp_path / "text", num_predictions=3)):
        assert classes(read_run(folder)) is None
        assert "Confusion matrix" not in read(folder).words


def test_missing_and_empty_predictions_are_a_sentence(tmp_path):
    missing = read(make(tmp_path / "missing", None)).words
    assert "No classes: there is no predictions.jsonl, the run folder does not hold it." in missing
    empty = read(make(tmp_path / "empty", [])).words
    assert "No classes: predictions.jsonl holds no prediction." in empty


def test_names_of_classes_are_escaped(tmp_path):
    evil = "</td><script>alert(1)</script>\"'&amp;"
    folder = make(tmp_path / "run", some_rows([evil, "", "x" * 500], 30))
    parsed = read(folder)
    assert "<script>alert" not in (folder / "report.html").read_text(encoding="utf-8")
    assert evil[:20] in parsed.words


def test_report_of_ten_thousand_is_small(tmp_path):
    folder = make(tmp_path / "run", some_rows([str(k) for k in range(10)], 10_000))
    assert write_report(folder).stat().st_size < 150_000
