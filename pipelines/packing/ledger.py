"""Verification of ``pipelines.pack``: checksums of what was written, compared with what is read back."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress, stream_in_threads
from pipelines.decode.decode import decode
from pipelines.packing.packed_image import PackedImage
from pipelines.sources import Source
from pipelines.targets import TargetKind, targets_of


class Ledger:
    """Checksums of the samples written, verified by reading them back.

    Args:
        source: of the samples.
        targets: kinds of targets that are written, in place of its labels.
    """

    def __init__(self, source: Source, targets: frozenset[TargetKind] = frozenset()) -> None:
        count = len(source.index)
        self._targets = targets
        self._source = source
        self._stored = np.zeros(count, bool)
        self._digests = np.zeros(count, np.uint64)
        self._heights, self._widths = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self._changes: Counter[str] = Counter()

    def enter(self, index: int, packed: PackedImage, digest: int) -> None:
        """Note that a sample is about to be written, and the digest of its data."""
        self._stored[index] = True
        self._digests[index] = digest
        self._heights[index], self._widths[index] = packed.height, packed.width
        self._changes[packed.change] += 1

    def summary(self) -> str:
        """One line for the user."""
        changes = ", ".join(f"{count} {change}" for change, count in self._changes.most_common())
        stored = int(self._stored.sum())
        left_out = len(self._stored) - stored
        return f"{stored} images verified ({changes}), {left_out} undecodable left out"

    def verify(self, written: Source, workers: int) -> None:
        """Read everything as training will, decode it, and compare it with the source and the notes.

        Raises:
            UserError: something differs.
            OSError: something cannot be read.
        """
        indices = np.flatnonzero(self._stored)
        self._verify_index(written, indices)

        def verify_image(position: int) -> None:
            index, data = int(indices[position]), written.read(position)
            size = (self._heights[index], self._widths[index])
            if digest(data) != self._digests[index] or decode(data).shape[:2] != size:
                raise UserError(
                    f"{self._source.describe(index)} reads differently from what was written: check the "
                    "disk; nothing was kept"
                )
            if self._targets and not self._same_targets(index, written, position):
                raise UserError(
                    f"targets of {self._source.describe(index)} read differently; nothing was kept"
                )

        results = stream_in_threads(verify_image, range(len(indices)), workers)
        for _ in show_progress(results, len(indices), "Verifying"):
            pass

    def _verify_index(self, written: Source, indices: np.ndarray) -> None:
        before, after = self._source.index, written.index
        same = (
            np.array_equal(after.sample_ids, before.sample_ids[indices])
            and np.array_equal(after.heights, self._heights[indices])
            and np.array_equal(after.widths, self._widths[indices])
        )
        if self._targets:
            same = same and self._same_names(written)
        else:
            same = same and (before.labels is None) == (after.labels is None)
        if same and before.labels is not None and after.labels is not None:
            same = np.array_equal(after.labels, before.labels[indices]) and all(
                after.class_names[label] == before.class_names[label] for label in np.unique(after.labels)
            )
        if not same:
            raise UserError("ids, sizes, labels or names of classes read differently; nothing was kept")

    def _same_names(self, written: Source) -> bool:
        """True if the classes of the targets that are written have their names."""
        before, after = self._source.index, written.index
        objects = "boxes" not in self._targets or after.class_names == before.class_names
        pixels = "segmentation" not in self._targets or after.segmentation_names == before.segmentation_names
        return objects and pixels

    def _same_targets(self, index: int, written: Source, position: int) -> bool:
        before, after = targets_of(self._source, index), targets_of(written, position)
        names = {"boxes": ("boxes", "classes", "areas", "crowd"), "masks": ("masks",)}
        for kind in self._targets:
            for name in names.get(kind, (kind,)):
                one, other = getattr(before, name), getattr(after, name)
                if one is None and name == "crowd":
                    one = np.zeros(len(other), bool)  # none of them
                if one.dtype != other.dtype or not np.array_equal(one, other):
                    return False
        return True


def digest(data: bytes | memoryview | np.ndarray) -> int:
    """64 bits of BLAKE2b of encoded bytes or pixels."""
    flat = data.reshape(-1).data if isinstance(data, np.ndarray) else data
    return int.from_bytes(hashlib.blake2b(flat, digest_size=8).digest(), "little")
