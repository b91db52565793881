"""Sets of files as a user names them, and which of these are the splits."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pipelines.command.errors import UserError
from pipelines.sources.notes import LeftOut
from pipelines.sources.service_files import is_service
from pipelines.sources.slices import FileName
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split

_MOST_FILES = 1_000_000
AnyFile = TypeVar("AnyFile", bound=FileName)


def expand(pattern: str, suffix: str) -> list[Path]:
    """The existing files that a pattern stands for, sorted.

    Args:
        pattern: a glob, a range in braces (``{000..146}``), a file, or a folder.
        suffix: of the files in such a folder, ``.tar`` for example.

    Raises:
        UserError: there are none.
    """
    if Path(pattern).is_dir():
        paths = sorted(path for path in Path(pattern).glob(f"*{suffix}") if not is_service(path.name))
    elif Path(pattern).is_file():
        return [Path(pattern)]
    else:
        paths = []
        for part in expand_braces(pattern):
            found = _matching(part)
            if not found:
                raise UserError(f"no such file: {part}" if part != pattern else f"no file matches {pattern}")
            paths += map(Path, found)
            if len(paths) > _MOST_FILES:
                raise UserError(
                    f"{pattern} stands for more than {_MOST_FILES} files: give fewer, or a folder"
                )
    if not paths:
        raise UserError(f"no {suffix} files in {pattern}")
    return paths


def files_of_split(paths: Sequence[AnyFile], split: Split, pattern: str, left_out: LeftOut) -> list[AnyFile]:
    """The files of one split, by the words "train", "val" and "test" in their names.

    Without the word "train" in any, all are the "train" split. Files of neither split are ``left_out``.

    Raises:
        NoSplitError: asked for "test" where there is none.
    """
    train = [path for path in paths if is_named(path, "train")]
    test: list[AnyFile] = []
    if train:
        by_name = ([path for path in paths if is_named(path, word)] for word in TEST_NAMES)
        test = next(filter(None, by_name), [])
    if split == "test" and not test:
        raise NoSplitError(f"{pattern} has no test split: no file named val or test beside files named train")
    for path in paths if train else ():
        if path not in train and path not in test:
            left_out.add("files of neither the train nor the test split", path.name)
    return test if split == "test" else train or list(paths)


def is_named(path: FileName, word: str) -> bool:
    """True if a file's name holds a word that begins so: "val" in ``the-validation-0.tar``."""
    return re.search(rf"(?<![a-z]){word}", path.name.lower()) is not None


def _matching(pattern: str) -> list[str]:
    """The files that match a glob; brackets stand for themselves if a file is named so."""
    return sorted(glob.glob(pattern.replace("[", "[[]")) or glob.glob(pattern))


def expand_braces(pattern: str) -> Iterator[str]:
    """``a-{08..10}`` to ``a-08``, ``a-09``, ``a-10``, and ``{a,b}`` to ``a``, ``b``, as a shell does."""
    braces = re.search(r"\{(?:(\d{1,18})\.\.(\d{1,18})|([^{}]*,[^{}]*))\}", pattern)
    if braces is None:
        yield pattern
        return
    first, last, names = braces.groups()
    parts: Iterable[str] = names.split(",") if names else ()
    if first:
        parts = (f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1))
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    for part in parts:
        yield from expand_braces(f"{head}{part}{tail}")
