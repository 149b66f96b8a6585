"""`DataSpec`: what a DataModule says of its problem once it is set up.

A learner is built from its config and a `DataSpec`, so no size is ever typed twice in YAML. A side
is made of tokens (text cut by a tokenizer), of classes (a few named ids), of features (vectors of
numbers) or of clips (pictures in time); it is a sequence or one value for each example, which the
task's topology knows. A side also reads and writes itself as a line of text, which is what
`predict` takes and gives; the line of a clip is its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqloom.data.tokenizers.base import Tokenizer
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import DataError


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

    def parse(self, text: str) -> Tensor:
        """Ids [T] int64 of a line, without special symbols."""
        (ids,) = self.tokenizer.encode_batch([text])
        return torch.tensor(ids, dtype=torch.int64)

    def format(self, values: Tensor) -> str:
        """The text of ids [T]."""
        return self.tokenizer.decode(values.tolist())


@dataclass(frozen=True)
class ClassSide:
    """One side that is made of a few named classes; the id of a class is its place.

    Attributes:
        names: of all classes, in the order of their ids.
    """

    names: tuple[str, ...]

    @property
    def vocab_size(self) -> int:
        return len(self.names)

    def parse(self, text: str) -> Tensor:
        """Ids [T] int64 of names with white space between them.

        Raises DataError for a name that is no class.
        """
        ids = []
        for name in text.split():
            if name not in self.names:
                known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
                raise DataError(name, "is no class of this run", f"write one of {known}")
            ids.append(self.names.index(name))
        return torch.tensor(ids, dtype=torch.int64)

    def format(self, values: Tensor) -> str:
        """The names of ids [T] (or of one id []), with a space between them."""
        return " ".join(self.names[index] for index in values.reshape(-1).tolist())


@dataclass(frozen=True)
class FeatureSide:
    """One side that is made of vectors of numbers.

    Attributes:
        size: F, numbers in a vector.
        binary: every number is 0 or 1.
    """

    size: int
    binary: bool = False

    def parse(self, text: str) -> Tensor:
        """[T, F] float32 of numbers with white space between them, vector after vector.

        Raises DataError for what is no number, or no whole number of vectors.
        """
        try:
            numbers = [float(word) for word in text.split()]
        except ValueError as error:
            raise DataError(text[:40], str(error), "write numbers with spaces between") from None
        if len(numbers) % self.size:
            raise DataError(
                text[:40],
                f"{len(numbers)} numbers are no whole number of vectors of {self.size}",
                f"write {self.size} numbers for each step",
            )
        return torch.tensor(numbers, dtype=torch.float32).reshape(-1, self.size)

    def format(self, values: Tensor) -> str:
        """Numbers of [..., F] in six digits, with a space between them."""
        return " ".join(f"{number:.6g}" for number in values.reshape(-1).tolist())


@dataclass(frozen=True)
class VideoSide:
    """One side that is made of clips.

    Attributes:
        sampling: which frames of a clip are looked at.
        transform: what is done to them.
    """

    sampling: FrameSampling
    transform: ClipTransform

    @property
    def height(self) -> int:
        return self.transform.height

    @property
    def width(self) -> int:
        return self.transform.width

    def parse(self, text: str) -> Tensor:
        """uint8 [T, 3, height, width] of the clip at the path `text`, as in an evaluation.

        Raises DataError for what is no clip.
        """
        return self.read(text)[1]

    def read(self, text: str) -> tuple[np.ndarray, Tensor]:
        """The times [T] in seconds (float64) of the frames that `parse` gives, and those frames."""
        from seqloom.data.video.reader import open_clip

        with open_clip(Path(text).expanduser()) as clip:
            rows = self.sampling.choose(clip.times_s, None)
            return clip.times_s[rows], self.transform(clip.read(rows), None)

    def format(self, values: Tensor) -> str:
        """What a clip [T, ...] is; its pixels are no line of text."""
        return f"clip of {len(values)} frames"


Side = TokenSide | ClassSide | FeatureSide | VideoSide


@dataclass(frozen=True)
class DataSpec:
    """The sides of a problem.

    Attributes:
        source: what the model reads.
        target: what it writes.
        shared_vocabulary: both sides use one vocabulary, so embeddings may be tied across them.
    """

    source: Side
    target: Side
    shared_vocabulary: bool = False

    def tokens(self) -> tuple[TokenSide, TokenSide]:
        """Both sides, of a problem with text on both."""
        assert isinstance(self.source, TokenSide)
        assert isinstance(self.target, TokenSide)
        return self.source, self.target
