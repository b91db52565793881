"""The two splits of a data set, the names they go by, and the answer of a source that has only one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pipelines.command.errors import UserError

Split = Literal["train", "test"]

# The held-out part by its usual names, the first found wins: ImageNet's "test" has no labels, its "val" has.
TEST_NAMES = ("val", "test")

# Whole words in place of "train" in the name of a file: train.tsv beside validation.tsv.
_TEST_WORDS = ("val", "valid", "validation", "test", "testing")
_FOLDER = r"[-_ ]?(?:set|split|data|images|\d{4})?"  # trainset, train_images, train2017
_FOLDERS = {
    "train": re.compile(rf"train(?:ing)?{_FOLDER}"),
    "val": re.compile(rf"(?:val|valid|validation){_FOLDER}"),
    "test": re.compile(rf"test(?:ing)?{_FOLDER}"),
}


class NoSplitError(UserError):
    """The source has no test split: everything it holds is its "train" split."""


def split_of_folder(name: str) -> str | None:
    """ "train", "val" or "test" if a folder's name, in any case, is that of a split; else None."""
    return next((split for split, pattern in _FOLDERS.items() if pattern.fullmatch(name.lower())), None)


def test_names(train: str) -> Iterator[str]:
    """The names that a test file beside a file named ``train`` may have, in its case, the preferred first."""
    for word in _TEST_WORDS:
        for found in re.finditer(r"train(?:ing)?", train, re.I):
            if found.start() and train[found.start() - 1].isalpha():
                continue
            text = found[0]
            cased = word.upper() if text.isupper() else word.capitalize() if text[0].isupper() else word
            yield f"{train[: found.start()]}{cased}{train[found.end() :]}"
