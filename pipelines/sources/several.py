"""Several places as one data set: ``A + B``, which is what ``--data A --data B`` stands for.

Samples come place by place. Their keys begin with the name of the place (its folder, or its file without the
suffix), so that ids do not depend on where it lies or on the other places. Classes of one name are one class;
``A + B?classes=separate`` keeps those of each place apart, under names such as ``A/cat``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.places import BETWEEN, SEPARATE, is_url, places
from pipelines.sources.identity import printable, sample_ids, sorted_names
from pipelines.sources.objects import Objects
from pipelines.sources.source import Fetches, Fetching, Index, KeyedSource, ReadsAhead
from pipelines.sources.splits import NoSplitError, Split
from pipelines.targets import TargetKind, Targets, target_kinds_of, targets_of

ABOUT = "several of them (A + B)"


def takes(where: str) -> bool:
    """True if two or more places are named, and no file or folder has that name."""
    return len(places(where)) > 1


def open_split(where: str, split: Split, cache: Path) -> SeveralSources:
    """Open one split of all places.

    The test split is that of the places that have one; a note names the others. Labels and objects count
    through the classes of both splits of all places, and are used where all places have some. Kinds of
    targets are those that all places have; classes of pixels must be the same ones in all.

    Raises:
        NoSplitError: asked for "test" where no place has it.
        UserError: a place cannot be read, or two have one name.
    """
    named = places(where)
    names = _names(named)
    opened = {each: _open_splits(each) for each in named}
    chosen = [each for each in named if split in opened[each]]
    if not chosen:
        raise NoSplitError(f"{where}: no place has a test split")
    parts = [opened[each][split] for each in chosen]
    part_names = [names[each] for each in chosen]
    lacking = [each for each in named if each not in chosen]
    notes = (f"without a test split, and so not in it: {', '.join(lacking)}",) if lacking else ()
    separate = where.endswith(SEPARATE)
    everything = [(names[each], source.index) for each in named for source in opened[each].values()]
    return SeveralSources(parts, part_names, _class_names(everything, separate), separate, notes)


class SeveralSources:
    """The samples of several sources, one after the other (a ``Source``).

    Args:
        parts: the sources.
        names: of each, the beginning of its samples' keys.
        class_names: of all; None where some have no classes.
        separate: whether these begin with the name of the part.
        notes: see ``Index.notes``.
    """

    def __init__(
        self,
        parts: Sequence[KeyedSource],
        names: Sequence[str],
        class_names: Sequence[str] | None,
        separate: bool,
        notes: tuple[str, ...],
    ) -> None:
        self._parts, self._names = parts, names
        self._firsts = np.cumsum([0, *(len(part.index) for part in parts)])
        prefixes = [f"{name}/" if separate else "" for name in names]
        label_of = {name: label for label, name in enumerate(class_names or ())}
        self._tables: list[np.ndarray] | None = None
        if class_names is not None:
            self._tables = [
                np.array([label_of[prefix + name] for name in part.index.class_names], np.int64)
                for part, prefix in zip(parts, prefixes, strict=True)
            ]
        labels, objects = self._labels(), self._objects()
        if labels is None and any(part.index.labels is not None for part in parts):
            notes += ("labels are not used: some places have none",)
        if objects is None and any(part.index.objects is not None for part in parts):
            notes += ("objects are not used: some places have none",)
        self.index = Index(
            sample_ids=self._sample_ids(),
            heights=np.concatenate([part.index.heights for part in parts]),
            widths=np.concatenate([part.index.widths for part in parts]),
            labels=labels,
            objects=objects,
            class_names=tuple(class_names or ()),
            segmentation_names=_common_segmentation_names(parts),
            fingerprint=self._fingerprint((class_names or ()) if labels is not None or objects else ()),
            notes=tuple(note for part in parts for note in part.index.notes) + notes,
        )

    def read(self, index: int) -> bytes | memoryview | np.ndarray:
        """See ``Source.read``."""
        part, position = self._find(index)
        return self._parts[part].read(position)

    def read_ahead(self, first: int, end: int) -> None:
        """See ``ReadsAhead``; nothing for places that do not read ahead."""
        for part, begin in zip(self._parts, self._firsts.tolist(), strict=False):
            low, high = max(first - begin, 0), min(end - begin, len(part.index))
            if low < high and isinstance(part, ReadsAhead):
                part.read_ahead(low, high)

    @property
    def fetching(self) -> Fetching | None:
        """See ``Fetches.fetching``; a place on this machine counts as one file of no size."""
        found = [part.fetching if isinstance(part, Fetches) else None for part in self._parts]
        if not any(found):
            return None
        begins = self._firsts[:-1].tolist()
        firsts = [
            [begin] if one is None else one.firsts[:-1] + begin
            for one, begin in zip(found, begins, strict=True)
        ]
        return Fetching(
            where=BETWEEN.join(one.where for one in found if one is not None),
            firsts=np.concatenate([*firsts, self._firsts[-1:]]),
            sizes=np.concatenate([[0] if one is None else one.sizes for one in found]),
            capacity=min(one.capacity for one in found if one is not None),
            fetched=sum(one.fetched for one in found if one is not None),
        )

    def hold(self, runs: np.ndarray) -> None:
        """See ``Fetches.hold``."""
        for part, begin in zip(self._parts, self._firsts.tolist(), strict=False):
            if isinstance(part, Fetches):
                own = np.clip(runs - begin, 0, len(part.index))
                part.hold(own[own[:, 0] < own[:, 1]])

    def key(self, index: int) -> str | None:
        """The key of a sample: the name of its place, and its key there; None where it has none there."""
        part, position = self._find(index)
        key = self._parts[part].key(position)
        return None if key is None else f"{self._names[part]}/{key}"

    def describe(self, index: int) -> str:
        """See ``Source.describe``."""
        part, position = self._find(index)
        return self._parts[part].describe(position)

    @property
    def target_kinds(self) -> frozenset[TargetKind]:
        """Kinds that all places have; boxes, masks and segmentation where their classes are in common too."""
        kinds = frozenset.intersection(*map(target_kinds_of, self._parts))
        if self._tables is None:
            kinds -= {"boxes", "masks"}
        return kinds if self.index.segmentation_names else kinds - {"segmentation"}

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``."""
        part, position = self._find(index)
        targets = targets_of(self._parts[part], position)
        if targets.classes is not None and self._tables is not None:
            targets = replace(targets, classes=self._tables[part][targets.classes])
        return targets if self.index.segmentation_names else replace(targets, segmentation=None)

    def _labels(self) -> np.ndarray | None:
        """Labels (int64 [N]) in the classes of all."""
        if self._tables is None:
            return None
        given = [part.index.labels for part in self._parts]
        taken = [table[each] for table, each in zip(self._tables, given, strict=True) if each is not None]
        return np.concatenate(taken) if len(taken) == len(given) else None

    def _objects(self) -> Objects | None:
        """Objects in the classes of all."""
        if self._tables is None:
            return None
        given = [part.index.objects for part in self._parts]
        taken = [each.relabeled(table) for table, each in zip(self._tables, given, strict=True) if each]
        return Objects.joined(taken) if len(taken) == len(given) else None

    def _find(self, index: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return part, index - int(self._firsts[part])

    def _sample_ids(self) -> np.ndarray:
        keys = []
        for part, name in zip(self._parts, self._names, strict=True):
            for position, own in enumerate(part.index.sample_ids.tolist()):
                key = part.key(position)
                keys.append(f"{name}/{own if key is None else key}")
        return sample_ids(keys, [f"{key}\0{index}" for index, key in enumerate(keys)])

    def _fingerprint(self, class_names: Sequence[str]) -> str:
        prints = [part.index.fingerprint for part in self._parts]
        text = "\0".join([*prints, *self._names, *class_names])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _open_splits(where: str) -> dict[Split, KeyedSource]:
    from pipelines.sources import open_source  # which lists this module among its readers

    if not where.strip():
        raise UserError("a place has no name: give --data A --data B, or --data 'A + B'")
    opened: dict[Split, KeyedSource] = {}
    for split in ("train", "test"):
        try:
            source = open_source(where, split)
        except NoSplitError:
            continue
        assert isinstance(source, KeyedSource)  # as every reader's
        opened[split] = source
    return opened


def _names(named: Sequence[str]) -> dict[str, str]:
    names = {where: _name(where) for where in named}
    if len(set(names.values())) < len(named):
        raise UserError(
            f"{BETWEEN.join(named)}: places are told apart by the names of their folders or files, and these "
            f"are {' and '.join(names[where] for where in named)}: give folders of different names, or links"
        )
    return names


def _name(where: str) -> str:
    """The name of a file without its suffix, or of the folder, that of a pattern."""
    if is_url(where):
        last = re.split(r"[*?{]", re.sub(r"\?(?:cache|image|label)=.*", "", where), maxsplit=1)
        parts = last[0].rstrip("/").split("/")
        name = parts[-1] if len(last) == 1 or last[0].endswith("/") else parts[-2]
        return re.sub(r"\.(?:tar|parquet)$", "", name)
    plain = re.split(r"[*?{]", str(user_path(where)), maxsplit=1)[0]
    if plain != str(user_path(where)) and not Path(plain).exists():
        plain = os.path.dirname(plain)
    path = Path(os.path.abspath(plain))
    return printable(path.stem if path.is_file() else path.name)


def _class_names(indices: Sequence[tuple[str, Index]], separate: bool) -> list[str] | None:
    """The classes of all places, sorted; None where one has none."""
    if any(not index.class_names for _, index in indices):
        return None
    return sorted_names(
        {f"{name}/{each}" if separate else each for name, index in indices for each in index.class_names}
    )


def _common_segmentation_names(parts: Sequence[KeyedSource]) -> tuple[str, ...]:
    """Classes of the pixels of all places; none where they differ."""
    first, *others = (part.index.segmentation_names for part in parts)
    return first if all(names == first for names in others) else ()
