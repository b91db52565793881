"""COCO as it is on disk: images whose objects have classes, boxes and masks.

``DIR`` holds ``annotations/instances_NAME.json`` and the images of each as ``DIR/NAME/``; names of splits are
train2017, val2017, train, val and the like. Any set of that form is read: images and categories go by their
ids, and a class is the position of its category among all, sorted by id. An image may have several classes:
its labels are ``Objects``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.text import visible
from pipelines.decode.bad_images import default_limit
from pipelines.sources.cache import cache_file
from pipelines.sources.coco.coco_file import CocoFile, read_coco
from pipelines.sources.folder import FolderSource
from pipelines.sources.identity import fingerprint, printable, sample_ids
from pipelines.sources.image_files import ImageFiles
from pipelines.sources.image_sizes import image_sizes
from pipelines.sources.listed_files import find_listed
from pipelines.sources.notes import LeftOut
from pipelines.sources.objects import Objects
from pipelines.sources.source import Index
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split, split_of_folder
from pipelines.targets import TargetKind, Targets

ABOUT = "COCO's folders"
_PREFIX = "instances_"


def takes(where: str) -> bool:
    """True if a folder with ``annotations/instances_NAME.json`` is meant."""
    return bool(_jsons(user_path(where)))


class CocoSource(FolderSource):
    """Images of COCO with their boxes and masks (a ``TargetSource``).

    Args:
        images: int64 [N], the position of each image in it.
        classes: int64 [C], the class of each of its categories.
    """

    def __init__(
        self,
        index: Index,
        root: Path,
        paths: Sequence[str],
        *,
        file: CocoFile,
        images: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        super().__init__(index, root, paths)
        self._file, self._images, self._classes = file, images, classes
        kinds: tuple[TargetKind, ...] = ("boxes", "masks") if file.has_masks else ("boxes",)
        self.target_kinds: frozenset[TargetKind] = frozenset(kinds)

    def targets(self, index: int) -> Targets:
        """See ``TargetSource.targets``."""
        file, image = self._file, int(self._images[index])
        part = slice(*file.offsets[image : image + 2].tolist())
        height, width = file.sizes[image].tolist()
        return Targets(
            height=height,
            width=width,
            boxes=file.boxes[part],
            classes=self._classes[file.categories[part]],
            areas=file.areas[part],
            crowd=file.crowd[part],
            masks=file.masks(image) if file.has_masks else None,
        )


def open_split(where: str, split: Split, cache: Path) -> CocoSource:
    """Open one split.

    The files of both splits are read, as classes count through the categories of both. Images that are
    missing, up to ``default_limit``, or of another size than the file says are left out and counted.

    Raises:
        NoSplitError: asked for "test" where there is no such file with a folder of images.
        UserError: no training set, several, or a damaged one, or too many images are missing.
    """
    root = user_path(where)
    sets = _sets(root)
    if split not in sets:
        lacking = f"{root} has no {split} split: no {_PREFIX}{'train' if split == 'train' else 'val'}*.json"
        kind = UserError if split == "train" else NoSplitError
        raise kind(f"{lacking} of annotations has a folder of images of its name")
    files = {part: read_coco(_json(root, name), cache) for part, name in sets.items()}
    names_by_id = _categories(root, files.values())
    file, folder = files[split], root / sets[split]
    left_out = LeftOut()
    left_out.merge(file.left_out)
    images, sizes, bytes_of = _images(folder, file, cache, left_out)
    ids = sorted(names_by_id)
    classes = np.searchsorted(np.array(ids, np.int64), file.category_ids)
    objects = _objects(file, classes).at(images)
    paths = [file.names[image] for image in images.tolist()]
    class_names = tuple(printable(names_by_id[number]) for number in ids)
    content = f"{file.digest} {','.join(map(str, classes.tolist()))}"
    empty = int((np.diff(objects.offsets) == 0).sum())
    index = Index(
        sample_ids=sample_ids([path.rpartition(".")[0] or path for path in paths], paths),
        heights=sizes[:, 0],
        widths=sizes[:, 1],
        labels=None,
        objects=objects,
        class_names=class_names,
        fingerprint=fingerprint([*paths, content], [*bytes_of, 0], None, class_names),
        notes=left_out.note(folder)
        + ((f"{empty} of {len(images)} images in {folder} have no object",) if empty else ()),
    )
    return CocoSource(index, folder, paths, file=file, images=images, classes=classes)


def _jsons(path: Path) -> list[str]:
    """Names of the sets that a folder has a JSON of, sorted."""
    found = (path / "annotations").glob(f"{_PREFIX}*.json")
    return sorted(each.stem.removeprefix(_PREFIX) for each in found)


def _json(root: Path, name: str) -> Path:
    return root / "annotations" / f"{_PREFIX}{name}.json"


def _sets(root: Path) -> dict[Split, str]:
    """Names of the sets of each split that there is, image folder and all."""
    found: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in _jsons(root):
        if (root / name).is_dir():
            found.get(split_of_folder(name) or "", []).append(name)
    for names in found.values():
        if len(names) > 1:
            listed = " and ".join(map(visible, names))
            raise UserError(f"{root} holds {listed}: give a folder with one of them, or with links to it")
    tests = [name for each in TEST_NAMES for name in found[each]]
    sets: dict[Split, str] = {}
    if found["train"]:
        sets["train"] = found["train"][0]
    if tests:
        sets["test"] = tests[0]
    return sets


def _categories(root: Path, files: Iterable[CocoFile]) -> dict[int, str]:
    """Names of the categories of all files, by id."""
    names: dict[int, str] = {}
    for file in files:
        for number, name in zip(file.category_ids.tolist(), file.category_names, strict=True):
            if names.setdefault(number, name) != name:
                raise UserError(
                    f"{root / 'annotations'}: category {number} is {visible(names[number])} in one file and "
                    f"{visible(name)} in the other: mend one"
                )
    if len(set(names.values())) < len(names):
        raise UserError(f"{root / 'annotations'}: two categories have one name: mend the files")
    return names


def _images(
    folder: Path, file: CocoFile, cache: Path, left_out: LeftOut
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Positions in the file (int64 [N]), sizes (int32 [N, 2]; 0: unreadable) and bytes of images to use."""
    files, there = _those_there(folder, file.names, left_out)
    sizes = np.stack(image_sizes(folder, files, cache_file(cache, "coco-images", folder)), axis=1)
    said = file.sizes[there]
    fits = (sizes == said).all(axis=1) | (sizes[:, 0] == 0)
    for position in np.flatnonzero(~fits).tolist():
        sides = " for ".join(f"{height} x {width}" for height, width in (sizes[position], said[position]))
        name = visible(printable(files.paths[position]))
        left_out.add("images of another size than the JSON says", f"{name}, {sides}")
    if not fits.any():
        raise UserError(f"no image in {folder} has the size that its JSON says: give the images of this JSON")
    bytes_of = files.about[fits, 0].tolist()
    return there[fits], sizes[fits], bytes_of


def _those_there(folder: Path, names: Sequence[str], left_out: LeftOut) -> tuple[ImageFiles, np.ndarray]:
    """The images that are in the folder, and their positions among ``names``, int64 [N]."""
    files, there = find_listed(folder, names, f"Looking for images of {folder.name}")
    lost = [visible(printable(names[position])) for position in np.flatnonzero(~there).tolist()]
    if len(lost) > default_limit(len(names)) or not there.any():
        share = f"{len(lost)} of {len(names)} images"
        raise UserError(f"{share} are not in {folder}, the first is {lost[0]}: unpack them there")
    if lost:
        left_out.add("missing images", min(lost), len(lost))
    return files, np.flatnonzero(there)


def _objects(file: CocoFile, classes: np.ndarray) -> Objects:
    return Objects(
        offsets=file.offsets,
        labels=classes[file.categories],
        boxes=file.boxes,
        difficult=np.zeros(len(file.boxes), bool),
    )
