"""Lists of clips: folders, tables and published splits; what a line cannot be is named."""

import gzip
import json
from pathlib import Path

import pytest

from seqloom.data.video.captions import sentence_of
from seqloom.data.video.clip_tables import table_clips, table_rows
from seqloom.data.video.clips import Clip, check_separate, class_folders, clips_under
from seqloom.data.video.splits import completed, drawn, official
from seqloom.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def listed(path, columns=("path", "label", "split")):
    return table_clips(
        path, input_column=columns[0], target_column=columns[1], group_column=columns[2]
    )


def short(clips):
    return [(clip.name, clip.target, clip.group) for clip in clips]


def some(number, classes=("a", "b")):
    return [
        Clip(path, name, str(path), str(path))
        for name in classes
        for i in range(number)
        for path in [Path(f"/{name}/{i}.mp4")]
    ]


def test_folders_of_classes_hold_videos_and_folders_of_pictures(tmp_path):
    touch(tmp_path, "run/b.MP4", "run/a.avi", "jump/c/1.jpg", "jump/notes.txt", ".hidden/x.mp4")
    touch(tmp_path, "jump/empty/readme", "list.txt", "run/.y.mp4")
    found = [(clip.target, clip.name) for clip in class_folders(tmp_path)]
    assert found == [("jump", "jump/c"), ("run", "run/a.avi"), ("run", "run/b.MP4")]
    assert [p.name for p in clips_under(tmp_path)] == ["c", "a.avi", "b.MP4"]


def test_a_folder_without_clips_is_named(tmp_path):
    touch(tmp_path, "run/readme.txt")
    with pytest.raises(DataError, match=r"there is no clip in a folder of its class; put clips at"):
        class_folders(tmp_path)


ROWS = [("x/1.mp4", "run, fast", "train"), ("2.avi", "jump", "test")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "csv.gz", "jsonl.gz"])
def test_tables_say_the_same_in_every_form(tmp_path, ending):
    if ending.startswith("jsonl"):
        lines = [json.dumps({"path": p, "label": x, "split": s, "n": [1]}) for p, x, s in ROWS]
    elif ending.startswith("tsv"):
        lines = ["path\tlabel\tsplit", *("\t".join(row) for row in ROWS)]
    else:
        lines = ["path,label,split", *(f'{p},"{x}",{s}' for p, x, s in ROWS)]
    data = ("\n".join(lines) + "\n").encode()
    path = tmp_path / f"list.{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else b"\xef\xbb\xbf" + data)
    clips = listed(path)
    assert short(clips) == ROWS
    assert clips[0].path == tmp_path / "x/1.mp4"
    first = 1 if ending.startswith("jsonl") else 2
    assert [clip.place for clip in clips] == [f"{path}:{first}", f"{path}:{first + 1}"]


def test_a_quoted_end_of_line_is_one_row_and_the_next_has_its_own_line(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('path,label\n1.mp4,"two\nlines"\n2.mp4,b\n\n')
    rows = list(table_rows(path))
    assert [(place.rsplit(":", 1)[1], row["label"]) for place, row in rows] == [
        ("2", "two\nlines"),
        ("4", "b"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "path,label,split\n1.mp4,a\n", r"l\.csv:2: 2 values for 3 columns"),
        ("l.csv", "path,split\n1.mp4,train\n", r"l\.csv:2: has no label \(columns: path, split\)"),
        ("l.csv", "path,label,split\n1.mp4,,train\n", r"l\.csv:2: has no label"),
        ("l.csv", "path,label\n1.mp4,a\n", r"has no split.*data\.split_column, or write null"),
        ("l.csv", "path,label,split\n", r"l\.csv:1: there is no row"),
        ("l.csv", "", r"l\.csv: the file is empty"),
        ("l.csv", 'path,label,split\n1.mp4,"a,b\n', r"l\.csv:2: is not CSV"),
        ("l.jsonl", "{\n", r"l\.jsonl:1: not JSON"),
        ("l.jsonl", "[1]\n", r"l\.jsonl:1: not an object but list"),
        ("l.jsonl", '\n{"path": "a", "label": 1}\n', r"l\.jsonl:2: has no split"),
        ("l.xlsx", "x", r"l\.xlsx: is no table; name a file that ends in \.csv, \.tsv"),
        (
            "other.csv",
            None,
            r"l\.csv: no such file.*the nearest name is other\.csv|l\.csv: no such",
        ),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        listed(tmp_path / (name if text is not None else "l.csv"))


def test_a_draw_takes_of_each_class_alike_and_keeps_every_clip():
    clips = some(20)
    splits = drawn(clips, seed=3)
    assert sorted(c.name for part in splits.values() for c in part) == sorted(c.name for c in clips)
    for name in "ab":
        assert [sum(c.target == name for c in part) for part in splits.values()] == [14, 3, 3]
    assert drawn(clips, seed=3) == splits
    assert drawn(clips, seed=4) != splits
    small = drawn(some(3, "abcdefgh"), seed=0)  # rounded class by class, none were for the test
    assert [len(part) for part in small.values()] == [17, 3, 4]
    one = drawn(clips[:1], seed=0)
    assert [len(part) for part in one.values()] == [1, 0, 0]
    mixed = drawn(some(2, "abcdefghij"), seed=0, by_target=False)
    assert [len(part) for part in mixed.values()] == [14, 3, 3]


def test_missing_splits_come_from_those_that_are_there():
    clips = some(20)
    splits = completed({"train": clips}, val_share=0.1, seed=1)
    assert len(splits["train"]) == 36
    assert sorted(c.target for c in splits["val"]) == ["a", "a", "b", "b"]
    assert splits["test"] is splits["val"]
    assert not {c.path for c in splits["train"]} & {c.path for c in splits["val"]}
    check_separate(splits)
    tiny = completed({"train": clips[:2], "test": clips[5:6]}, val_share=0.1, seed=1)
    assert [len(tiny[split]) for split in ("train", "val", "test")] == [1, 1, 1]


def test_a_clip_in_two_splits_is_named(tmp_path):
    touch(tmp_path, "a/1.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a/1.mp4")
    one = Clip(tmp_path / "a/1.mp4", "a", "a/1.mp4", "list.csv:2")
    other = Clip(tmp_path / "b.mp4", "a", "b.mp4", "list.csv:9")
    message = r"list\.csv:9: b\.mp4 is in the test split and in the train split \(list\.csv:2\)"
    with pytest.raises(DataError, match=message):
        check_separate({"train": [one], "test": [other]})
    check_separate({"train": [one, one, other]})


def read(kind, root, number=1, skip=False):
    clips = official(kind, root, root / "lists", number=number, skip_missing=skip)
    return [(str(c.path.relative_to(root)), c.target, c.group) for c in clips]


def write_lists(root, files):
    (root / "lists").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "lists" / name).write_text(text)


def test_ucf101_lists(tmp_path):
    touch(tmp_path, "Run/v_Run_g08_c01.avi", "Jump/v_Jump_g01_c02/1.jpg", "Jump/extra.avi")
    write_lists(
        tmp_path,
        {
            "classInd.txt": "1 Jump\n2 Run\n",
            "trainlist02.txt": "Run/v_Run_g08_c01.avi 2\r\n",
            "testlist02.txt": "Jump/v_Jump_g01_c02.avi\n",
        },
    )
    assert read("ucf101", tmp_path, 2) == [
        ("Run/v_Run_g08_c01.avi", "Run", "train"),
        ("Jump/v_Jump_g01_c02", "Jump", "test"),
    ]
    with pytest.raises(DataError, match=r"trainlist01\.txt: no such file"):
        read("ucf101", tmp_path, 1)
    for line, message in (
        ("Run/v.avi 1", r"trainlist02\.txt:1: classInd\.txt gives Run another number"),
        ("v.avi", r"trainlist02\.txt:1: is no CLASS/CLIP"),
        ("\nRun/gone.avi 2", r"trainlist02\.txt:2: there is no clip .*gone\.avi.*on_error=skip"),
    ):
        write_lists(tmp_path, {"trainlist02.txt": line + "\n"})
        with pytest.raises(DataError, match=message):
            read("ucf101", tmp_path, 2)
    assert read("ucf101", tmp_path, 2, skip=True)[0] == ("Run/gone.avi", "Run", "train")


def test_hmdb51_lists(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/b.avi", "wave/c.avi", "sit_up/d.avi")
    write_lists(
        tmp_path,
        {
            "wave_test_split1.txt": "a.avi 1 \nb.avi 2 \nc.avi 0 \n",
            "sit_up_test_split1.txt": "d.avi 1\n",
        },
    )
    assert read("hmdb51", tmp_path) == [
        ("sit_up/d.avi", "sit_up", "train"),
        ("wave/a.avi", "wave", "train"),
        ("wave/b.avi", "wave", "test"),
    ]
    write_lists(tmp_path, {"wave_test_split1.txt": "a.avi 3\n"})
    with pytest.raises(DataError, match=r"wave_test_split1\.txt:1: is no clip and 0, 1 or 2"):
        read("hmdb51", tmp_path)
    with pytest.raises(DataError, match=r"CLASS_test_split3\.txt: no such file"):
        read("hmdb51", tmp_path, 3)


def test_kinetics_lists(tmp_path):
    touch(tmp_path, "train/air drumming/-Ab_000010_000020.mp4", "val/any/Q_x.mkv", "T1.webm")
    head = "label,youtube_id,time_start,time_end,split\n"
    write_lists(
        tmp_path,
        {
            "train.csv": head + "air drumming,-Ab,10,20,train\n",
            "validate.csv": head + "abseiling,Q_x,5,15,validate\n",
            "test.csv": "label,youtube_id\nabseiling,T1\n",
        },
    )
    assert read("kinetics", tmp_path) == [
        ("train/air drumming/-Ab_000010_000020.mp4", "air drumming", "train"),
        ("val/any/Q_x.mkv", "abseiling", "val"),
        ("T1.webm", "abseiling", "test"),
    ]
    write_lists(tmp_path, {"test.csv": head + "a,gone,1,11,test\n"})
    with pytest.raises(DataError, match=r"test\.csv:2: there is no clip .*gone_000001_000011"):
        read("kinetics", tmp_path)
    write_lists(tmp_path, {"test.csv": head + "a,T1,one,11,test\n"})
    with pytest.raises(DataError, match=r"test\.csv:2: one is no number of seconds"):
        read("kinetics", tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("LWIZZS", "lay white in z zero soon"),
        ("sgwa9a", "set green with a nine again"),
        ("prbx1p", "place red by x one please"),
    ],
)
def test_a_grid_name_is_a_sentence(tmp_path, name, sentence):
    assert sentence_of(tmp_path / f"{name}.mpg") == sentence


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bbaf2", r"bbaf2\.mpg: the name has 5 letters"),
        ("xbaf2n", r"x of its name is no command \(b, l, p, s\)"),
        ("bbaw2n", r"w of its name is no letter"),
        ("bbaf0n", r"0 of its name is no digit"),
    ],
)
def test_a_name_that_is_no_sentence_is_named(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        sentence_of(tmp_path / f"{name}.mpg")
