"""Laws of every tokeniser: exact round trips, fixed special ids, the same again."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

import seqloom.data.tokenizers as tokenizers_room
from seqloom.data.tokenizers import (
    Tokenizer,
    TokenizerOptions,
    load_tokenizer,
    train_tokenizer,
)
from seqloom.data.tokenizers import subwords as subwords_file
from seqloom.data.tokenizers.base import SPECIAL_TOKENS
from seqloom.data.tokenizers.options import KINDS
from seqloom.data.tokenizers.text import marked, split_words
from seqloom.data.tokenizers.unigram import train_unigram
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import BOS_ID, EOS_ID, PAD_ID, UNK_ID

SUBWORD_KINDS = ("bpe", "unigram")
STEMS = (
    *("Haus", "Stra\u00dfe", "M\u00e4dchen", "lauf", "spiel"),
    *("house", "street", "play", "run", "walk", "child"),
    *("\u6771\u4eac", "\u65e5\u672c\u8a9e", "\u0928\u092e\u0938\u094d\u0924\u0947"),
    *("<eos>", "<pad>"),
)
ENDINGS = ("", "en", "er", "s", "ing", "ed", "ung")
PUNCTUATION = (".", "!", " ?", ", 12.", "  ...")
STRANGE_TEXTS = (
    "",
    " ",
    "  two  in front, and behind  ",
    "\ttab\tand\nline\r\n",
    "\u4e00\u9fa5\u3042\U00020000",
    "\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea",
    "e\u0301 a\u0308\u0323 \u0301alone",
    "\u2581literal \u0120byte\u010a <0x41>",
    "<eos><pad> <unk> <bos>",
    " <eos>",
    "\x00\x7f\ufeff\ufffd\u00a0\u3000",
    "1234567890 12.50",
)


def corpus(num_lines: int = 400, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    lines = []
    for _ in range(num_lines):
        count = generator.randint(2, 7)
        words = [generator.choice(STEMS) + generator.choice(ENDINGS) for _ in range(count)]
        lines.append(" ".join(words) + generator.choice(PUNCTUATION))
    return lines


def options(kind: str, **changes: object) -> TokenizerOptions:
    return TokenizerOptions(kind=kind, vocab_size=400, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(corpus(), options(kind)) for kind in KINDS}


def digest(tokenizer: Tokenizer, path: Path) -> str:
    tokenizer.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Round trips


@pytest.mark.parametrize("kind", SUBWORD_KINDS)
@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_subwords_give_any_text_back(trained: dict[str, Tokenizer], kind: str, text: str) -> None:
    tokenizer = trained[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(len(SPECIAL_TOKENS) <= index < tokenizer.vocab_size for index in ids)


@pytest.mark.parametrize("kind", SUBWORD_KINDS)
@pytest.mark.parametrize("text", STRANGE_TEXTS)
def test_subwords_give_strange_texts_back(
    trained: dict[str, Tokenizer], kind: str, text: str
) -> None:
    assert trained[kind].decode(trained[kind].encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalization", ["none", "nfc", "nfkc"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_strange_training_texts_come_back_normalised(
    kind: str, normalization: str, lowercase: bool
) -> None:
    chosen = options(kind, normalization=normalization, lowercase=lowercase)
    texts = [*STRANGE_TEXTS, "Fu\u0308r \u2122 \ufb01ne \u0130stanbul \u00c4"]
    tokenizer = train_tokenizer(texts, chosen)
    for text in texts:
        expected = text
        if normalization != "none":
            expected = unicodedata.normalize(normalization.upper(), expected)
        if lowercase:
            expected = expected.lower()
        if normalization != "none":
            expected = unicodedata.normalize(normalization.upper(), expected)
        assert tokenizer.normalize(text) == expected
        assert tokenizer.decode(tokenizer.encode(text)) == expected
        assert tokenizer.normalize(expected) == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_the_words_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(split_words(marked(text))) == marked(text)


@settings(max_examples=100, deadline=None)
@given(
    words=st.lists(
        st.sampled_from([stem + ending for stem in STEMS[:8] for ending in ENDINGS[:3]]), max_size=9
    )
)
def test_known_words_come_back_in_any_order(
    trained: dict[str, Tokenizer], words: list[str]
) -> None:
    text = " ".join(words)
    for kind in ("word", "character"):
        assert trained[kind].decode(trained[kind].encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_each_text_alone(trained: dict[str, Tokenizer], kind: str) -> None:
    texts = [*STRANGE_TEXTS, *corpus(50, seed=1)]
    assert trained[kind].encode_batch(texts) == [trained[kind].encode(text) for text in texts]


# Special ids and the unknown


@pytest.mark.parametrize("kind", KINDS)
def test_text_never_becomes_a_special_id(trained: dict[str, Tokenizer], kind: str) -> None:
    for text in [*SPECIAL_TOKENS, "a <eos> b", " <pad>", "<eos>" * 3]:
        assert not {PAD_ID, BOS_ID, EOS_ID} & set(trained[kind].encode(text))


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_read_as_nothing_and_are_named_in_pieces(
    trained: dict[str, Tokenizer], kind: str
) -> None:
    tokenizer = trained[kind]
    ids = tokenizer.encode("play house")
    assert tokenizer.decode([BOS_ID, *ids, EOS_ID, PAD_ID, PAD_ID]) == "play house"
    assert tokenizer.pieces([PAD_ID, BOS_ID, EOS_ID, UNK_ID]) == list(SPECIAL_TOKENS)
    assert len(tokenizer.pieces(ids)) == len(ids)
    joined = "".join(tokenizer.pieces(ids)).replace("\u2581", " ")
    assert joined.removeprefix(" ") == "play house"
    assert tokenizer.decode([UNK_ID]) == "<unk>"


def test_the_unseen_is_unknown_to_words_and_characters(trained: dict[str, Tokenizer]) -> None:
    words = trained["word"]
    assert words.decode(words.encode("play zebra house")) == "play <unk> house"
    characters = trained["character"]
    assert characters.decode(characters.encode("pl\u03b1y")) == "pl<unk>y"


def test_bytes_that_are_no_text_still_decode(trained: dict[str, Tokenizer]) -> None:
    for kind in SUBWORD_KINDS:
        first_byte = len(SPECIAL_TOKENS)
        assert trained[kind].decode([first_byte + 0xE4, first_byte + 0x41]) == "\ufffdA"
        assert trained[kind].pieces([first_byte + 0xE4]) == ["\\xe4"]


# Training


@pytest.mark.parametrize("kind", KINDS)
def test_same_texts_give_the_same_file(kind: str, tmp_path: Path) -> None:
    shuffled = corpus()
    random.Random(5).shuffle(shuffled)
    first = digest(train_tokenizer(corpus(), options(kind)), tmp_path / "first.json")
    second = digest(train_tokenizer(iter(corpus()), options(kind)), tmp_path / "second.json")
    reordered = digest(train_tokenizer(shuffled, options(kind)), tmp_path / "third.json")
    assert first == second == reordered


TRAIN_ALL = """
import sys
from pathlib import Path
from seqloom.data.tokenizers import TokenizerOptions, train_tokenizer
from seqloom.data.tokenizers.options import KINDS
texts = Path(sys.argv[1]).read_text(encoding="utf-8").split("\\n")
for kind in KINDS:
    tokenizer = train_tokenizer(texts, TokenizerOptions(kind=kind, vocab_size=400))
    tokenizer.save(Path(sys.argv[2]) / f"{kind}.json")
"""


def test_two_processes_give_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("\n".join(corpus()), encoding="utf-8")
    source = Path(tokenizers_room.__file__).parents[3]
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", TRAIN_ALL, str(tmp_path / "texts"), str(folder)]
        subprocess.run(command, check=True, env=environment, timeout=120)
    for kind in KINDS:
        first, second = (tmp_path / seed / f"{kind}.json" for seed in ("1", "2"))
        assert first.read_bytes() == second.read_bytes()


def test_training_needs_no_torch() -> None:
    source = Path(tokenizers_room.__file__).parents[3]
    check = "import sys, seqloom.data.tokenizers; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([sys.executable, "-c", check], check=True, env=environment, timeout=60)


@pytest.mark.parametrize("kind", SUBWORD_KINDS)
def test_a_smaller_corpus_gives_a_smaller_vocabulary(kind: str) -> None:
    tokenizer = train_tokenizer(["aa bb aa"], TokenizerOptions(kind=kind))
    assert 260 < tokenizer.vocab_size < 275
    assert tokenizer.decode(tokenizer.encode("unseen")) == "unseen"


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_size_and_frequency_are_limits(kind: str) -> None:
    smaller = train_tokenizer(corpus(), TokenizerOptions(kind=kind, vocab_size=290))
    assert smaller.vocab_size <= 290
    frequent = train_tokenizer(corpus(), options(kind, min_frequency=90))
    assert frequent.vocab_size < train_tokenizer(corpus(), options(kind)).vocab_size


def test_words_are_ranked_by_frequency_and_then_by_letters() -> None:
    tokenizer = train_tokenizer(["b a c c"], options("word"))
    assert tokenizer.pieces(range(4, tokenizer.vocab_size)) == [
        "\u2581c",
        "\u2581a",
        "\u2581b",
    ]


def test_the_smallest_subword_vocabulary_is_the_bytes() -> None:
    for kind in SUBWORD_KINDS:
        tokenizer = train_tokenizer(corpus(), TokenizerOptions(kind=kind, vocab_size=260))
        assert tokenizer.vocab_size == 260
        assert tokenizer.encode("a") == [4 + ord(" "), 4 + ord("a")]


def test_unigram_explains_texts_as_well_as_the_library_does() -> None:
    texts = [marked(line) for line in corpus(2000)]
    library = subwords_file._library_tokenizer(Unigram())
    trainer = UnigramTrainer(
        vocab_size=396, initial_alphabet=subwords_file.BYTE_LETTERS, show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    vocabulary = json.loads(library.to_str())["model"]["vocab"]
    ours = train_unigram(texts, options("unigram"))
    our_ids = ours.encode_batch([text.removeprefix(" ") for text in texts])
    their_ids = [encoding.ids for encoding in library.encode_batch_fast(texts)]
    our_score = log_likelihood(ours.scores, [np.array(ids) - 4 for ids in our_ids])
    their_scores = np.array([score for _, score in vocabulary])
    their_score = log_likelihood(their_scores, [np.array(ids) for ids in their_ids])
    assert our_score > 1.02 * their_score


def log_likelihood(scores: np.ndarray, rows: list[np.ndarray]) -> float:
    scores = scores - np.log(np.exp(scores).sum())
    return float(sum(scores[ids].sum() for ids in rows))


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_tokenizer_is_the_saved_one(kind: str, tmp_path: Path) -> None:
    chosen = options(kind, lowercase=True, normalization="nfc")
    tokenizer = train_tokenizer(corpus(), chosen)
    first = digest(tokenizer, tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    texts = [*STRANGE_TEXTS, *corpus(50, seed=1)]
    assert loaded.encode_batch(texts) == tokenizer.encode_batch(texts)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert digest(loaded, tmp_path / "again.json") == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.json", "tokenizer.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_file_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    train_tokenizer(corpus(), options(kind)).save(path)
    sound = json.loads(path.read_text())
    content = next(key for key in ("merges", "pieces", "tokens") if key in sound)
    doubled = sound[content] + sound[content][:1]
    broken = [
        {**sound, "format": "other"},
        {**sound, "version": 2},
        {**sound, "options": None},
        {**sound, "options": {**sound["options"], "kind": "magic"}},
        {**sound, "options": {**sound["options"], "extra": 1}},
        {**sound, content: 5},
        {**sound, content: [7]},
        {**sound, content: [[" ", "\u4e00"]]},
        {**sound, content: doubled},
        {key: value for key, value in sound.items() if key != content},
        [sound],
    ]
    if kind == "unigram":
        broken += [
            {**sound, "scores": sound["scores"][1:]},
            {**sound, "scores": [float("nan"), *sound["scores"][1:]]},
            {**sound, "scores": ["-1", *sound["scores"][1:]]},
        ]
    texts = [json.dumps(record) for record in broken]
    for text in [*texts, "", "{", path.read_text()[:-20], "[" * 100_000]:
        path.write_text(text)
        with pytest.raises(DataError, match=r"tokenizer\.json"):
            load_tokenizer(path)


def test_an_absent_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json"):
        load_tokenizer(tmp_path / "absent.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.json"):
        load_tokenizer(tmp_path / "binary.json")


# Errors


@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ({"kind": "bpee"}, "tokenizer.kind=bpee"),
        ({"normalization": "nfd"}, "tokenizer.normalization=nfd"),
        ({"vocab_size": 259}, "tokenizer.vocab_size=259"),
        ({"kind": "unigram", "vocab_size": 259}, "tokenizer.vocab_size=259"),
        ({"kind": "character", "vocab_size": 4}, "tokenizer.vocab_size=4"),
        ({"min_frequency": 0}, "tokenizer.min_frequency=0"),
        ({"bpe_dropout": 1.0}, "tokenizer.bpe_dropout=1.0"),
        ({"kind": "word", "bpe_dropout": 0.1}, "tokenizer.bpe_dropout=0.1"),
    ],
)
def test_wrong_options_are_named(wrong: dict, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenizerOptions(**wrong)
    assert caught.value.value == value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_an_empty_corpus_is_refused(kind: str, texts: list[str]) -> None:
    with pytest.raises(DataError, match="training texts"):
        train_tokenizer(texts, options(kind))


@pytest.mark.parametrize("kind", ["word", "character", "unigram"])
def test_a_frequency_that_nothing_reaches_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"min_frequency=9.*write at most 2"):
        train_tokenizer(["a a"] if kind != "character" else ["aa"], options(kind, min_frequency=9))


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_surrogate_pair_is_refused(trained: dict[str, Tokenizer], kind: str) -> None:
    with pytest.raises(DataError, match="surrogate"):
        trained[kind].encode("bad \ud800 text")
