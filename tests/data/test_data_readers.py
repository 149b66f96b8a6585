"""Laws of the readers: every form reads the same; what cannot be is named with file and line."""

import gzip
import json
from pathlib import Path

import pytest

from seqloom.data.buffers import TextBuffer
from seqloom.data.readers import read_parallel_text
from seqloom.errors import DataError

SOURCE = ["a dog", "", "na\u00efve \u2028 caf\u00e9", "tail"]
TARGET = ["ein Hund", "leer", "\u65e5\u672c", ""]


def read(
    root: Path, stem: str = "train", source: str = "en", target: str = "de"
) -> tuple[list, list]:
    buffers = read_parallel_text(root, stem, source_language=source, target_language=target)
    assert all(isinstance(buffer, TextBuffer) for buffer in buffers)
    return list(buffers[0]), list(buffers[1])


def refusal(root: Path, stem: str = "train", source: str = "en", target: str = "de") -> str:
    with pytest.raises(DataError) as caught:
        read(root, stem, source, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def lines(texts: list[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def as_files(root: Path, ending: str) -> None:
    write(root / f"train.en{ending}", lines(SOURCE))
    write(root / f"train.de{ending}", lines(TARGET))


def as_tsv(root: Path, ending: str) -> None:
    write(
        root / f"train.tsv{ending}",
        lines([f"{s}\t{t}" for s, t in zip(SOURCE, TARGET, strict=True)]),
    )


def as_tsv_with_header(root: Path, ending: str) -> None:
    rows = [f"{t}\t{n}\t{s}" for n, (s, t) in enumerate(zip(SOURCE, TARGET, strict=True))]
    write(root / f"train.tsv{ending}", lines(["de\tnumber\ten", *rows]))


def as_jsonl(root: Path, ending: str) -> None:
    rows = [json.dumps({"id": 1, "de": t, "en": s}) for s, t in zip(SOURCE, TARGET, strict=True)]
    write(root / f"train.jsonl{ending}", lines(rows))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("form", [as_files, as_tsv, as_tsv_with_header, as_jsonl])
def test_every_form_reads_the_same(tmp_path: Path, form, ending: str) -> None:
    form(tmp_path, ending)
    assert read(tmp_path) == (SOURCE, TARGET)
    if form is not as_tsv:  # without names, columns cannot be swapped
        assert read(tmp_path, source="de", target="en") == (TARGET, SOURCE)
    if form is not as_files:
        assert read(tmp_path, next(tmp_path.iterdir()).name) == (SOURCE, TARGET)


def test_two_files_go_before_a_table_and_plain_before_gz(tmp_path: Path) -> None:
    as_files(tmp_path, "")
    write(tmp_path / "train.en.gz", "other\n")
    write(tmp_path / "train.tsv", "other\tother\n")
    assert read(tmp_path) == (SOURCE, TARGET)


def test_byte_order_mark_crlf_and_no_last_line_end(tmp_path: Path) -> None:
    (tmp_path / "train.en").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo\rtwo")
    (tmp_path / "train.de").write_bytes(b"eins\n\nzwei")
    assert read(tmp_path) == (["one", "", "two\rtwo"], ["eins", "", "zwei"])


def test_missing_folder_and_file(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "absent")
    assert "the folder holds nothing" in refusal(tmp_path)
    write(tmp_path / "train.en", "a\n")
    write(tmp_path / "trian.de", "a\n")
    message = refusal(tmp_path)
    assert f"{tmp_path / 'train.de'}: no such file" in message
    assert "holds train.en, trian.de" in message
    assert "the nearest name is trian.de" in message


def test_unequal_line_counts(tmp_path: Path) -> None:
    write(tmp_path / "train.en", "a\nb\nc\n")
    write(tmp_path / "train.de", "a\nb\n")
    message = refusal(tmp_path)
    assert f"{tmp_path / 'train.de'}:2: " in message
    assert "after 2 lines" in message
    assert "train.en has 3" in message


def test_invalid_utf8_names_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "train.en").write_bytes(b"fine\nna\xefve\n")
    write(tmp_path / "train.de", "a\nb\n")
    message = refusal(tmp_path)
    assert f"{tmp_path / 'train.en'}:2: byte 3 of the line (0xef)" in message


@pytest.mark.parametrize("name", ["train.de", "train.de.gz"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train.en", "a\n")
    write(tmp_path / name, "")
    assert f"{tmp_path / name}:1: the file is empty" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a\tb\na b\n", 2, "1 columns, expected 2"),
        ("a\tb\na\tb\tc\n", 2, "3 columns, expected 2"),
        ("en\tde\tid\na\tb\n", 2, "2 columns, expected 3"),
        ("en\tfr\na\tb\n", 1, "the header (en, fr) has no column de"),
        ("en\tde\n", 1, "a header but no pair"),
    ],
)
def test_tsv_that_cannot_be(tmp_path: Path, text: str, line: int, why: str) -> None:
    write(tmp_path / "train.tsv", text)
    message = refusal(tmp_path)
    assert f"{tmp_path / 'train.tsv'}:{line}: " in message
    assert why in message


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["a", "b"]', "not an object but list"),
        ('{"en": "a", "fr": "b"}', 'there is no key "de" (keys: en, fr)'),
        ('{"en": "a", "de": 3}', '"de" is not a string but int'),
        ('{"en": "a", "de": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_jsonl_that_cannot_be(tmp_path: Path, row: str, why: str) -> None:
    write(tmp_path / "train.jsonl", '{"en": "a", "de": "b"}\n' + row + "\n")
    message = refusal(tmp_path)
    assert f"{tmp_path / 'train.jsonl'}:2: " in message
    assert why in message


def test_damaged_gzip(tmp_path: Path) -> None:
    as_files(tmp_path, ".gz")
    path = tmp_path / "train.de.gz"
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"no gzip at all\n", whole[:12] + b"\xff\xff\xff" + whole[15:]):
        path.write_bytes(damaged)
        message = refusal(tmp_path)
        assert f"{path}:" in message
        assert "truncated or damaged" in message


def test_real_corpus(shared_data: Path) -> None:
    source, target = read(shared_data / "multi30k", "val")
    assert len(source) == len(target) == 1014
    assert all(source)
    assert all(target)
