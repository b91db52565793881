"""Address of a remote data set: its files, and options behind them."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipelines.command.errors import UserError
from pipelines.sources.parquet.columns import Asked

CACHE_BYTES = 50 * 10**9  # of the cache of shards, where the user does not say
_OPTIONS = re.compile(r"\?((?:cache|image|label)=[^?&]+(?:&(?:cache|image|label)=[^?&]+)*)$")
_UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)(|MB|GB|TB)")


class Address(NamedTuple):
    """A remote data set."""

    url: str
    """One file, a folder, a glob or a range in braces."""
    cache_bytes: int
    """Most bytes of the cache of shards."""
    asked: Asked
    """Columns of Parquet files."""


def parse_address(where: str) -> Address:
    """Split ``s3://bucket/set/*.parquet?cache=200GB&image=photo`` into its parts.

    Raises:
        UserError: the size of the cache is none, or something else stands behind a question mark.
    """
    found = _OPTIONS.search(where)
    url = where if found is None else where[: found.start()]
    options = dict(part.split("=", 1) for part in found[1].split("&")) if found else {}
    if url.startswith("http") and "?" in url:
        raise UserError(
            f"{url.partition('?')[0]}: no option stands behind the ? (?cache=200GB, ?image=COLUMN, "
            "?label=COLUMN): give the address without it"
        )
    cache_bytes = _bytes(options.pop("cache")) if "cache" in options else CACHE_BYTES
    return Address(url, cache_bytes, Asked(**options))


def _bytes(text: str) -> int:
    found = _BYTES.fullmatch(text)
    size = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not 0 < size < 1 << 62:
        raise UserError(f"?cache={text} is no size: give bytes, or MB, GB or TB, as in ?cache=200GB")
    return size
