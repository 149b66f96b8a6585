"""The server behind the page of `seqloom watch`: this machine only, and only to look.

It gives three things: the page, its state as JSON, and the report.html of the jobs that are shown.
Whoever asks under another name than this machine's own is refused (a foreign page could otherwise
have its own name point here and read along), and so is every method that is no reading. A report
comes from a run folder, which may be anybody's: its script runs in a sandbox that can reach
nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from seqloom.errors import ConfigError
from seqloom.tracking.watch import Page
from seqloom.tracking.watch.page import STATE
from seqloom.tracking.watch.state import REPORT

HOST = "127.0.0.1"
_ASKED_S = 30.0
_SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class PageServer:
    """Serves `page` from a thread of its own until it is closed; a context manager.

    Args:
        root: what is watched; nothing outside of it is served.
        port: 0 takes a free one.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, page: Page, root: Path, port: int) -> None:
        self.page = page
        self._root = root
        self._lock = threading.Lock()
        self._state, self._tag = b"{}", '""'
        self._folders: frozenset[str] = frozenset()
        self._asked_s = time.monotonic()
        try:
            self._server = _Server((HOST, port), self)
        except OSError as error:
            why = f"it cannot be used ({os.strerror(error.errno or 0).lower()})"
            mend = "write another, or port=0, which takes a free one"
            raise ConfigError(f"port={port}", why, mend) from None
        self.port = int(self._server.server_address[1])
        self.hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        if self.port == 80:
            self.hosts |= {HOST, "localhost"}
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def is_asked(self) -> bool:
        """Whether anybody looked lately; else nobody need make a new state."""
        return time.monotonic() - self._asked_s < _ASKED_S

    def publish(self, state: dict[str, Any], folders: Iterable[str]) -> None:
        """What the page shows from now on, and the folders of jobs (relative to the root) of which
        the report is served."""
        text = json.dumps(state, separators=(",", ":"), allow_nan=False).encode()
        tag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
        with self._lock:
            self._state, self._tag, self._folders = text, tag, frozenset(folders)

    def state(self) -> tuple[bytes, str]:
        """The state as JSON, and a tag that changes with it."""
        self._asked_s = time.monotonic()
        with self._lock:
            return self._state, self._tag

    def report(self, path: str) -> bytes | None:
        """The file at the path of an address; None where it is no report of a job that is shown,
        or lies outside of the root, where a link may lead."""
        folder, _, name = unquote(path).lstrip("/").rpartition("/")
        if name != REPORT or (folder or ".") not in {*self._folders, "."}:
            return None
        try:
            file = (self._root / folder / REPORT).resolve(strict=True)
            is_inside = file.is_relative_to(self._root.resolve(strict=True))
            if not is_inside or not stat.S_ISREG(file.stat().st_mode):
                return None
            return file.read_bytes()
        except (OSError, ValueError, RuntimeError):
            return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], pages: PageServer) -> None:
        self.pages = pages
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that went away in the middle is none of the user's business."""


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "seqloom", ""
    timeout = 30  # Of a connection that says nothing.

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        pages, path = self.server.pages, urlsplit(self.path).path
        if self.headers.get("Host") not in pages.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, f"write {pages.address}")
        elif path == "/":
            self._send(pages.page.html.encode(), "text/html; charset=utf-8", pages.page.policy)
        elif path == STATE:
            self._send_state(*pages.state())
        elif (report := pages.report(path)) is not None:
            self._send(report, "text/html; charset=utf-8", _SANDBOX)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this server is only to be looked at")

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal shows the runs."""

    def _send_state(self, text: bytes, tag: str) -> None:
        if self.headers.get("If-None-Match") == tag:
            self._begin(HTTPStatus.NOT_MODIFIED, {"ETag": tag})
            return
        self._send(text, "application/json", "default-src 'none'", tag=tag)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        text = f"{status.phrase}: {why}\n".encode()
        self._send(text, "text/plain; charset=utf-8", "default-src 'none'", status=status)

    def _send(
        self,
        body: bytes,
        kind: str,
        policy: str,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        tag: str | None = None,
    ) -> None:
        headers = {"Content-Type": kind, "Content-Length": str(len(body))}
        headers |= {"Content-Security-Policy": policy, **({} if tag is None else {"ETag": tag})}
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers |= {"Allow": "GET, HEAD"}
        self._begin(status, headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | headers).items():
            self.send_header(name, value)
        self.end_headers()
