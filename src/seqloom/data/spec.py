"""`DataSpec`: what a DataModule says of its problem once it is set up.

A learner is built from its config and a `DataSpec`, so no size is ever typed twice in YAML.
"""

from __future__ import annotations

from dataclasses import dataclass

from seqloom.data.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class TokenSide:
    """One side of a problem that is made of tokens.

    Attributes:
        tokenizer: turns text into ids and back; its ids 0..3 are the special ones of
            `tokenizers.base`.
    """

    tokenizer: Tokenizer

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size


@dataclass(frozen=True)
class DataSpec:
    """The sides of a problem.

    Attributes:
        source: what the model reads.
        target: what it writes.
        shared_vocabulary: both sides use one vocabulary, so embeddings may be tied across them.
    """

    source: TokenSide
    target: TokenSide
    shared_vocabulary: bool
