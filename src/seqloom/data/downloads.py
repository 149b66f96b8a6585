"""Data sets fetched on request, each file pinned by its SHA-256.

The idea: a collection is an address at one commit and a hash a file; what is there already is
verified, what is missing is fetched, and nothing unverified is ever read. The price: a changed
upstream file is an error, not news.
Refuses files with another hash (it does not overwrite them), and without a network says what to put
where by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqloom.data.cache import file_digest
from seqloom.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collection:
    """Files that lie side by side under one address.

    Attributes:
        name: as the user calls it.
        base_url: with the slash at its end.
        sha256: file name to hash, in hexadecimal.
    """

    name: str
    base_url: str
    sha256: Mapping[str, str]


TEST = "test_2016_flickr"

# Task 1 (translated captions, untokenised) of Elliott et al., "Multi30K: Multilingual
# English-German Image Descriptions", 2016.
MULTI30K = Collection(
    name="multi30k",
    base_url=(
        "https://raw.githubusercontent.com/multi30k/dataset/"
        "a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
    ),
    sha256={
        "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
        "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
        "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
        "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
        f"{TEST}.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
        f"{TEST}.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    },
)


def download(collection: Collection, root: Path) -> None:
    """Puts every file of `collection` into `root` (made if absent): verifies what is there, fetches
    the rest.

    Raises `DataError` for a file with another hash, or when the address cannot be reached.
    """
    missing = [name for name in collection.sha256 if not _verified(collection, root / name)]
    if not missing:
        return
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # it prints a line a file on its own
    logger.info("downloading %s of %s into %s", ", ".join(missing), collection.name, root)
    for name in missing:
        try:
            pooch.retrieve(
                collection.base_url + name,
                known_hash=f"sha256:{collection.sha256[name]}",
                fname=name,
                path=root,
            )
        except (OSError, ValueError) as error:  # no network, HTTP error, no room; hash mismatch
            cause = " ".join(str(error).split())
            raise DataError(
                f"{collection.base_url}{name}",
                f"cannot be fetched ({type(error).__name__}: {cause[:200]})",
                f"put {', '.join(missing)} from {collection.base_url} into {root} by hand",
            ) from error


def _verified(collection: Collection, path: Path) -> bool:
    """Whether `path` is there; with other bytes than the pinned ones it is a `DataError`."""
    if not path.is_file():
        return False
    found = file_digest(path)
    expected = collection.sha256[path.name]
    if found != expected:
        why = f"its SHA-256 is {found[:16]}..., {collection.name} has {expected[:16]}..."
        raise DataError(
            str(path), why, "delete it, it is fetched again, or set data.download=false"
        )
    return True
