"""Clips in the report: pictures inside the page, what they say in words, and gaps as sentences."""

import base64
import json
import re
import shutil

import pytest
from report_clips_folder import make_caption_run, make_class_run, make_looks, make_picture
from report_run_folder import make_run, write_predictions
from test_report_page import read

from seqloom.tracking.clips import write_clips
from seqloom.tracking.report import clips as clips_section
from seqloom.tracking.report import write_report
from seqloom.tracking.report.captions import shown_weights
from seqloom.tracking.report.run_data import Attention, read_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished runs, to copy: their videos take a second to make."""
    folder = tmp_path_factory.mktemp("runs")
    make_class_run(folder / "classes")
    make_caption_run(folder / "captions")
    return folder


@pytest.fixture
def class_run(made, tmp_path):
    return shutil.copytree(made / "classes", tmp_path / "run")


@pytest.fixture
def caption_run(made, tmp_path):
    return shutil.copytree(made / "captions", tmp_path / "run")


def html_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def change(folder, edit):
    """clips.json after `edit(entries)`."""
    path = folder / "clips" / "clips.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(edit(entries)), encoding="utf-8")


# The page.


def test_pictures_and_videos_are_the_files_themselves(class_run):
    html = html_of(class_run)
    for kind, pattern in (("image/jpeg", "*.jpg"), ("video/mp4", "*.mp4")):
        held = re.findall(rf'src="data:{kind};base64,([^"]*)"', html)
        assert len(held) == 12
        files = {path.read_bytes() for path in (class_run / "clips").glob(pattern)}
        assert {base64.b64decode(text) for text in held} == files


@pytest.mark.parametrize("run", ["classes", "captions"])
def test_page_with_clips_fetches_nothing(made, run):
    parsed = read(made / run)
    policy = next(v for t, n, v in parsed.attributes if n == "content" and "script-src" in v)
    parts = dict(part.split(maxsplit=1) for part in policy.split(";") if part.strip())
    script = parts.pop("script-src")
    assert script.startswith("'sha256-")
    assert " " not in script
    assert parts == {
        "default-src": "'none'",
        "img-src": "data:",
        "media-src": "data:",
        "style-src": "'unsafe-inline'",
    }
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert (tag, value[:5]) in (("img", "data:"), ("video", "data:"))
        if name == "href":
            assert value.startswith(("#", "data:"))
    html = (made / run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(", html)


def test_pictures_have_words(class_run):
    parsed = read(class_run)
    texts = [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "alt")]
    assert len(texts) == 12
    assert texts[0].startswith("16 frames of clip_0")
    assert "at 0.00, 0.10, 0.20," in texts[0]
    labels = [v for tag, name, v in parsed.attributes if (tag, name) == ("video", "aria-label")]
    assert all(label.startswith("Video of clip_") for label in labels)
    assert len(labels) == 12


def test_hardest_stand_first(class_run):
    html = html_of(class_run)
    section = html.split("Hardest: wrong, the surest first")[1]
    wrong, right = section.split("Right, the least sure first")
    rows = read_run(class_run).predictions

    def order(part):
        shown = re.findall(r'class="number">(\d+)</span> <bdi>', part)
        return [rows[int(number) - 1] for number in shown]

    surest = sorted((r.score for r in rows if r.target != r.prediction), reverse=True)
    assert [r.score for r in order(wrong)] == surest[:8]
    scores = [r.score for r in order(right.split("</ol>")[0])]
    assert len(scores) == 4
    assert scores == sorted(scores)


def test_all_right_and_all_wrong(tmp_path):
    for name, output, heading in (("good", "a", "Right, the least"), ("bad", "b", "Hardest")):
        folder = make_class_run(tmp_path / name, with_clips=False)
        row = {"input": "x.mp4", "target": "a", "prediction": output, "score": 0.5}
        write_predictions(folder, [row])
        write_clips(folder, [make_picture(0, 1, classes=("a", "b"), evidence=[[0.5, 0.5]])])
        words = read(folder).words
        assert heading in words
        assert ("Hardest" in words) == (name == "bad")


# Evidence.


def test_evidence_names_target_prediction_and_two_more(class_run):
    html = html_of(class_run)
    card = html.split('id="clip-0-evidence"')[1].split("</figure>")[0]
    legend = re.findall(r"<bdi>(\w+)</bdi>(?: \(([\w ]+)\))?</span> <b>([\d.]+)</b>", card)
    clip = next(row for row in read_run(class_run).predictions if row.score == 0.8228)
    assert legend[0][:2] == (clip.target, "target")
    assert legend[1] == (clip.prediction, "predicted", "0.82")
    assert len(legend) == 4
    last = card.split("<tbody>")[1].split("<tr>")[-1]
    assert re.findall(r"<t[hd][^>]*>([\d.]+)", last) == ["1.50", *(line[2] for line in legend)]


def test_evidence_lines_end_where_the_numbers_do(class_run):
    html = html_of(class_run)
    card = html.split('id="clip-0-evidence"')[1].split("</figure>")[0]
    lasts = re.findall(r"<b>([\d.]+)</b>", card)
    paths = re.findall(r'class="line" d="([^"]+)"', card)
    for last, path in zip(lasts, paths, strict=True):
        x, y = (float(part) for part in path.rsplit("L", 1)[1].split())
        assert x == pytest.approx(1000, abs=0.1)
        assert y == pytest.approx(1000 * (1 - float(last)), abs=5.1)
        assert path.count("L") == 15


def test_one_frame_and_one_class(tmp_path):
    folder = make_class_run(tmp_path / "run", num=1, with_clips=False)
    write_clips(folder, [make_picture(0, 1, classes=("left",), evidence=[[1.0]])])
    assert "left: 1.00 at first, 1.00 at the end." in read(folder).words


def test_target_that_the_model_does_not_know(tmp_path):
    folder = make_class_run(tmp_path / "run", num=1, with_clips=False)
    evidence = [[0.1, 0.9], [0.2, 0.8]]
    write_clips(folder, [make_picture(0, 2, classes=("x", "y"), evidence=evidence)])
    html = html_of(folder)
    assert "y: 0.90 at first, 0.80 at the end." in html
    assert "</bdi> (target)" not in html


# Captions.


def test_every_word_stands_over_its_frames(caption_run):
    html = html_of(caption_run)
    run = read_run(caption_run)
    assert html.count('<svg class="strip"') == sum(len(a.output_pieces) for a in run.attention)
    assert html.count("data:image/jpeg") == 12  # the strips share the sheet
    ids = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'<use href="#([^"]+)"', html)) <= ids
    first = run.attention[0]
    place = max(range(12), key=first.weights[0].__getitem__)
    strongest = f"{float(first.input_pieces[place][:-2]):.2f} s"
    assert f'<b dir="auto">the</b> <span class="hint">{strongest}' in html
    assert "only in the prediction" in read(caption_run).words


def test_weights_of_unshown_frames_go_to_the_nearest_shown():
    attention = Attention(
        0, ["0.00 s", "0.40 s", "0.60 s", "1.00 s"], ["a"], [[0.1, 0.2, 0.3, 0.4]]
    )
    (row,) = shown_weights(attention, [0.0, 0.5, 1.0])
    assert row == pytest.approx([0.1, 0.5, 0.4])
    (row,) = shown_weights(attention, [0.2])
    assert row == pytest.approx([1.0])
    (row,) = shown_weights(attention, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])  # fewer than shown
    assert row == pytest.approx([0.1, 0, 0.2, 0.3, 0, 0.4])


@pytest.mark.parametrize("num_input", [1, 16, 40])
def test_any_number_of_input_frames(caption_run, num_input):
    entries = json.loads((caption_run / "clips" / "clips.json").read_text())
    maps = [make_looks(e["index"], "one two", num_input) for e in entries]
    (caption_run / "attention.json").write_text(json.dumps(maps))
    assert html_of(caption_run).count('<svg class="strip"') == 3 * 12


def test_input_pieces_that_are_no_times_keep_the_heat_map(caption_run):
    entries = json.loads((caption_run / "clips" / "clips.json").read_text())
    maps = [
        make_looks(e["index"], "one", 2) | {"input_pieces": ["frame", "0.1s.2"]} for e in entries
    ]
    (caption_run / "attention.json").write_text(json.dumps(maps))
    html = html_of(caption_run)
    assert '<svg class="strip"' not in html
    assert html.count('class="heat"') == 12


def test_captions_without_attention_say_so(caption_run):
    (caption_run / "attention.json").unlink()
    words = read(caption_run).words
    assert words.count("The run kept no attention for this clip.") == 12


def test_texts_of_clips_are_grouped_by_their_target(caption_run):
    words = read(caption_run).words
    assert "Scores by length of the target" in words
    assert "8 of 20 examples" in words  # the other 12 are clips


def test_all_predictions_are_clips(tmp_path):
    words = read(make_caption_run(tmp_path / "run", num=12)).words
    assert "12 of 12 clips" in words
    assert "No examples" not in words


# Gaps.


def test_runs_without_clips(tmp_path):
    parsed = read(make_class_run(tmp_path / "classes", with_clips=False))
    assert (
        "No clips: there is no clips/clips.json, the run folder does not hold it." in parsed.words
    )
    assert "Clips" not in read(make_run(tmp_path / "text", num_predictions=2)).words


@pytest.mark.parametrize("content", ["", "null", "{", "3", "{}", '["x"]', "[[]]", "[{}]", "[null]"])
def test_damaged_list_is_a_sentence(class_run, content):
    (class_run / "clips" / "clips.json").write_text(content)
    words = read(class_run).words
    assert "clips/clips.json" in words
    assert "No clips: clips/clips.json names none that can be shown." in words


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("times_s", [], "its times are no numbers"),
        ("times_s", [0.1], "its evidence does not fit"),
        ("evidence", [[2.0] * 4] * 16, "not made of probabilities"),
        ("sheet_frames", [99], "its contact sheet is not described"),
        ("columns", 0, "its contact sheet is not described"),
        ("cell", [0, 5], "its contact sheet is not described"),
        ("cell", [5], "not enough values"),
        ("sheet", "absent.jpg", "its contact sheet is not there"),
        ("sheet", "../summary.json", "its contact sheet is not there"),
        ("sheet", None, "its contact sheet is not there"),
        ("index", "x", "invalid literal"),
    ],
)
def test_clip_that_breaks_its_description_is_left_out(class_run, key, value, reason):
    change(class_run, lambda entries: [entries[0] | {key: value}, *entries[1:]])
    words = read(class_run).words
    assert "clips/clips.json: clip 1 was left out" in words
    assert reason in words
    assert "11 of 60 clips" in words


@pytest.mark.parametrize("damage", ["absent", "text"])
def test_video_that_is_not_there_leaves_the_sheet(class_run, damage):
    path = min((class_run / "clips").glob("*.mp4"))
    path.unlink() if damage == "absent" else path.write_text("no video")
    parsed = read(class_run)
    assert "the video of clip" in parsed.words
    assert "This clip has no video." in parsed.words
    assert sum(tag == "img" and name == "src" for tag, name, _ in parsed.attributes) == 12


def test_files_outside_the_folder_are_not_read(class_run, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"\xff\xd8\xffsecret")
    for name in (str(secret), "../../secret.jpg"):
        change(class_run, lambda e, name=name: [e[0] | {"sheet": name, "video": name}, *e[1:]])
        assert base64.b64encode(b"\xff\xd8\xffsecret").decode() not in html_of(class_run)


def test_clips_without_predictions(class_run):
    (class_run / "predictions.jsonl").unlink()
    assert "clips/clips.json: 12 clips have no prediction" in read(class_run).words


def test_same_clip_twice_is_shown_once(class_run):
    change(class_run, lambda entries: [*entries, entries[0]])
    assert "12 of 60 clips" in read(class_run).words


def test_large_videos_are_named_and_the_page_stays_small(class_run):
    for path in (class_run / "clips").glob("*.mp4"):
        path.write_bytes(path.read_bytes() + bytes(1_200_000))
    parsed = read(class_run)
    assert (class_run / "report.html").stat().st_size < 6_000_000
    assert sum(tag == "video" and name == "src" for tag, name, _ in parsed.attributes) == 2
    assert re.search(r"too large for this page; it is clips/0\d+\.mp4 in the run", parsed.words)


def test_sheets_beyond_the_bound_are_left_out(class_run, monkeypatch):
    monkeypatch.setattr(clips_section, "MAX_SHEET_BYTES", 10)
    assert "names none that can be shown" in read(class_run).words


def test_paths_and_names_are_escaped(tmp_path):
    evil = "</p><script>alert(1)</script>\"'<img src=x onerror=alert(2)>"
    folder = make_class_run(tmp_path / "run", with_clips=False)
    write_predictions(
        folder, [{"input": f"/a/{evil}.mp4", "target": evil, "prediction": evil, "score": 0.5}]
    )
    write_clips(folder, [make_picture(0, 2, classes=(evil, "b"), evidence=[[0.5, 0.5]] * 2)])
    parsed = read(folder)
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)
    assert "<script>alert" not in (folder / "report.html").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text("task: {name: x, topology: encoder_decoder}\n")
    (folder / "attention.json").write_text(
        json.dumps([make_looks(0, "a", 2) | {"output_pieces": [evil, evil]}])
    )
    assert not any(name.startswith("on") for _, name, _ in read(folder).attributes)


def test_report_with_clips_is_the_same_twice(class_run):
    assert html_of(class_run) == html_of(class_run)
