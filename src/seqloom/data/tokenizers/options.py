"""`TokenizerOptions`: which tokeniser to train; the schema of the config group `tokenizer`."""

from __future__ import annotations

from dataclasses import dataclass

from seqloom.data.tokenizers.base import SPECIAL_TOKENS
from seqloom.errors import ConfigError

KINDS = ("bpe", "unigram", "word", "whitespace", "character")
NORMALIZATIONS = ("none", "nfc", "nfkc")
NUM_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """What a tokeniser is trained to be.

    Attributes:
        kind: bpe (Sennrich et al. 2016) and unigram (Kudo 2018), both over UTF-8 bytes, so that
            nothing is unknown to them; word (words and punctuation), whitespace (what lies between
            spaces, of text that is already tokenised) and character, where the unseen is `<unk>`.
        vocab_size: the most ids there may be, special ones included; fewer where the texts hold
            fewer pieces.
        min_frequency: what is seen less often is left out: words, characters, pairs to merge (bpe),
            words to learn from (unigram).
        shared: one tokeniser for both sides of a problem.
        bpe_dropout: how often a merge is dropped in training (Provilkov et al. 2020), in 0..1, 1
            excluded; bpe only.
        lowercase: lower-case every text.
        normalization: Unicode normal form given to every text: none, nfc or nfkc.
    """

    kind: str = "bpe"
    vocab_size: int = 10000
    min_frequency: int = 1
    shared: bool = True
    bpe_dropout: float = 0.0
    lowercase: bool = False
    normalization: str = "none"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"tokenizer.kind={self.kind}", "there is no such tokeniser", _one_of(KINDS)
            )
        if self.normalization not in NORMALIZATIONS:
            raise ConfigError(
                f"tokenizer.normalization={self.normalization}",
                "there is no such normal form",
                _one_of(NORMALIZATIONS),
            )
        self._check_vocab_size()
        if self.min_frequency < 1:
            raise ConfigError(
                f"tokenizer.min_frequency={self.min_frequency}",
                "nothing occurs less than once",
                "write 1 to keep everything",
            )
        if not 0 <= self.bpe_dropout < 1:
            raise ConfigError(
                f"tokenizer.bpe_dropout={self.bpe_dropout}",
                "a probability below 1 is needed",
                "write 0 for none, 0.1 as in the paper",
            )
        if self.bpe_dropout and self.kind != "bpe":
            raise ConfigError(
                f"tokenizer.bpe_dropout={self.bpe_dropout}",
                f"a {self.kind} tokeniser has no merges to drop",
                "write tokenizer.bpe_dropout=0 or tokenizer=bpe",
            )

    def _check_vocab_size(self) -> None:
        num_special = len(SPECIAL_TOKENS)
        if self.kind in ("bpe", "unigram"):
            least, why = NUM_BYTES + num_special, f"{NUM_BYTES} bytes and {num_special} special ids"
        else:
            least, why = num_special + 1, f"{num_special} special ids and one more"
        if self.vocab_size < least:
            raise ConfigError(
                f"tokenizer.vocab_size={self.vocab_size}",
                f"a {self.kind} vocabulary begins with {why}",
                f"write at least {least}",
            )


def _one_of(names: tuple[str, ...]) -> str:
    return f"write {', '.join(names[:-1])} or {names[-1]}"
