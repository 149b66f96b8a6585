"""`data=place_names`: the name of a language in, a place's name in the style of it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import babel
import numpy as np

from seqloom.data.batching import Batching
from seqloom.data.embedded.cldr_places import place_names
from seqloom.data.examples import ExampleData, Examples, Ragged
from seqloom.data.spec import ClassSide, DataSpec, TokenSide
from seqloom.data.tokenizers import TokenizerOptions, train_tokenizer
from seqloom.errors import ConfigError, DataError
from seqloom.sequences import EOS_ID


class PlaceNames(ExampleData):
    """One language code as a class, and a name cut by the tokenizer, with its end symbol; see
    `embedded.cldr_places`. Languages with more names have more examples.

    Args:
        languages: CLDR codes, at least one, each once.
        tokenizer: what to train on the training names.
        num_train, num_val, num_test: at most so many names of all languages together.

    The others are those of `SequenceData`.
    """

    def __init__(
        self,
        *,
        languages: Sequence[str],
        tokenizer: TokenizerOptions,
        batching: Batching,
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            vocabulary_dir=vocabulary_dir,
        )
        if not languages or len(set(languages)) < len(languages):
            raise ConfigError(
                f"data.languages=[{','.join(languages)}]",
                "each language once, and at least one, is needed",
                "write data.languages=[de,fr]",
            )
        if tokenizer.bpe_dropout:
            raise ConfigError(
                f"tokenizer.bpe_dropout={tokenizer.bpe_dropout}",
                "names are cut once",
                "write tokenizer.bpe_dropout=0",
            )
        self.languages, self.tokenizer = tuple(languages), tokenizer

    def sides(self) -> DataSpec:
        """See `ExampleData.sides`."""
        names = (name for _, name in self._pairs("train"))
        target = TokenSide(train_tokenizer(names, self.tokenizer))
        return DataSpec(source=ClassSide(self.languages), target=target)

    def make(self, split: str, spec: DataSpec) -> Examples:
        """See `ExampleData.make`."""
        assert isinstance(spec.source, ClassSide)
        assert isinstance(spec.target, TokenSide)
        pairs = self._pairs(split)
        if not pairs:
            raise DataError(f"data.{split}", "there are no names", "name more data.languages")
        for language in self.languages:
            spec.source.parse(language)  # refuses one that the run does not know
        languages, names = zip(*pairs, strict=True)
        classes = [spec.source.names.index(language) for language in languages]
        rows = spec.target.tokenizer.encode_batch(list(names))
        targets = Ragged.from_rows([np.array([*row, EOS_ID], dtype=np.int32) for row in rows])
        return Examples(np.array(classes, dtype=np.int64), targets)

    def fingerprint_parts(self, split: str) -> dict[str, object]:
        """See `ExampleData.fingerprint_parts`."""
        return {
            "languages": self.languages,
            "babel": babel.__version__,
            "tokenizer": str(self.tokenizer),
            "seed": self.seed,
        }

    def _pairs(self, split: str) -> list[tuple[str, str]]:
        """Languages and names, mixed by the seed."""
        pairs = [(code, name) for code in self.languages for name in place_names(code, split)]
        order = np.random.default_rng(self.seed).permutation(len(pairs))
        return [pairs[i] for i in order[: self.num_examples[split]]]
