"""Small files in the format of WordNet 3.0's data.noun, for the tests of what reads them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

LICENSE = """\
  1 This database is being provided to you, the LICENSEE.  
  2   
  3 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.  
"""  # noqa: W291 (as WordNet has them)


class Noun(NamedTuple):
    """A line: its words, its hypernyms by their first words, and where it must stand, if anywhere.

    Attributes:
        instance_of: hypernyms of an instance (@i in place of @).
    """

    words: tuple[str, ...]
    hypernyms: tuple[str, ...] = ()
    instance_of: tuple[str, ...] = ()
    place: int | None = None


def write_nouns(folder: Path, nouns: list[Noun], license: str = LICENSE) -> dict[str, str]:
    """Write data.noun, in order; a gloss is stretched where the next noun must stand at a place.

    Returns:
        the wnid of each noun by its first word.
    """
    empty = {noun.words[0]: "00000000" for noun in nouns}
    places: dict[str, str] = {}
    gaps = dict.fromkeys(empty, 0)
    at, before = len(license), ""
    for noun in nouns:
        if noun.place is not None:
            assert noun.place >= at
            gaps[before] = noun.place - at
            at = noun.place
        places[noun.words[0]] = f"{at:08d}"
        at += len(_line(noun, empty, 0))
        before = noun.words[0]
    lines = [_line(noun, places, gaps[noun.words[0]]) for noun in nouns]
    folder.mkdir(exist_ok=True)
    (folder / "data.noun").write_text(license + "".join(lines))
    return {word: f"n{place}" for word, place in places.items()}


def _line(noun: Noun, places: dict[str, str], gap: int) -> str:
    own = places[noun.words[0]]
    words = " ".join(f"{word} 0" for word in noun.words)
    # pointers that are no hypernyms stand before, between and after: part of, derived from, below
    pointers = [f"#p {own} n 0000"]
    pointers += [f"@ {places[above]} n 0000" for above in noun.hypernyms]
    pointers += [f"+ {own} v 0101"]
    pointers += [f"@i {places[above]} n 0000" for above in noun.instance_of]
    pointers += [f"~ {own} n 0000"]
    gloss = "a gloss @ 00000000 n 0000" + "." * gap
    return f"{own} 03 n {len(noun.words):02x} {words} {len(pointers):03d} {' '.join(pointers)} | {gloss}  \n"
