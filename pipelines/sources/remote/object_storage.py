"""Object storage by fsspec's backends, which find the user's credentials and the address of the service.

This is the one file that imports fsspec, when it is asked for.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.command.errors import UserError
from pipelines.sources.remote.storage import ChangedError, RefusedError, RemoteFile

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
_PIECE = 1 << 24  # bytes per request
# Errors of botocore and of Google's libraries that concern credentials, by the names of their classes.
_OF_CREDENTIALS = (
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError"),
    *("DefaultCredentialsError", "RefreshError"),
)


class ObjectStorage:
    """A ``Storage`` behind ``s3://`` or ``gs://``.

    Raises:
        UserError: the packages are not installed.
    """

    def __init__(self, scheme: str) -> None:
        try:
            import fsspec

            self._files: Any = fsspec.filesystem(scheme, use_listings_cache=False)
        except ImportError:
            raise UserError(
                f"{scheme}:// needs fsspec and {_PACKAGES[scheme]}: pip install -e '.[remote]' in the clone"
            ) from None
        except Exception as error:
            raise UserError(f"{scheme}:// cannot be opened: {_refusal(error) or _words(error)}") from None
        self._scheme = scheme

    def stat(self, url: str) -> RemoteFile:
        """See ``Storage.stat``."""
        with _storage_errors():
            about = self._files.info(url)
        if about["type"] != "file":
            raise FileNotFoundError(url)
        return self._found(about)

    def glob(self, url: str) -> list[RemoteFile]:
        """See ``Storage.glob``."""
        with _storage_errors():
            found = self._files.glob(url, detail=True).values()
        files = [self._found(about) for about in found if about["type"] == "file"]
        return sorted(files, key=lambda file: file.url)

    def stream(self, file: RemoteFile, begin: int) -> Iterator[bytes]:
        """See ``Storage.stream``; whether the file has changed is asked at the end."""
        for position in range(begin, file.size, _PIECE):
            end = min(position + _PIECE, file.size)
            with _storage_errors():
                piece = self._files.cat_file(file.url, start=position, end=end)
            yield piece
            if len(piece) != end - position:
                return
        if self.stat(file.url).version != file.version:
            raise ChangedError

    def write(self, path: Path, url: str) -> None:
        """See ``Storage.write``."""
        with _storage_errors():
            self._files.put_file(str(path), url)

    def _found(self, about: dict[str, Any]) -> RemoteFile:
        changed = about.get("LastModified") or about.get("mtime") or about.get("updated")
        if isinstance(changed, str):
            changed = datetime.fromisoformat(changed)
        tag = about.get("ETag") or about.get("etag") or changed
        return RemoteFile(
            url=f"{self._scheme}://{about['name']}",
            size=int(about["size"]),
            version=str(tag or ""),
            modified=changed.timestamp() if changed else 0.0,
        )


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Inside, what a library raises becomes an error that a ``Storage`` raises."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        refusal = _refusal(error)
        raise (RefusedError(refusal) if refusal else OSError(_words(error))) from None


def _refusal(error: Exception) -> str:
    """Why the storage refuses; "" where the error may pass."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & set(_OF_CREDENTIALS):
        return (
            f"{_words(error)}: give credentials as the storage's own tools take them, or for a public bucket "
            "set FSSPEC_S3_ANON=true (gs://: FSSPEC_GS_TOKEN=anon)"
        )
    if isinstance(error, PermissionError) or getattr(error, "code", None) in (401, 403):
        return f"{_words(error)}: renew the credentials, or ask for access"
    if isinstance(error, OSError) and error.errno == errno.EINVAL:  # 400, which has no words of its own
        return f"{_words(error)}: the credentials may have expired"
    return ""


def _words(error: Exception) -> str:
    """The first line of what a library says."""
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return text or type(error).__name__
