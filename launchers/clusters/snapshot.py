"""The code of a sweep: a copy of the packages, so that jobs run what was submitted."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("pipelines", "fastssl", "launchers")
_IGNORED = shutil.ignore_patterns("__pycache__", ".*", "*.part")


def take(folder: Path, fresh: bool) -> bool:
    """Copy this code into a folder, whole or not at all, unless a copy is there.

    Args:
        fresh: take another copy in place of an older one.

    Returns:
        whether the folder now holds this code; False where an older copy stands that differs.
    """
    if folder.exists() and not fresh:
        return _same(folder)
    aside, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, aside / package, ignore=_IGNORED)
    for name in ("pyproject.toml", "LICENSE"):
        if (_ROOT / name).exists():  # an installed package has none
            shutil.copy2(_ROOT / name, aside / name)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _same(folder: Path) -> bool:
    ours = {path.relative_to(_ROOT) for package in _PACKAGES for path in (_ROOT / package).rglob("*.py")}
    theirs = {path.relative_to(folder) for package in _PACKAGES for path in (folder / package).rglob("*.py")}
    return ours == theirs and all(filecmp.cmp(_ROOT / path, folder / path, shallow=False) for path in ours)
