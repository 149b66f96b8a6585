"""`data=cldr`: phrases of the Unicode CLDR in two languages, made on the spot; nothing is
downloaded.
"""

from __future__ import annotations

from pathlib import Path

import babel

from seqloom.data import embedded
from seqloom.data.buffers import TextBuffer
from seqloom.data.cache import file_digest
from seqloom.data.embedded.cldr import phrase_pairs
from seqloom.data.text_pairs import TextPairs
from seqloom.errors import ConfigError

CODE = Path(embedded.__file__).parent


class CldrPhrases(TextPairs):
    """`num_train`, `num_val` and `num_test` phrases (none may be None), chosen by `seed`; see
    `embedded.cldr`.
    """

    def read(self, split: str) -> tuple[TextBuffer, TextBuffer]:
        """See `TextPairs.read`."""
        number = self.num_examples[split]
        if number is None:
            raise ConfigError(
                f"data.num_{split}=null", "phrases have no natural end", "write a number"
            )
        languages = self.source_language, self.target_language
        return phrase_pairs(*languages, number, seed=self.seed, split=split)

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `TextPairs.fingerprint_parts`."""
        return {
            "source": self.source_language,
            "target": self.target_language,
            "seed": self.seed,
            "babel": babel.__version__,
            "code": [file_digest(path) for path in sorted(CODE.glob("cldr*.py"))],
        }
