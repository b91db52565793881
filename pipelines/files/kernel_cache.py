"""The version of the compiled kernels: of their sources, and of everything that these take from elsewhere.

Numba's cache watches only the file of the function that is called: a kernel would go on with an old version
of a constant or function of another file. A folder for each version cannot be out of date.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_KERNEL = re.compile(rb"^ *@njit|= *njit\(", re.M)
_IMPORT = re.compile(rb"^ *(?:from|import) ([\w.]+)(?: import (?:\(([^)]*)\)|([\w, ]*)))?", re.M)


def kernels_digest(*packages: Path) -> str:
    """A hex digest of packages' files with numba's kernels and of all files of theirs that these import."""
    root = packages[0].parent
    contents = {path: path.read_bytes() for package in packages for path in sorted(package.rglob("*.py"))}
    modules = {".".join(path.relative_to(root).with_suffix("").parts).encode(): path for path in contents}
    waiting = [path for path, content in contents.items() if _KERNEL.search(content)]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [modules[name] for name in _imported(contents[path]) if name in modules]
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(found):
        digest.update(f"{path.relative_to(root)} {len(contents[path])}\n".encode() + contents[path])
    return digest.hexdigest()


def _imported(content: bytes) -> set[bytes]:
    """Names of modules that a file may import: each name of ``from a import b`` may be one."""
    names = set()
    for module, several, plain in _IMPORT.findall(content):
        names |= {module, *(module + b"." + part for part in re.findall(rb"\w+", several or plain))}
    return names
