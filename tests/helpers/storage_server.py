"""A web server on loopback that counts what it hands out, and fails as storages do when it is told to."""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

# What happens to a request in place of its answer; "truncated": a whole answer of half the bytes.
Fault = Literal["500", "503", "403", "cut", "truncated"]


class StorageServer:
    """Files of a folder, or whatever a server behind it answers (``upstream``, a port of this machine).

    Args:
        folder: its files are served below "/"; None: a proxy.
        upstream: port of the server behind a proxy.
    """

    def __init__(self, folder: Path | None = None, upstream: int = 0, *, ranges: bool = True) -> None:
        self.folder, self.upstream, self.ranges = folder, upstream, ranges
        self.faults: deque[Fault] = deque()
        """Faults of the next requests for contents, one each."""
        self.served: Counter[str] = Counter()
        """Bytes of contents that were sent, by the last part of the path."""
        self.begun: Counter[str] = Counter()
        """Requests for contents that begin at the first byte."""
        self.lock = threading.Lock()
        owner = self

        class Handler(_Handler):
            server_owner = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def storage_server(folder: Path, *, ranges: bool = True) -> Iterator[StorageServer]:
    """Serve a folder."""
    server = StorageServer(folder, ranges=ranges)
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_owner: StorageServer

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        owner = self.server_owner
        name = self.path.partition("?")[0].rpartition("/")[2]
        is_content = self.command == "GET" and re.search(r"\.(tar|parquet)$", name) is not None
        with owner.lock:
            fault = owner.faults.popleft() if is_content and owner.faults else None
        if fault in ("500", "503", "403"):
            self._send(int(fault), {}, b"")
            return
        status, headers, body = self._found() if owner.folder else self._forwarded()
        if fault is not None:
            half = body[: len(body) // 2]
            sent = dict(headers, **{"Content-Length": str(len(half if fault == "truncated" else body))})
            self._send(status, sent, half)
            self.close_connection = True
            return
        if is_content and status < 300:
            begin = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if status == 206 else None
            with owner.lock:
                owner.served[name] += len(body)
                owner.begun[name] += begin is None or begin[1] == "0"
        self._send(status, headers, body)

    do_HEAD = do_GET = do_PUT = do_POST = _answer

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _found(self) -> tuple[int, dict[str, str], bytes]:
        owner = self.server_owner
        assert owner.folder is not None
        path = owner.folder / self.path.lstrip("/")
        if not path.is_file():
            return 404, {}, b""
        body, about = path.read_bytes(), path.stat()
        headers = {
            "ETag": f'"{hash(body):x}"',
            "Last-Modified": formatdate(about.st_mtime, usegmt=True),
            "Content-Length": str(len(body)),
        }
        begin = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if begin is None or not owner.ranges:
            return 200, headers, body
        part = body[int(begin[1]) :]
        return 206, headers | {"Content-Length": str(len(part))}, part

    def _forwarded(self) -> tuple[int, dict[str, str], bytes]:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behind = HTTPConnection("127.0.0.1", self.server_owner.upstream, timeout=30)
        behind.request(self.command, self.path, content, dict(self.headers))
        answer = behind.getresponse()
        body = answer.read()
        skipped = ("transfer-encoding", "connection", "content-length", "server", "date")
        headers = {key: value for key, value in answer.getheaders() if key.lower() not in skipped}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        behind.close()
        return answer.status, headers | {"Content-Length": length or "0"}, body
