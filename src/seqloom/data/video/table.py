"""`data=video_csv` and `data=video_captions`: clips that a table lists, with a class or a sentence.

The one idea: which split a row belongs to is told by a column whose values need not be names of
splits, so that people, scenes or recordings are kept apart (split_column=subject, val_groups=[S5],
test_groups=[S6]). Refuses a group that no row has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqloom.data.batching import Batching
from seqloom.data.module import SPLITS
from seqloom.data.text_files import find_text
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.data.video.clip_tables import ENDINGS, table_clips
from seqloom.data.video.clips import Clip
from seqloom.data.video.folder import checked_share
from seqloom.data.video.module import VideoData
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.splits import Splits, completed, drawn
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError, DataError


class VideoCsv(VideoData):
    """The clips of one table, divided by a column, or of a table for each split; see `clip_tables`.

    Args:
        path: the table of all splits.
        root: folder of `train`, `val` and `test`, where each split has its table; None: here.
        train, val, test: those tables, with or without their endings.
        input_column, target_column: the path of a clip, and its class or sentence.
        split_column: of `path`: tells groups; None: 70%, 15% and 15%, drawn by the seed.
        train_groups: values of that column; None: all that are not for validation or test.
        val_groups, test_groups: likewise; None: none.
        val_share: of the training clips, for validation, where no clip is.

    The others are those of `VideoData`.
    """

    def __init__(
        self,
        *,
        sampling: FrameSampling,
        transform: ClipTransform,
        batching: Batching,
        path: str | None = None,
        root: str | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        input_column: str = "path",
        target_column: str = "label",
        split_column: str | None = "split",
        train_groups: Sequence[str] | None = None,
        val_groups: Sequence[str] | None = ("val",),
        test_groups: Sequence[str] | None = ("test",),
        val_share: float = 0.1,
        on_error: str = "raise",
        tokenizer: TokenizerOptions | None = None,
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
        self._names = {"train": train, "val": val, "test": test}
        self._path, self._folder = path, Path(root or ".").expanduser()
        if (path is None) == (train is None):
            raise ConfigError(
                f"data.path={path or 'null'} data.train={train or 'null'}",
                "one table for all splits, or one for each",
                "set data.path=FILE, or data.root=DIR with data.train, data.val and data.test",
            )
        if path is not None and (val or test):
            raise ConfigError(
                f"data.path={path}",
                "one table for all splits, and one for some of them",
                "write null for data.val and data.test",
            )
        self.columns = (input_column, target_column, split_column)
        groups = {"train": train_groups, "val": val_groups, "test": test_groups}
        self.groups = {split: tuple(map(str, names or ())) for split, names in groups.items()}
        self.val_share = checked_share(val_share)
        self._divided: Splits = {}

    def clips(self, split: str) -> list[Clip]:
        """See `VideoData.clips`."""
        if self._path is None and split != "train" and self._names[split] is not None:
            return self._table(split)  # of an evaluation only its own table is read
        if not self._divided:
            self._divided = self._divide()
        return self._divided[split]

    def _divide(self) -> Splits:
        by_target = not self.has_text
        if self._path is None:
            splits = {split: self._table(split) for split in SPLITS if self._names[split]}
        else:
            path = Path(self._path).expanduser()
            source, target, group = self.columns
            clips = table_clips(path, input_column=source, target_column=target, group_column=group)
            if group is None:
                return drawn(clips, seed=self.seed, by_target=by_target)
            splits = self._grouped(clips, path)
        return completed(splits, val_share=self.val_share, seed=self.seed, by_target=by_target)

    def _table(self, split: str) -> list[Clip]:
        name = str(self._names[split])
        present = (p for end in ENDINGS if (p := self._folder / f"{name}{end}").is_file())
        path = next(present, None) or find_text(self._folder, name)
        return table_clips(
            path, input_column=self.columns[0], target_column=self.columns[1], group_column=None
        )

    def _grouped(self, clips: list[Clip], path: Path) -> Splits:
        """Splits by the groups of rows; those for which there is no group are absent."""
        known = sorted({clip.group for clip in clips})
        groups = {split: names or () for split, names in self.groups.items()}
        for split in ("val", "test"):
            # The usual name, which a list may lack: that says nothing is wrong with it.
            if groups[split] == (split,) and split not in known:
                groups[split] = ()
        others = {*groups["val"], *groups["test"]}
        groups["train"] = groups["train"] or tuple(name for name in known if name not in others)
        column = self.columns[2]
        listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        for split, names in groups.items():
            if unknown := [name for name in names if name not in known]:
                why = f"no row has {column} {unknown[0]} (data.{split}_groups)"
                raise DataError(str(path), why, f"write some of {listed}")
        if not groups["train"]:
            why = f"no row is for training: every {column} ({listed}) is for validation or the test"
            raise DataError(str(path), why, "name fewer in data.val_groups or data.test_groups")
        return {
            split: [clip for clip in clips if clip.group in names]
            for split, names in groups.items()
            if names
        }


class VideoCaptions(VideoCsv):
    """Clips with a sentence each; a clip with several sentences has a row for each of them.

    The arguments are those of `VideoCsv`; `tokenizer` is what to train on the training sentences.
    """

    has_text = True
