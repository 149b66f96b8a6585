"""What every tokeniser is: text to ids and back, with four fixed special ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")  # in the order of the ids of `sequences`
# Not imported from there: tokenisers do without torch.
EOS_ID, UNK_ID = SPECIAL_TOKENS.index("<eos>"), SPECIAL_TOKENS.index("<unk>")


class Tokenizer(Protocol):
    """Text to ids and back: `decode(encode(text)) == normalize(text)` where nothing is unknown.

    A text that spells a special token (`<eos>`) is text: `encode` never gives a special id but
    `<unk>`.
    """

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special ones included."""
        ...

    def normalize(self, text: str) -> str:
        """The text as it is encoded: in its normal form, lower-cased where asked."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids without begin and end symbol."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, faster."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; padding, begin and end symbols are left out, an unknown reads `<unk>`."""
        ...

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """One readable piece for each id, for reports and attention pictures."""
        ...

    def save(self, path: Path) -> None:
        """Writes one JSON file that `load_tokenizer` reads."""
        ...
