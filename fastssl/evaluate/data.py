"""The labeled images that an encoder is measured on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.plan.order import keyed_sample
from pipelines.sources import Index, NoSplitError, Source, Split, open_source
from pipelines.sources.notes import untold
from pipelines.sources.subset import Subset, hold_out

HELD_OUT_SHARE = 0.2
TEST_SPLIT = "test split"


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledData:
    """Training and test images of the same classes."""

    train: Source
    """Images that a protocol learns from; kNN calls them its bank."""
    test: Source
    """Images that are classified; kNN calls them its queries."""
    test_images_are: str
    """Origin of the test images, for result files: a test split or, without one, a fifth of the images, which
    pre-training has seen without their labels."""
    split: Source
    """The whole training split, which pre-training takes."""
    drawn: bool = False
    """True where a part of ``train`` or ``test``, drawn by key, stands for the whole."""

    @property
    def num_classes(self) -> int:
        """Classes that a prediction may choose from."""
        return len(self.train.index.class_names)

    @property
    def several_classes(self) -> bool:
        """True if an image may have several classes: ``Index.objects`` are there in place of labels."""
        return self.train.index.objects is not None

    def require_one_class(self, purpose: str) -> None:
        """Raise a ``UserError`` where images may have several classes, for a protocol or diagnostic."""
        if self.several_classes:
            raise UserError(
                f"{purpose} needs one class per image, and these may have several: give others, or take the "
                "protocol svm for them"
            )

    @property
    def fingerprints(self) -> list[str]:
        """Fingerprints of the training and the test images."""
        return [self.train.index.fingerprint, self.test.index.fingerprint]


def labeled_data(
    where: str, largest_train: int | None = None, largest_test: int | None = None
) -> LabeledData:
    """Open the labeled images of a source.

    Args:
        where: data, named like the training's ``--data``.
        largest_train: keep at most so many training images, chosen by a keyed permutation.
        largest_test: likewise of the test images.

    Raises:
        UserError: the source has no classes, or one, or too few images; or its test images have others than
            its training images.
    """
    train = split = _open(where, "train")
    if train.index.labels is None and train.index.objects is None:
        raise UserError(
            f"{where} has no classes, and this needs labels: put the images into one folder per class"
        )
    _refuse_one_class(where, train.index)
    try:
        test = _open(where, "test")
        test_images_are = TEST_SPLIT
        _refuse_other_classes(where, train.index, test.index)
    except NoSplitError:
        train, test = hold_out(train, HELD_OUT_SHARE)
        test_images_are = f"held-out {HELD_OUT_SHARE:.0%} of the images, seen in pre-training"
    if not len(train.index) or not len(test.index):
        raise UserError(f"{where} has too few images to hold some out: {len(train.index) + len(test.index)}")
    if not len(np.intersect1d(_labels(train.index), _labels(test.index))):
        raise UserError(f"{where} has too few images per class to hold some out: give more, or a test split")
    parts = _at_most(train, largest_train, "bank"), _at_most(test, largest_test, "queries")
    drawn = parts != (train, test)
    return LabeledData(
        train=parts[0], test=parts[1], test_images_are=test_images_are, split=split, drawn=drawn
    )


def _open(where: str, split: Split) -> Source:
    """Open a split, and say on stderr what of it is not used."""
    source = open_source(where, split)
    for note in untold(source.index.notes):
        print(note, file=sys.stderr, flush=True)
    return source


def _at_most(source: Source, count: int | None, purpose: str) -> Source:
    """The source, or so many of its samples, drawn by key."""
    if count is None or len(source.index) <= count:
        return source
    chosen = keyed_sample(purpose, len(source.index), count)
    return Subset(source, np.sort(chosen))


def _labels(index: Index) -> np.ndarray:
    """Labels of all images, or of the objects in them, int64."""
    if index.objects is not None:
        return index.objects.labels
    return np.zeros(0, np.int64) if index.labels is None else index.labels


def _refuse_one_class(where: str, train: Index) -> None:
    there = np.unique(_labels(train))
    if len(there) == 1:
        name = train.class_names[there[0]]
        inner = Path(where, name)
        deeper = inner.is_dir() and any(entry.is_dir() for entry in inner.iterdir())
        hint = f": give {inner}?" if deeper else ": accuracies need two or more"
        raise UserError(f"{where} has one class, {name}{hint}")


def _refuse_other_classes(where: str, train: Index, test: Index) -> None:
    if test.labels is None and test.objects is None:
        raise UserError(f"the test images of {where} have no classes: put them into one folder per class")
    known = set(_labels(train).tolist())
    for label in np.unique(_labels(test)).tolist():
        name = test.class_names[label]
        if label not in known or name != train.class_names[label]:
            raise UserError(
                f"the test images of {where} have a class that its training images lack, "
                f"or number otherwise: {name}; give both splits the same classes"
            )
