"""A user's mapping file: one ``class group`` a line, with a tab or a blank between the two.

Names that hold blanks need the tab; what follows a second tab is a remark. Empty lines and lines that begin
with # are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest


def read_mapping(path: Path) -> dict[str, str]:
    """The group of each class of a mapping file, in the file's order.

    Raises:
        UserError: it cannot be read, a line has no group, or a class has two lines.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # with or without a mark of bytes' order
    except OSError as error:
        raise UserError(f"cannot read the mapping file {path}: {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"the mapping file {path} is no UTF-8 text: save it as such") from None
    groups: dict[str, str] = {}
    first_lines: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in (line.split("\t") if "\t" in line else line.split(maxsplit=1))]
        if len(fields) < 2 or not fields[0] or not fields[1]:
            raise UserError(f"{path}, line {number}: {line.strip()!r} must be a class, a tab, its group")
        name, group = fields[:2]
        if name in groups:
            raise UserError(
                f"{path} gives the class {name} twice, in lines {first_lines[name]} and {number}: delete one"
            )
        groups[name], first_lines[name] = group, number
    if not groups:
        raise UserError(f"{path} is empty: it needs a line with a class, a tab and its group for each class")
    return groups


def mapped_groups(path: Path, class_names: Sequence[str]) -> list[str]:
    """The group of each of ``class_names``, from a mapping file of just these classes.

    Raises:
        UserError: see ``read_mapping``; or the file leaves out a class, or has one that the data lacks.
    """
    groups = read_mapping(path)
    missing = [name for name in class_names if name not in groups]
    unknown = sorted(groups.keys() - set(class_names))
    if missing:
        hint = suggest(missing[0], unknown, form=" ({})")
        raise UserError(f"{path} gives no group for {_some(missing)}{hint}: give every class a line")
    if unknown:
        raise UserError(f"{path} has {_some(unknown)}, which the data lacks: delete what does not belong")
    return [groups[name] for name in class_names]


def _some(names: Sequence[str]) -> str:
    """``the class a`` or ``3 classes, a first``."""
    return f"the class {names[0]}" if len(names) == 1 else f"{len(names)} classes, {names[0]} first"
