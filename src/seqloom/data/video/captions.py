"""`data=grid`: clips of the GRID corpus, whose names are what is said in them.

Cooke et al., "An audio-visual corpus for speech perception and automatic speech recognition", JASA,
2006: six words by a grammar of six places. A folder of a speaker holds bbaf2n.mpg, which is "bin
blue at f two now". The splits are drawn by the seed over all clips; the price: every speaker is in
all of them. Refuses a clip whose name is no sentence.
"""

from __future__ import annotations

import string
from pathlib import Path

from seqloom.data.batching import Batching
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.data.video.clips import Clip, clips_under, require_folder
from seqloom.data.video.module import VideoData
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.splits import Splits, drawn
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError, DataError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES: tuple[tuple[str, dict[str, str]], ...] = (
    ("command", {word[0]: word for word in ("bin", "lay", "place", "set")}),
    ("colour", {word[0]: word for word in ("blue", "green", "red", "white")}),
    ("preposition", {word[0]: word for word in ("at", "by", "in", "with")}),
    ("letter", {letter: letter for letter in string.ascii_lowercase if letter != "w"}),
    ("digit", {"z": "zero"} | {str(number): word for number, word in enumerate(DIGITS) if number}),
    ("adverb", {word[0]: word for word in ("again", "now", "please", "soon")}),
)


def sentence_of(path: Path) -> str:
    """What is said in the clip: `bbaf2n` is "bin blue at f two now".

    Raises DataError for a name that is no sentence.
    """
    name = path.name if path.is_dir() else path.stem
    if len(name) != len(PLACES):
        raise DataError(
            str(path), f"the name has {len(name)} letters, a sentence six", "move it elsewhere"
        )
    words = []
    for letter, (place, known) in zip(name.lower(), PLACES, strict=True):
        if letter not in known:
            raise DataError(
                str(path),
                f"{letter} of its name is no {place} ({', '.join(known)})",
                "move it elsewhere",
            )
        words.append(known[letter])
    return " ".join(words)


class Grid(VideoData):
    """Clips anywhere under a folder, with the sentences of their names.

    Args:
        root: the folder.
        tokenizer: what to train on the training sentences.

    The others are those of `VideoData`.
    """

    has_text = True

    def __init__(
        self,
        *,
        sampling: FrameSampling,
        transform: ClipTransform,
        tokenizer: TokenizerOptions | None,
        batching: Batching,
        root: str | None,
        on_error: str = "raise",
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 1,
        num_workers: int = 0,
        cache_dir: str | None = None,
        vocabulary_dir: Path | None = None,
    ) -> None:
        super().__init__(
            sampling=sampling,
            transform=transform,
            on_error=on_error,
            tokenizer=tokenizer,
            batching=batching,
            num_train=num_train,
            num_val=num_val,
            num_test=num_test,
            seed=seed,
            num_workers=num_workers,
            cache_dir=cache_dir,
            vocabulary_dir=vocabulary_dir,
        )
        if root is None:
            raise ConfigError("data.root=null", "the clips have no folder", "set data.root=DIR")
        self._folder = Path(root).expanduser()
        self._divided: Splits = {}

    def clips(self, split: str) -> list[Clip]:
        """See `VideoData.clips`."""
        if not self._divided:
            root = require_folder(self._folder, "data.root")
            clips = [
                Clip(path, sentence_of(path), str(path.relative_to(root)), str(path))
                for path in clips_under(root)
            ]
            if not clips:
                raise DataError(
                    str(root), "there is no clip in it", "set data.root to the folder of clips"
                )
            self._divided = drawn(clips, seed=self.seed, by_target=False)
        return self._divided[split]
