"""A part that nothing reads, and data that a task cannot read, are refused in one line."""

import pytest

from seqloom.config.fit import check_fit
from seqloom.config.overrides import compose_config
from seqloom.errors import ConfigError


def check(*settings: str) -> None:
    check_fit(compose_config(settings), settings)


@pytest.mark.parametrize(
    "settings",
    [
        ("task=translation", "attention=dot", "tokenizer=word", "decoding.beam_size=3"),
        ("task=translation", "attention=none", "data=multi30k", "data.root=here"),
        ("task=adding", "cell=gru", "output=squared", "batching.batch_size=8", "attention=none"),
        ("task=language_modeling", "decoding.top_k=5", "tokenizer=bpe", "batching=windows"),
    ],
)
def test_parts_that_are_read_are_accepted(settings: tuple[str, ...]) -> None:
    check(*settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("task=adding", "attention=dot"), "attention=dot"),
        (("task=adding", "decoding=beam"), "decoding=beam"),
        (("task=parity", "tokenizer=word"), "tokenizer=word"),
        (("task=language_modeling", "attention=general"), "attention=general"),
        (("task=translation", "data=adding"), "cldr, multi30k, parallel_text"),
        (("task=adding", "data=cldr"), "choose one of adding"),
    ],
)
def test_what_would_be_ignored_is_an_error(settings: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check(*settings)
