"""Defaults of a site, such as partition, account, cores per GPU and setup lines, from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from launchers.clusters import CLUSTERS
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.command.suggest import suggest

USUAL = "~/.config/fastssl/site.toml"


def site_words(argv: Sequence[str], options: type, others: Collection[str] = ()) -> list[str]:
    """The site's defaults as words before those of a command line: its options win, its lists add up.

    Options of a cluster count where that cluster is chosen, on the command line or by the site's ``cluster``.

    Args:
        argv: the command line; ``--site FILE`` names the file.
        options: dataclass of the options of all clusters.
        others: options of other commands, which the file may hold too.

    Raises:
        UserError: the file cannot be read, or holds an unknown option.
    """
    named = _given(argv, "--site")
    path = user_path(named or USUAL)
    if not path.is_file():
        if named:
            raise UserError(f"--site {named}: no such file")
        return []
    values = _read(path)
    common = {field.name for field in dataclasses.fields(options)} - {"study", "site"}
    of_cluster = {each.kind: {field.name for field in dataclasses.fields(each.Config)} for each in CLUSTERS}
    known = common.union(*of_cluster.values())
    chosen = _given(argv, "--cluster") or str(values.get("cluster", CLUSTERS[0].kind))
    words: list[str] = []
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known.union(others):
            raise UserError(f"{path}: unknown option {key}; {suggest(name, known, otherwise='see --help')}")
        if name in common | of_cluster.get(chosen, set()):
            words += _words(f"--{name.replace('_', '-')}", value)
    return words


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML file: {error}") from None


def _words(option: str, value: Any) -> Iterator[str]:
    if value is True:
        yield option
    elif isinstance(value, list):
        yield from (f"{option}={each}" for each in value)
    elif value is not False:
        yield f"{option}={value}"


def _given(argv: Sequence[str], option: str) -> str:
    """The last value of an option on a command line; "" without."""
    found = ""
    for word, after in pairwise([*argv, ""]):
        name, equals, value = word.partition("=")
        if name == option:
            found = value if equals else after
    return found
