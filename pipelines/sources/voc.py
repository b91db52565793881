"""A year of PASCAL VOC as it is on disk: images whose objects have classes and boxes.

``VOCdevkit/VOC2007`` holds ``JPEGImages/NAME.jpg``, ``Annotations/NAME.xml`` and the lists of names
``ImageSets/Main/{train,val,trainval,test}.txt``. Where a list ``test.txt`` is there, that is the test split
and ``trainval.txt`` the train split, as VOC2007 is used; else ``val.txt`` and ``train.txt``, as in VOC2012,
whose test annotations are not public. ``VOCdevkit/VOC2012:trainval`` is the list of that name alone, without
a test split. An image may have several classes: its labels are ``Objects``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.progress import map_in_threads
from pipelines.command.text import visible
from pipelines.sources.cache import cache_file
from pipelines.sources.folder import FolderSource
from pipelines.sources.identity import fingerprint, printable, sample_ids
from pipelines.sources.image_files import ImageFiles
from pipelines.sources.image_sizes import image_sizes
from pipelines.sources.listed_files import find_listed
from pipelines.sources.objects import Objects
from pipelines.sources.source import Index
from pipelines.sources.splits import NoSplitError, Split
from pipelines.sources.voc_annotation import VocObject, read_annotation
from pipelines.targets import TargetKind, Targets

ABOUT = "a year of VOCdevkit"
_LISTS = "ImageSets/Main"
_FILES_AT_A_TIME = 64


def takes(where: str) -> bool:
    """True if a folder of VOC's form is meant, or a ``VOCdevkit`` of such folders."""
    path, _ = _place(where)
    return _is_year(path) or bool(_years(path))


class VocSource(FolderSource):
    """Images of VOC with their boxes (a ``TargetSource``)."""

    target_kinds: frozenset[TargetKind] = frozenset({"boxes"})

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``."""
        assert self.index.objects is not None
        objects = self.index.objects.at(np.array([index]))
        sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
        return Targets(
            height=int(self.index.heights[index]),
            width=int(self.index.widths[index]),
            boxes=objects.boxes,
            classes=objects.labels,
            areas=sides.prod(axis=1),
            difficult=objects.difficult,
        )


def open_split(where: str, split: Split, cache: Path) -> VocSource:
    """Open one split of a year, or of a ``VOCdevkit`` of one year.

    Annotations of both splits are read, as class names count through them together, sorted. Sizes of the
    images are read from their headers once, and kept in ``cache``.

    Raises:
        NoSplitError: asked for "test" where there is no list of it.
        UserError: several years, no list, a name in it without image or annotation, or a bad annotation.
    """
    path, listed = _place(where)
    root = _root(path)
    names = _names(root, listed)
    if split not in names:
        lacking = f"{listed} alone was asked for" if listed else "neither test.txt nor val.txt stands"
        raise NoSplitError(f"{root} has no test split: {lacking} in {_LISTS}")
    objects = {part: _annotations(root, listed) for part, listed in names.items()}
    classes = sorted({each.name for part in objects.values() for found in part for each in found})
    if not classes:
        raise UserError(f"no annotation of {root} has an object: give images with labels")
    paths = [f"{name}.jpg" for name in names[split]]
    folder = root / "JPEGImages"
    files = _files(folder, paths)
    heights, widths = image_sizes(folder, files, cache_file(cache, "voc", root))
    found = _gather(objects[split], classes)
    index = Index(
        sample_ids=sample_ids(names[split], paths),
        heights=heights,
        widths=widths,
        labels=None,
        objects=found,
        class_names=tuple(map(printable, classes)),
        fingerprint=fingerprint([*paths, found.content().hex()], [*files.bytes, 0], None, classes),
    )
    return VocSource(index, folder, paths)


def _place(where: str) -> tuple[Path, str]:
    """The folder that is named, and the list of ``FOLDER:LIST``; an empty one where none is named."""
    path, (folder, _, listed) = user_path(where), where.rpartition(":")
    alone = path.exists() or not folder or not listed or "/" in listed
    return (path, "") if alone else (user_path(folder), listed)


def _is_year(path: Path) -> bool:
    return all((path / part).is_dir() for part in ("Annotations", "JPEGImages", _LISTS))


def _years(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    named = (each for each in sorted(path.iterdir()) if re.fullmatch(r"VOC\d{4}", each.name))
    return [each for each in named if _is_year(each)]


def _root(path: Path) -> Path:
    if _is_year(path):
        return path
    years = _years(path)
    if len(years) > 1:
        raise UserError(f"{path} holds several years: give {' or '.join(map(str, years))}")
    return years[0]


def _names(root: Path, listed: str) -> dict[Split, list[str]]:
    """Names of the images of each split that there is, or of the list ``listed`` alone."""
    if listed:
        if not (root / _LISTS / f"{listed}.txt").is_file():
            known = sorted(path.stem for path in (root / _LISTS).glob("*.txt") if "_" not in path.stem)
            shown = ", ".join(known)  # not those of a class, aeroplane_train.txt
            raise UserError(f"no list {visible(listed)}.txt in {root / _LISTS}: give one of {shown}")
        return {"train": _read_list(root / _LISTS / f"{listed}.txt")}
    lists = {name: root / _LISTS / f"{name}.txt" for name in ("train", "val", "trainval", "test")}
    there = {name for name, path in lists.items() if path.is_file()}
    train, test = ("trainval", "test") if {"trainval", "test"} <= there else ("train", "val")
    if train not in there:
        train = "trainval"
    if train not in there:
        raise UserError(f"{root / _LISTS} has neither train.txt nor trainval.txt: give the lists of VOC")
    chosen: dict[Split, str] = {"train": train, **({"test": test} if test in there else {})}
    return {split: _read_list(lists[name]) for split, name in chosen.items()}


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path} ({error}): mend it") from None
    names, seen = [], set()
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        if len(name.split()) > 1 or "/" in name:
            raise UserError(f"{path}, line {number}: give the name of an image alone, not {visible(name)!r}")
        if name in seen:
            raise UserError(f"{path}, line {number}: {visible(name)} stands there twice: remove one")
        seen.add(name)
        names.append(name)
    if not names:
        raise UserError(f"no images in {path}: a list has one name per line")
    return names


def _annotations(root: Path, names: Sequence[str]) -> list[list[VocObject]]:
    folder = root / "Annotations"
    return map_in_threads(
        lambda name: read_annotation(folder / f"{name}.xml"),
        names,
        f"Reading annotations of {root.name}",
        chunk=_FILES_AT_A_TIME,
    )


def _gather(found: Sequence[Sequence[VocObject]], classes: Sequence[str]) -> Objects:
    label_of = {name: label for label, name in enumerate(classes)}
    objects = [each for image in found for each in image]
    counts = [len(image) for image in found]
    return Objects(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels=np.array([label_of[each.name] for each in objects], np.int64),
        boxes=np.array([each.box for each in objects], np.float32).reshape(-1, 4),
        difficult=np.array([each.difficult for each in objects], bool),
    )


def _files(folder: Path, paths: Sequence[str]) -> ImageFiles:
    files, there = find_listed(folder, paths, f"Looking for images of {folder.parent.name}")
    if not there.all():
        lost = paths[int(there.argmin())]
        raise UserError(f"cannot read the image {folder / lost}: there is no such file")
    return files
