"""Sets of files as a user names them, and which of these are the splits."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split


def expand(pattern: str, suffix: str) -> list[Path]:
    """The existing files that a pattern stands for, sorted.

    Args:
        pattern: a glob, a range in braces (``{000..146}``), a file, or a folder.
        suffix: of the files in such a folder, ``.tar`` for example.

    Raises:
        UserError: there are none.
    """
    if Path(pattern).is_dir():
        paths = sorted(Path(pattern).glob(f"*{suffix}"))
    elif Path(pattern).is_file():
        return [Path(pattern)]
    else:
        paths = []
        for part in _expand_braces(pattern):
            found = [Path(name) for name in sorted(glob.glob(part))]
            if not found:
                raise UserError(f"no such file: {part}" if part != pattern else f"no file matches {pattern}")
            paths += found
    if not paths:
        raise UserError(f"no {suffix} files in {pattern}")
    return paths


def files_of_split(paths: Sequence[Path], split: Split, pattern: str) -> list[Path]:
    """The files of one split, by the words "train", "val" and "test" in their names.

    Without the word "train" in any, all are the "train" split.

    Raises:
        NoSplitError: asked for "test" where there is none.
    """
    train = [path for path in paths if is_named(path, "train")]
    test: list[Path] = []
    if train:
        by_name = ([path for path in paths if is_named(path, word)] for word in TEST_NAMES)
        test = next(filter(None, by_name), [])
    if split == "test" and not test:
        raise NoSplitError(f"{pattern} has no test split: no file named val or test beside files named train")
    return test if split == "test" else train or list(paths)


def is_named(path: Path, word: str) -> bool:
    """True if a file's name holds a word that begins so: "val" in ``the-validation-0.tar``."""
    return re.search(rf"(?<![a-z]){word}", path.name.lower()) is not None


def _expand_braces(pattern: str) -> list[str]:
    """``a-{08..10}`` to ``a-08``, ``a-09``, ``a-10``, and ``{a,b}`` to ``a``, ``b``, as a shell does."""
    braces = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if braces is None:
        return [pattern]
    first, last, names = braces.groups()
    parts = names.split(",") if names else [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [full for part in parts for full in _expand_braces(f"{head}{part}{tail}")]
