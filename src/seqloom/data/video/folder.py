"""`data=video_folder`: clips in folders of their classes, with the splits that their data set
publishes or without any.

A split folder decides, where root/train is there; else the lists that `splits` names; else the seed
(70% of each class for training, 15% for validation, 15% for the test).
"""

from __future__ import annotations

from pathlib import Path

from seqloom.data.batching import Batching
from seqloom.data.module import SPLITS
from seqloom.data.video.clips import Clip, class_folders, require_folder
from seqloom.data.video.module import VideoData
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.splits import Splits, completed, drawn, official
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError, DataError

LISTS = ("ucf101", "hmdb51", "kinetics")
MAX_NUMBER = 3  # UCF101 and HMDB51 publish so many splits


class VideoFolder(VideoData):
    """Clips at root/{train,val,test}/CLASS/clip, or at root/CLASS/clip.

    Args:
        root: the folder.
        splits: ucf101, hmdb51 or kinetics: whose lists divide root/CLASS/clip (of Kinetics a clip
            may lie anywhere under root); None: drawn by the seed.
        split_files: folder of those lists.
        split_number: which of the three splits of UCF101 and HMDB51.
        val_share: of the training clips of each class, for validation, where there is no validation
            split.

    The others are those of `VideoData`.
    """

    def __init__(
        self,
        *,
        sampling: FrameSampling,
        transform: ClipTransform,
        batching: Batching,
        root: str | None,
        splits: str | None = None,
        split_files: str | None = None,
        split_number: int = 1,
        val_share: float = 0.1,
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
            tokenizer=None,
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
        if splits is not None and splits not in LISTS:
            raise ConfigError(
                f"data.splits={splits}", "is not known", f"use {', '.join(LISTS)} or null"
            )
        if (splits is None) != (split_files is None):
            raise ConfigError(
                f"data.splits={splits or 'null'} data.split_files={split_files or 'null'}",
                "lists have a kind and a folder",
                "set both, or write null for both",
            )
        if not 1 <= split_number <= MAX_NUMBER:
            raise ConfigError(
                f"data.split_number={split_number}", "there is no such list", "use 1, 2 or 3"
            )
        self.val_share = checked_share(val_share)
        self._folder = Path(root).expanduser()
        self._lists, self._lists_folder, self._number = splits, split_files, split_number
        self._divided: Splits = {}

    def clips(self, split: str) -> list[Clip]:
        """See `VideoData.clips`."""
        root = require_folder(self._folder, "data.root")
        folders = [name for name in SPLITS if (root / name).is_dir()]
        if self._lists is None and "train" in folders:
            # Of an evaluation only its own folder is read.
            if split == "test" and split in folders:
                return class_folders(root / split)
            if split == "val" and split in folders:
                return class_folders(root / split)
        if not self._divided:
            self._divided = self._divide(root, folders)
        return self._divided[split]

    def _divide(self, root: Path, folders: list[str]) -> Splits:
        """All three splits."""
        if self._lists is not None:
            assert self._lists_folder is not None
            clips = official(
                self._lists,
                root,
                require_folder(Path(self._lists_folder).expanduser(), "data.split_files"),
                number=self._number,
                skip_missing=self.on_error == "skip",
            )
            splits: Splits = {}
            for clip in clips:
                splits.setdefault(clip.group, []).append(clip)
            if "train" not in splits:
                raise DataError(
                    self._lists_folder, "its lists have no training clip", "get them anew"
                )
        elif "train" in folders:
            splits = {split: class_folders(root / split) for split in folders}
        elif folders:
            raise DataError(
                str(root), f"has a folder {folders[0]} and none called train", "add root/train"
            )
        else:
            return drawn(class_folders(root), seed=self.seed)
        return completed(splits, val_share=self.val_share, seed=self.seed)


def checked_share(share: float) -> float:
    """A share that leaves something; else a ConfigError."""
    if not 0 < share < 1:
        raise ConfigError(
            f"data.val_share={share}", "is no share that leaves something", "write 0.1 for a tenth"
        )
    return share
