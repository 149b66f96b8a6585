"""The parts of the report: scores equal sacrebleu's, charts keep extremes, marks keep the text."""

import json
import re

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from report_run_folder import make_predictions, make_run, write_predictions
from sacrebleu.metrics import CHRF

from seqloom.tracking.report import charts, curves, write_report
from seqloom.tracking.report.differences import marked, num_words, words
from seqloom.tracking.report.heat_map import heat_map
from seqloom.tracking.report.overview import overview_html
from seqloom.tracking.report.run_data import Attention, Point, Prediction, RunData, read_run
from seqloom.tracking.report.templating import embed
from seqloom.tracking.report.text_scores import Scorer, length_bins, spread


def plain(html: str) -> str:
    return str(Markup(html).striptags())


def points(values, start=1):
    return [Point(float(k), 0.5 * k, 0.0, v) for k, v in enumerate(values, start)]


# Scores.


def test_scores_in_the_page_are_those_of_sacrebleu(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=120)
    html = write_report(folder).read_text(encoding="utf-8")
    rows = make_predictions(120)
    outputs, references = [r["prediction"] for r in rows], [r["target"] for r in rows]
    total = re.search(r'<tr class="total">.*?</tr>', html, re.S).group()
    shown = re.findall(r'class="value">([\d.]+)<', total)
    chrf = sacrebleu.corpus_chrf(outputs, [references]).score
    bleu = sacrebleu.corpus_bleu(outputs, [references]).score
    assert shown == [f"{chrf:.2f}", f"{bleu:.2f}"]
    sentence = [
        sacrebleu.sentence_chrf(o, [r]).score for o, r in zip(outputs, references, strict=True)
    ]
    badges = re.findall(r"chrF ([\d.]+)</span></summary>", html)
    assert badges == [f"{score:.1f}" for score in sentence[:20]]
    worst = html.split("Worst sentences")[1].split("Best sentences")[0]
    assert re.findall(r"chrF ([\d.]+)<", worst) == [f"{s:.1f}" for s in sorted(sentence)[:6]]


def test_each_length_has_the_corpus_score_of_its_sentences(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=80)
    html = write_report(folder).read_text(encoding="utf-8")
    rows = make_predictions(80)
    lengths = [num_words(row["input"]) for row in rows]
    table = re.search(r'<table class="bars">.*?</table>', html, re.S).group()
    found = re.findall(
        r'<tr>\s*<th scope="row">(\d+)\D(\d+)</th>\s*<td>(\d+)</td>'
        r'.*?value">([\d.]+).*?value">([\d.]+)',
        table,
        re.S,
    )
    assert sum(int(row[2]) for row in found) == len(rows)
    for first, last, num, chrf, bleu in found:
        inside = [r for r, n in zip(rows, lengths, strict=True) if int(first) <= n <= int(last)]
        outputs, references = [r["prediction"] for r in inside], [r["target"] for r in inside]
        assert int(num) == len(inside)
        assert chrf == f"{sacrebleu.corpus_chrf(outputs, [references]).score:.2f}"
        assert bleu == f"{sacrebleu.corpus_bleu(outputs, [references]).score:.2f}"


def test_scorer_follows_the_signatures(tmp_path):
    signatures = {
        "test/bleu": "nrefs:1|case:lc|tok:char",
        "test/chrf": "case:lc|nc:6|nw:2|space:no",
    }
    scorer = Scorer(RunData(tmp_path, summary={"signatures": signatures}))
    rows = scorer.score([Prediction(0, "a", "The cat sat down", "the Cat sat up", None)])
    group = scorer.group("all", rows)
    output, reference = ["the Cat sat up"], [["The cat sat down"]]
    bleu = sacrebleu.corpus_bleu(output, reference, tokenize="char", lowercase=True)
    chrf = CHRF(word_order=2, lowercase=True).corpus_score(output, reference)
    assert group.bleu == pytest.approx(bleu.score)
    assert group.chrf == pytest.approx(chrf.score)
    assert scorer.note == ""


def test_tokenizer_that_would_be_fetched_gives_way(tmp_path):
    run = RunData(tmp_path, summary={"signatures": {"test/bleu": "tok:flores200|case:mixed"}})
    assert "flores200 is not available" in Scorer(run).note


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60))
def test_length_bins_hold_every_length_once(lengths):
    bins = length_bins(lengths)
    assert len(bins) <= 8
    for length in lengths:
        assert sum(a <= length and (b is None or length <= b) for a, b in bins) == 1


@given(st.integers(0, 500), st.integers(1, 50))
def test_spread_is_even_and_in_range(num, limit):
    chosen = spread(num, limit)
    assert len(chosen) == min(num, limit)
    assert sorted(set(chosen)) == chosen
    assert all(0 <= index < num for index in chosen)


# Marks.


@given(st.text(), st.text())
def test_marks_keep_the_text(reference, prediction):
    assert "".join(words(reference)) == reference
    for text, html in zip((reference, prediction), marked(reference, prediction), strict=True):
        bare = re.sub(r"</?(del|ins)>", "", str(html))
        assert Markup(bare).unescape().split() == text.split()


def test_marks_stand_at_the_words_that_differ():
    reference, prediction = marked("Ein alter Mann l\u00e4uft.", "Ein Mann rennt weg.")
    assert reference == "Ein <del>alter</del> Mann <del>l\u00e4uft</del>."
    assert prediction == "Ein Mann <ins>rennt weg</ins>."
    assert marked("same", "same") == ("same", "same")


def test_scripts_without_spaces_are_compared_by_character():
    assert (
        marked("\u732b\u304c\u597d\u304d", "\u72ac\u304c\u597d\u304d")[1]
        == "<ins>\u72ac</ins>\u304c\u597d\u304d"
    )
    assert num_words("\u732b\u304c\u597d\u304d\u3002") == 4
    # A vowel sign stays with its consonant.
    assert words("\u0939\u093f\u0928\u094d\u0926\u0940 a") == [
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        " ",
        "a",
    ]


# Charts.


def test_thinning_keeps_ends_and_extremes():
    values = [float((k * 37) % 101) for k in range(5000)]
    values[1234], values[4321] = -50.0, 900.0
    kept = charts.thin(points(values), 200)
    assert len(kept) <= 200
    assert [kept[0].step, kept[-1].step] == [1.0, 5000.0]
    assert {-50.0, 900.0} <= {point.value for point in kept}
    assert [p.step for p in kept] == sorted(p.step for p in kept)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 8))
def test_ticks_are_inside_and_few(low, width, num):
    axis = charts.Axis(low, low + width)
    ticks = axis.ticks(num)
    assert len(ticks) <= 2 * num
    slack = 1e-5 * (abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)


def test_chart_breaks_its_line_where_values_are_not_finite():
    html = charts.line_chart(
        "Loss", "c", {"train/loss": points([3.0, 2.0, float("nan"), 1.0, 0.5])}
    )
    line = re.search(r'class="line" d="([^"]+)"', html).group(1)
    assert line.count("M") == 2
    assert "1 of 5 values are not finite, the first at step 3" in plain(html)


def test_chart_without_a_finite_value_says_so():
    html = charts.line_chart("Loss", "c", {"train/loss": points([float("nan")] * 2)})
    assert "No finite value to draw" in html
    assert "<svg" not in html


@pytest.mark.parametrize(
    "values",
    [[2.0], [0.0, 0.0], [-1.0, -1.0, -1.0], [1e-9, 1e9], [5e-324], [-9e99, 9e99], [1.0, 1 + 2e-16]],
)
def test_flat_single_and_wide_series_are_drawn(values):
    html = charts.line_chart("Loss", "c", {"a": points(values)})
    numbers = re.findall(r"-?[\d.]+", re.search(r'class="line" d="([^"]+)"', html).group(1))
    assert all(0 <= float(number) <= 1000 for number in numbers)


def test_data_beside_a_chart_are_its_values():
    html = charts.line_chart("Loss", "c", {"a": points([3.0, 2.0]), "b": points([1.0])})
    data = json.loads(re.search(r'application/json">(.*?)</script>', html).group(1))
    assert data["series"][0]["points"] == [[1, 0.5, 0, 3], [2, 1, 0, 2]]
    assert [line["name"] for line in data["series"]] == ["a", "b"]


def test_every_metric_stands_in_one_chart():
    names = [
        "train/loss",
        "val/loss",
        "val/bleu",
        "val/chrf",
        "lr-Adam",
        "val/strange",
        "train/x_per_s",
    ]
    groups = curves.group({name: points([1.0]) for name in names})
    assert sorted(name for _, series, _ in groups for name in series) == sorted(names)
    assert list(groups[0][1]) == ["train/loss", "val/loss"]


# Attention.


def test_attention_of_one_cell():
    html = heat_map(Attention(0, ["a"], ["b"], [[1.0]]), "x")
    assert html.count('class="level"') == 1
    assert 'd="M0 0h1v1h-1z"' in html


def test_attention_of_nothing_is_nothing():
    assert heat_map(Attention(0, [], [], []), "x") == ""


def test_attention_levels_values_and_words_agree():
    weights = [[0.9, 0.1, 0.0], [0.02, 0.48, 0.5]]
    html = heat_map(Attention(0, ["x", "y", "<z>"], ["u", "v"], weights), "x")
    data = json.loads(re.search(r'application/json">(.*?)</script>', html).group(1))
    assert data["weights"] == [[900, 100, 0], [20, 480, 500]]
    assert data["inputs"][2] == "<z>"
    squares = "".join(re.findall(r'class="level"[^>]* d="([^"]+)"', html))
    assert sorted(re.findall(r"M(\d) (\d)", squares)) == [
        ("0", "0"),
        ("1", "0"),
        ("1", "1"),
        ("2", "1"),
    ]
    assert "&lt;z&gt;" in html


def test_large_attention_is_cut_and_says_so():
    picture = Attention(0, ["s"] * 200, ["t"] * 100, [[0.005] * 200] * 100)
    assert "120 further pieces are not shown" in heat_map(picture, "x")


def test_attention_that_does_not_fit_is_left_out(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=4, num_attention=4)
    pictures = json.loads((folder / "attention.json").read_text())
    pictures[0]["weights"].pop()
    pictures[1]["weights"][0][0] = float("nan")
    pictures[2]["index"] = 99
    (folder / "attention.json").write_text(json.dumps(pictures))
    run = read_run(folder)
    assert [picture.index for picture in run.attention] == [99, 3]
    assert "2 pictures were left out" in run.problems[0]
    html = write_report(folder).read_text(encoding="utf-8")
    assert html.count('<figure class="heat"') == 1


def test_attention_without_index_follows_the_predictions(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=3, num_attention=3)
    pictures = json.loads((folder / "attention.json").read_text())
    for picture in pictures:
        del picture["index"]
    pictures[1]["weights"] = []
    (folder / "attention.json").write_text(json.dumps(pictures))
    run = read_run(folder)
    assert [picture.index for picture in run.attention] == [0, 2]
    assert not run.problems


# Reading.


def test_damaged_last_line_of_predictions_is_counted(tmp_path):
    folder = make_run(tmp_path / "run", num_predictions=3)
    with (folder / "predictions.jsonl").open("a") as file:
        file.write('{"input": "cut off he')
    run = read_run(folder)
    assert len(run.predictions) == 3
    assert "1 damaged line " in run.problems[0]


def test_unicode_line_separators_stay_inside_a_prediction(tmp_path):
    row = {"input": "a\u2028b", "target": "c\u0085d", "prediction": "e", "score": 0}
    write_predictions(tmp_path, [row])
    assert read_run(tmp_path).predictions == [Prediction(0, "a\u2028b", "c\u0085d", "e", 0.0)]


def test_embedded_json_cannot_leave_its_script():
    text = embed({"a": "</script><!--&\u2028"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--&\u2028"}


# Where it ran.


def test_the_head_tells_where_a_run_was_started(tmp_path):
    session = {
        "command": "python train.py task=translation 'x=<b>'",
        "directory": "$HOME/work",
        "hardware": {"cpu": "AMD EPYC", "cores": 2, "memory_bytes": 25e9, "gpus": [{"name": "H"}]},
        "git": {"commit": "08e2375391523" + "0" * 27, "branch": "main", "dirty": True},
    }
    folder = make_run(tmp_path / "run", num_predictions=5)
    assert "Where it ran" not in str(overview_html(read_run(folder)))
    record = {"sessions": [session, {}, {}]}
    (folder / "environment.json").write_text(json.dumps(record), encoding="utf-8")
    html = str(overview_html(read_run(folder)))
    found = re.findall(r"<dt>([^<]*)</dt><dd><code dir=.auto.>([^<]*)</code>", html)
    assert [(name, Markup(value).unescape()) for name, value in found] == [
        ("Commit", "08e237539152 on main, with uncommitted changes"),
        ("Machine", "AMD EPYC, 2 cores, 25 GB, H"),
        ("Command", session["command"]),
        ("In folder", "$HOME/work"),
        ("Resumed", "2 times"),
    ]
    for damaged in ({"sessions": [{"git": 3, "hardware": {"gpus": "x"}}]}, {"sessions": 7}):
        (folder / "environment.json").write_text(json.dumps(damaged), encoding="utf-8")
        assert "Where it ran" not in str(overview_html(read_run(folder)))
