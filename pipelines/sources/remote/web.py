"""Files on the web, by the standard library: whole, or from a byte on where the server can."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path

from pipelines.sources.remote.storage import ChangedError, RefusedError, RemoteFile

_TIMEOUT = 60.0  # seconds without a byte
_PIECE = 1 << 20  # bytes read at a time
_MAY_PASS = (408, 425, 429)  # status codes below 500 that are worth another try


class WebStorage:
    """A ``Storage`` behind ``https://`` or ``http://``."""

    def stat(self, url: str) -> RemoteFile:
        """See ``Storage.stat``."""
        with _request(url, "HEAD") as answer:
            length = answer.headers.get("Content-Length", "")
            if not length.isdecimal():
                raise RefusedError("the server does not tell its size")
            return RemoteFile(
                url=url,
                size=int(length),
                version=_version(answer.headers),
                modified=_modified(answer.headers),
            )

    def glob(self, url: str) -> list[RemoteFile]:
        """See ``Storage.glob``; the web has no lists."""
        raise RefusedError(
            "the web has no lists of files: give a range in braces, as in train-{000..146}.tar"
        )

    def stream(self, file: RemoteFile, begin: int) -> Iterator[bytes]:
        """See ``Storage.stream``."""
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        with _request(file.url, "GET", headers) as answer:
            if _version(answer.headers) != file.version:
                raise ChangedError
            position = begin if answer.status == http.client.PARTIAL_CONTENT else 0
            while piece := answer.read(_PIECE):
                if position + len(piece) > begin:
                    yield piece[max(begin - position, 0) :]
                position += len(piece)

    def write(self, path: Path, url: str) -> None:
        """See ``Storage.write``; the web is read only."""
        raise RefusedError("files can be written to s3:// and gs://, not to the web")


@contextmanager
def _request(
    url: str, method: str, headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(url) from None
        if error.code < 500 and error.code not in _MAY_PASS:
            raise RefusedError(f"the server answers {error.code} {error.reason}") from None
        raise OSError(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise RefusedError(f"its certificate is not trusted: {error.reason.verify_message}") from None
        raise OSError(str(error.reason)) from None


def _version(headers: Message) -> str:
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")


def _modified(headers: Message) -> float:
    try:
        return parsedate_to_datetime(headers["Last-Modified"]).timestamp()
    except (TypeError, ValueError):
        return 0.0
