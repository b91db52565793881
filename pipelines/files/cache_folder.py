"""The cache folder: indexes of data sets, built-in images, compiled kernels. It may be deleted any time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$FASTSSL_CACHE``, else ``$XDG_CACHE_HOME/fastssl``, else ``~/.cache/fastssl``; it may not exist."""
    if own := os.environ.get("FASTSSL_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "fastssl"
    return Path.home() / ".cache" / "fastssl"
