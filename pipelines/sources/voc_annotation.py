"""An annotation of PASCAL VOC, ``Annotations/NAME.xml``: the objects in one image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from pipelines.command.errors import UserError
from pipelines.command.text import visible
from pipelines.files.patience import with_patience


class VocObject(NamedTuple):
    """An object in an image."""

    name: str
    """Class."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom, pixels from the corner of the image; VOC's file counts pixels from 1."""
    difficult: bool
    """Hard to recognize: left out of evaluations."""


def read_annotation(path: Path) -> list[VocObject]:
    """Objects of an annotation file, in its order; parts of objects are passed over.

    Raises:
        UserError: no such file, or one of another form.
    """
    try:
        root = ElementTree.fromstring(with_patience(path.read_bytes))
    except FileNotFoundError:
        raise UserError(f"no such annotation: {path}; its image has no labels without it") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; start the same command again") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no annotation of VOC ({error}): mend it") from None
    if root.tag != "annotation":
        raise UserError(f"{path} is no annotation of VOC, but a {visible(root.tag)}: mend it")
    return [_object(element, path) for element in root.iterfind("object")]


def _object(element: ElementTree.Element, path: Path) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: an object has no name: mend it")
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise UserError(f"{path}: difficult of {visible(name)} must be 0 or 1, not {visible(difficult)}")
    left, top, right, bottom = (_side(element, side, name, path) for side in ("xmin", "ymin", "xmax", "ymax"))
    if right < left or bottom < top:
        raise UserError(f"{path}: the box of {visible(name)} ends before it begins: mend it")
    return VocObject(name, (left - 1, top - 1, right, bottom), difficult == "1")


def _side(element: ElementTree.Element, side: str, name: str, path: Path) -> float:
    text = element.findtext(f"bndbox/{side}") or ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: {side} of {visible(name)} must be a number, not {visible(text.strip())!r}")
    return value
