"""The cache folder: indexes of data sets, built-in images, compiled kernels. It may be deleted any time."""

from __future__ import annotations

import atexit
import grp
import os
import pwd
import shutil
import stat
import sys
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """``$FASTSSL_CACHE``, else ``$XDG_CACHE_HOME/fastssl``, else ``~/.cache/fastssl``; it may not exist.

    Without a home, a folder of the user's own below the system's for temporary files.
    """
    if own := os.environ.get("FASTSSL_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "fastssl"
    return _home_cache()


def code_folder(name: str) -> Path:
    """A folder for compiled code, which is executed when it is loaded: one that nobody else can write to.

    The cache folder, where that is the user's own; else the one in the user's home; else, with a warning, one
    for this process, which compiles anew.
    """
    for cache in (cache_folder(), _home_cache()):
        folder = cache / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue  # read-only, or full
        if is_private(folder):
            return folder
    print(
        f"warning: compiled kernels are not kept: {cache_folder()} cannot be written, or others can write to "
        "it or to a folder above; set FASTSSL_CACHE to a folder of your own (chmod go-w)",
        file=sys.stderr,
    )
    folder = Path(tempfile.mkdtemp(prefix="fastssl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_private(folder: Path) -> bool:
    """True if nobody but the user (and root) can change a folder or put another one in its place."""
    folder = folder.resolve()
    own = folder.stat().st_uid == os.geteuid()
    return own and all(_is_safe(path, path == folder) for path in (folder, *folder.parents))


def _is_safe(path: Path, is_last: bool) -> bool:
    about = path.stat()
    if about.st_uid not in (0, os.geteuid()):
        return False
    writable = about.st_mode & (stat.S_IWOTH if _is_own_group(about.st_gid) else stat.S_IWOTH | stat.S_IWGRP)
    sticky = bool(about.st_mode & stat.S_ISVTX) and not is_last  # as /tmp: entries are their owners'
    return not writable or sticky


def _is_own_group(gid: int) -> bool:
    """True if a group is the user's alone, as Debian makes one for each user."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _home_cache() -> Path:
    try:
        return Path.home() / ".cache" / "fastssl"
    except RuntimeError:  # no HOME, and no entry for this user
        return Path(tempfile.gettempdir()) / f"fastssl-{os.geteuid()}"
