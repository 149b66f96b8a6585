"""Laws of downloads, over a loopback server: verified, never overwritten, helpful when offline."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqloom.data.downloads import MULTI30K, Collection, download
from seqloom.errors import DataError

FILES = {"train.en.gz": b"one", "train.de.gz": b"eins"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a folder that is served, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/", folder
        running.shutdown()
        thread.join()


def collection(base_url: str) -> Collection:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    return Collection("tiny", base_url, hashes)


def test_fetches_what_is_missing_and_then_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = server
    root = tmp_path / "data" / "tiny"
    download(collection(address), root)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == FILES
    for path in folder.iterdir():
        path.unlink()
    download(collection(address), root)  # all there: the server is not asked


def test_a_file_with_other_bytes_is_named_and_kept(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "train.de.gz"
    path.write_bytes(b"my own")
    with pytest.raises(DataError, match="SHA-256") as caught:
        download(collection(server[0]), tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"my own"


def test_an_upstream_that_changed_is_refused(server: tuple[str, Path], tmp_path: Path) -> None:
    (server[1] / "train.en.gz").write_bytes(b"changed")
    root = tmp_path / "data"
    with pytest.raises(DataError, match="cannot be fetched"):
        download(collection(server[0]), root)
    assert not (root / "train.en.gz").exists()


def test_without_a_network_says_what_to_put_where(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as closed:
        address = f"http://127.0.0.1:{closed.server_address[1]}/"
    with pytest.raises(DataError) as caught:
        download(collection(address), tmp_path)
    assert caught.value.instead == (
        f"put train.en.gz, train.de.gz from {address} into {tmp_path} by hand"
    )
    assert "\n" not in str(caught.value)


def test_the_pinned_corpus_is_the_one_we_know(shared_data: Path) -> None:
    download(
        MULTI30K, shared_data / "multi30k"
    )  # verifies; nothing is missing, so nothing is fetched
