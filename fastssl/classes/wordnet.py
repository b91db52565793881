"""WordNet's nouns, as far as ImageNet's class names need them: words and hypernyms.

A wnid such as n01440764 is "n" and the offset of a noun, in bytes, in WordNet 3.0's ``data.noun``, whose
format is in WordNet's manual page wndb(5WN). ImageNet-1k's nouns and all that lie above them are in a table
of this package, which ``python -m fastssl.classes.wordnet [DIR]`` derives anew from ``data.noun``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import tyro

from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.files.atomic import atomic_file

WORDNET = Path("/usr/share/wordnet")  # where Debian's package wordnet-base puts its files
TABLE = Path(__file__).parent / "imagenet_taxonomy.tsv"
_HYPERNYMS = ("@", "@i")  # the symbols of pointers to a kind, and to the kind of an instance

_ABOUT_TABLE = """\
ImageNet-1k's 1000 classes and every noun above them in WordNet 3.0, from its data.noun by
python -m fastssl.classes.wordnet. A line is a noun: its wnid, its hypernyms in WordNet's order, its first
word. The classes are the nouns that are no hypernym of another.

WordNet's license, which goes with every copy and modification:
"""


class Synset(NamedTuple):
    """A noun: its first word, and the wnids of its hypernyms in WordNet's order, none at the root."""

    word: str
    hypernyms: tuple[str, ...]


def is_wnid(name: str) -> bool:
    """True if a class name has the form of a wnid: n and eight digits."""
    return re.fullmatch(r"n[0-9]{8}", name) is not None


def read_synsets(folder: Path, wnids: Iterable[str]) -> dict[str, Synset]:
    """Nouns and all that lie above them, whichever way, from WordNet 3.0's ``data.noun`` in a folder.

    Raises:
        UserError: no such file, another version of WordNet, or no such noun.
    """
    path = folder / "data.noun"
    found: dict[str, Synset] = {}
    waiting = list(wnids)
    try:
        with path.open("rb") as file:
            _license(file, path)
            while waiting:
                wnid = waiting.pop()
                if wnid not in found:
                    found[wnid] = _synset_at(file, path, wnid)
                    waiting.extend(found[wnid].hypernyms)
    except OSError as error:
        raise UserError(
            f"cannot read WordNet's nouns, {path} ({error.strerror}): install wordnet-base (Debian, Ubuntu), "
            f"or give the folder that holds WordNet 3.0's data.noun"
        ) from None
    return found


def parent(synsets: Mapping[str, Synset], wnid: str) -> str | None:
    """The hypernym whose first word is first in the alphabet, not in WordNet's order; None at the root."""
    return min(
        synsets[wnid].hypernyms, key=lambda above: synsets[above].word.lower().replace(" ", "_"), default=None
    )


def path_from_root(synsets: Mapping[str, Synset], wnid: str) -> list[str]:
    """The wnids from the root down to a noun, along parents (see ``parent``)."""
    path = [wnid]
    while (above := parent(synsets, path[-1])) is not None:
        path.append(above)
    return path[::-1]


@cache
def imagenet_synsets() -> Mapping[str, Synset]:
    """ImageNet-1k's 1000 nouns and all that lie above them, from the table of this package."""
    rows = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return {wnid: Synset(word, tuple(hypernyms.split())) for wnid, hypernyms, word in rows}


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """ImageNet-1k's 1000 wnids in the order of its classes (sorted): the nouns with none below them."""
    synsets = imagenet_synsets()
    above = {hypernym for synset in synsets.values() for hypernym in synset.hypernyms}
    return tuple(sorted(synsets.keys() - above))


def table_text(folder: Path, wnids: Iterable[str]) -> str:
    """The table of this package as it follows from WordNet's files; see ``read_synsets``."""
    synsets = read_synsets(folder, wnids)
    path = folder / "data.noun"
    with path.open("rb") as file:
        about = _ABOUT_TABLE + _license(file, path)
    header = [f"# {line}".rstrip() for line in about.splitlines()]
    rows = ["\t".join((wnid, " ".join(above), word)) for wnid, (word, above) in sorted(synsets.items())]
    return "\n".join([*header, *rows]) + "\n"


def _license(file: BinaryIO, path: Path) -> str:
    """The text at the beginning of ``data.noun``: lines of two blanks, a number, and what it says."""
    lines = []
    while (line := file.readline()).startswith(b"  "):
        lines.append(line.decode(errors="replace").strip().partition(" ")[2].rstrip())
    text = "\n".join(lines)
    if "WordNet 3.0" not in text:
        raise UserError(
            f"{path} is not WordNet 3.0's: wnids are offsets in that version, so give the folder of 3.0"
        )
    return text


def _synset_at(file: BinaryIO, path: Path, wnid: str) -> Synset:
    offset = wnid[1:]
    file.seek(max(int(offset) - 1, 0))
    end_of_last_line, line = file.read(1), file.readline().decode(errors="replace")
    if end_of_last_line != b"\n" or not line.startswith(f"{offset} "):
        raise UserError(f"WordNet 3.0 has no noun {wnid} ({path}): check the class name")
    try:
        # offset, file number, "n", number of words, (word, number)*, number of pointers,
        # (symbol, offset, part of speech, which words)*, | gloss; the number of words is hexadecimal
        fields = line[: line.index(" | ")].split()
        after_words = 4 + 2 * int(fields[3], 16)
        end = after_words + 1 + 4 * int(fields[after_words])
        symbols, offsets = fields[after_words + 1 : end : 4], fields[after_words + 2 : end : 4]
        pointers = zip(symbols, offsets, strict=True)
        hypernyms = tuple(f"n{above}" for symbol, above in pointers if symbol in _HYPERNYMS)
        return Synset(fields[4].replace("_", " "), hypernyms)
    except (ValueError, IndexError):
        raise UserError(f"{path} is damaged at the noun {wnid}: install WordNet 3.0 again") from None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Derive this package's table of ImageNet-1k's nouns anew."""

    folder: tyro.conf.Positional[Path] = WORDNET
    """Folder of WordNet 3.0's data.noun."""


def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = read_options(Options, "python -m fastssl.classes.wordnet", argv)
    text = table_text(options.folder, imagenet_wnids())
    with atomic_file(TABLE) as file:
        file.write(text.encode())
    print(f"{TABLE}: {len(imagenet_wnids())} classes")
    return 0


if __name__ == "__main__":
    run_command(main)
