"""The columns of a Parquet file that hold images and labels, by their usual names or as the user says."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.command.errors import UserError
from pipelines.command.places import COLUMNS
from pipelines.command.text import visible
from pipelines.sources.parquet.arrow import ArrowFile

_IMAGE_NAMES, _LABEL_NAME = ("image", "img"), "label"


class Asked(NamedTuple):
    """Columns that the user names; "": found by their usual names."""

    image: str = ""
    label: str = ""


class Columns(NamedTuple):
    """Columns of a file."""

    image: str
    """Its bytes: ``image``, or ``image.bytes`` of a struct."""
    path: str
    """Name of the image, a field of the same struct; "" where there is none."""
    label: str
    """"": none."""
    class_names: tuple[str, ...]
    """Names that ``datasets`` keeps for whole numbers; () where there are none."""
    note: str = ""
    """Reason why there is no label, where one was to be expected."""


def split_where(where: str) -> tuple[str, Asked]:
    """Split ``WHERE?image=img&label=fine_label`` into the files and the columns."""
    found = COLUMNS.search(where)
    if found is None:
        return where, Asked()
    return where[: found.start()], Asked(**dict(part.split("=", 1) for part in found[1].split("&")))


def choose_columns(file: ArrowFile, asked: Asked, shown: str) -> Columns:
    """Choose the columns of a file.

    Raises:
        UserError: there is no such column, or no image in it.
    """
    name = _image_column(file, asked.image, shown)
    leaf = name if name in file.leaves else f"{name}.bytes"
    found = file.leaves.get(leaf)
    if found is not None and found.is_text:
        raise UserError(
            f"{shown}: column {visible(name)} holds text (names or addresses of images), not their bytes: "
            "download the images, and give their folder or shards"
        )
    if found is None or found.is_list or not found.is_bytes:
        raise UserError(f"{shown}: column {visible(name)} must hold the bytes of one image per row")
    path = f"{name}.path"
    has_path = leaf != name and path in file.leaves and file.leaves[path].is_text
    label, note = _label_column(file, asked.label, shown)
    names = file.features.get(label, {}).get("names")
    listed = names if isinstance(names, list) and all(isinstance(each, str) for each in names) else []
    return Columns(leaf, path if has_path else "", label, tuple(listed), note)


def _image_column(file: ArrowFile, asked: str, shown: str) -> str:
    typed = [name for name, about in file.features.items() if about.get("_type") == "Image"]
    structs = [name for name in file.columns if f"{name}.bytes" in file.leaves]
    usual = [name for name in _IMAGE_NAMES if name in file.columns]
    for found in ([asked],) if asked else (usual[:1], typed, structs):
        if len(found) == 1 and found[0] in file.columns:
            return found[0]
    names = ", ".join(map(visible, file.columns))
    which = f"named {visible(asked)}" if asked else "of images"
    raise UserError(f"{shown} has no column {which}: it has {names}; choose with --data 'FILES?image=COLUMN'")


def _label_column(file: ArrowFile, asked: str, shown: str) -> tuple[str, str]:
    """The column of labels, or "" and perhaps why there is none."""
    if asked:
        if asked not in file.leaves:
            names = ", ".join(map(visible, file.columns))
            raise UserError(f"{shown} has no column {visible(asked)} of labels: it has {names}")
        return asked, ""
    if _LABEL_NAME in file.leaves:
        return _LABEL_NAME, ""
    classes = [name for name, about in file.features.items() if about.get("_type") == "ClassLabel"]
    classes = [name for name in classes if name in file.leaves]
    if len(classes) < 2:
        return "".join(classes), ""
    names = " and ".join(map(visible, classes))
    return (
        "",
        f"labels are not used: there are {names}; choose with --data 'FILES?label={visible(classes[0])}'",
    )
