"""The two splits of a data set, and the answer of a source that has only one."""

from __future__ import annotations

from typing import Literal

from pipelines.command.errors import UserError

Split = Literal["train", "test"]

# The held-out part by its usual names, the first found wins: ImageNet's "test" has no labels, its "val" has.
TEST_NAMES = ("val", "test")


class NoSplitError(UserError):
    """The source has no test split: everything it holds is its "train" split."""
