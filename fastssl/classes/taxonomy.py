"""Coarser classes for supervised pre-training.

    python -m fastssl.classes.taxonomy NAME [--wordnet DIR] [--data WHERE]

NAME is one of
    classes     the classes as they are
    artifact    an artifact (n00021939) or not: the balanced two of the paper
    up-N        each class replaced by its parent, N times; after each time a group that lies below another
                one is merged into it. up-1, up-2, up-3 are the paper's 127, 10 and imbalanced 2
    depth-N     the ancestor N steps below the root of WordNet's nouns; a class that lies higher stands for
                itself. depth-6 is the paper's 79
    FILE        a mapping file, one ``class<TAB>group`` per line (``fastssl.classes.mapping``)

A noun of WordNet may have several hypernyms. Its parent is the one whose first word (lower case, underscores
for blanks) comes first in the alphabet, so that the nouns form one tree. Groups of ImageNet-1k by this rule:

    artifact           2 (522 : 478 classes)
    up-1, 2, 3         127, 10, 2 (997 : 3 classes)
    depth-1 to 18      2 5 9 17 36 79 206 345 486 596 694 753 820 877 918 977 999 1000

Sources: "Revisiting the critical factors of augmentation-invariant representation learning" (2022), appendix
B.2 and table 6, which takes its groups from Huh, Agrawal, Efros, "What makes ImageNet good for transfer
learning?" (2016). The paper does not state the way up for ``artifact``; here it is the same tree's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from fastssl.classes.mapping import mapped_groups, read_mapping
from fastssl.classes.wordnet import (
    WORDNET,
    Synset,
    imagenet_synsets,
    imagenet_wnids,
    is_wnid,
    parent,
    path_from_root,
    read_synsets,
)
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.suggest import suggest
from pipelines.sources import open_source

ARTIFACT = "n00021939"
_ALONG = "along parents (of several hypernyms the first in the alphabet)"
_SUGGESTIONS = ("artifact", "up-1", "up-2", "up-3", "depth-1", "depth-6", "depth-15", "classes")


def group_classes(
    class_names: Sequence[str], taxonomy: str, wordnet: Path = WORDNET
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The groups that a taxonomy makes of classes.

    Args:
        class_names: names of the data's classes, all different; wnids, if the taxonomy is one of WordNet's.
        taxonomy: ``classes``, ``artifact``, ``up-N``, ``depth-N``, or the path of a mapping file.
        wordnet: folder of WordNet 3.0's files, read for wnids that have no part in ImageNet-1k.

    Returns:
        the group of each class, int64 [number of classes], a position in the names of the groups, which are
        sorted (``classes``: as the classes are).

    Raises:
        UserError: an unknown taxonomy, a mapping file that does not fit, or a class that is not in WordNet.
    """
    if taxonomy == "classes":
        return np.arange(len(class_names)), tuple(class_names)
    if _is_wordnets(taxonomy):
        of_class = _wordnet_groups(_synsets(class_names, taxonomy, wordnet), class_names, taxonomy)
    else:
        of_class = mapped_groups(_mapping_file(taxonomy), class_names)
    group_names = sorted(set(of_class))
    positions = {name: position for position, name in enumerate(group_names)}
    return np.array([positions[name] for name in of_class], np.int64), tuple(group_names)


def rule(taxonomy: str) -> str:
    """One line: the rule by which a taxonomy groups classes."""
    if taxonomy == "classes":
        return "every class by itself"
    if taxonomy == "artifact":
        return f"whether {ARTIFACT} (artifact) lies above the class in WordNet 3.0, {_ALONG}"
    cut = _cut(taxonomy)
    if cut and cut[0] == "up":
        return (
            f"the noun {cut[1]} steps above the class in WordNet 3.0, {_ALONG}; "
            "after each step a group below another one is merged into it"
        )
    if cut:
        return (
            f"the noun at depth {cut[1]} above the class in WordNet 3.0, counted from the root, {_ALONG}; "
            "the class itself where it lies higher"
        )
    return f"as the file {taxonomy} says"


def _cut(taxonomy: str) -> tuple[str, int] | None:
    """``up`` or ``depth`` and N of ``up-N`` and ``depth-N``; None for other names."""
    found = re.fullmatch(r"(up|depth)-([1-9][0-9]*)", taxonomy)
    return (found[1], int(found[2])) if found else None


def _is_wordnets(taxonomy: str) -> bool:
    return taxonomy == "artifact" or _cut(taxonomy) is not None


def _mapping_file(taxonomy: str) -> Path:
    path = Path(taxonomy).expanduser()
    if not path.is_file():
        hint = suggest(taxonomy, _SUGGESTIONS, form=" ({})")
        raise UserError(
            f"no taxonomy and no mapping file {taxonomy}{hint}: give artifact, up-1 to up-3, depth-1, "
            f"depth-2, ..., classes, or the path of a file of classes and their groups"
        )
    return path


def _synsets(class_names: Sequence[str], taxonomy: str, wordnet: Path) -> Mapping[str, Synset]:
    """The nouns that classes stand for, and all above them."""
    known = imagenet_synsets()
    others = [name for name in class_names if name not in known]
    for name in others:
        if not is_wnid(name):
            raise UserError(
                f"{taxonomy} needs classes named by wnids such as n01440764, and {name!r} is none: "
                f"rename the class folders, or give a mapping file in place of {taxonomy}"
            )
    return known if not others else {**known, **read_synsets(wordnet, others)}


def _wordnet_groups(synsets: Mapping[str, Synset], wnids: Sequence[str], taxonomy: str) -> list[str]:
    """The name of each class's group: its wnid and its word, or artifact or not."""
    cut = _cut(taxonomy)
    if cut and cut[0] == "up":
        groups = list(wnids)
        for _ in range(cut[1]):
            groups = _merged(synsets, [parent(synsets, group) or group for group in groups])
    else:
        paths = [path_from_root(synsets, wnid) for wnid in wnids]
        if not cut:
            return ["artifact" if ARTIFACT in path else "no artifact" for path in paths]
        groups = [path[min(cut[1], len(path) - 1)] for path in paths]
    return [f"{group} {synsets[group].word}" for group in groups]


def _merged(synsets: Mapping[str, Synset], groups: list[str]) -> list[str]:
    """Each group, or the highest of the groups above it."""
    there = set(groups)
    highest = {
        group: next(above for above in path_from_root(synsets, group) if above in there) for group in there
    }
    return [highest[group] for group in groups]


# --- the command --------------------------------------------------------------------------------------------


def describe(taxonomy: str, wordnet: Path, data: str) -> Iterator[str]:
    """The lines that the command prints: a mapping file, and as remarks its rule, sizes and imbalance."""
    where, class_names, images = _classes(taxonomy, data)
    groups, group_names = group_classes(class_names, taxonomy, wordnet)
    synsets = imagenet_synsets()
    for name, group in zip(class_names, groups.tolist(), strict=True):
        word = f"\t{synsets[name].word}" if name in synsets else ""
        yield f"{name}\t{group_names[group]}{word}"
    counts = {"classes": np.bincount(groups)}
    if images is not None:
        counts["images"] = np.bincount(groups, weights=images).astype(np.int64)
    width = max(map(len, group_names))
    yield "#"
    yield f"# {'group':<{width}}" + "".join(f"{unit:>10}" for unit in counts)
    for group in np.argsort(-counts["classes"], kind="stable").tolist():
        yield f"# {group_names[group]:<{width}}" + "".join(f"{sizes[group]:>10}" for sizes in counts.values())
    yield "#"
    yield f"# {taxonomy}: {rule(taxonomy)}"
    yield f"# {len(class_names)} classes of {where} in {len(group_names)} groups"
    for unit, sizes in counts.items():
        ratio = f" = {sizes.max() / sizes.min():.1f} : 1" if sizes.min() else ""
        yield f"# largest group : smallest = {sizes.max()} : {sizes.min()} {unit}{ratio}"


def _classes(taxonomy: str, data: str) -> tuple[str, Sequence[str], np.ndarray | None]:
    """Origin of the classes, their names, and images per class (int64), if known."""
    if data:
        index = open_source(data, "train").index
        if index.labels is None:
            raise UserError(f"{data} has no classes to group: put the images into one folder per class")
        return data, index.class_names, np.bincount(index.labels, minlength=len(index.class_names))
    if taxonomy == "classes" or _is_wordnets(taxonomy):
        return "ImageNet-1k", imagenet_wnids(), None
    return taxonomy, tuple(read_mapping(_mapping_file(taxonomy))), None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Print which classes a taxonomy takes together, its rule, the groups' sizes and the imbalance.

    The output is itself a mapping file, to be changed and given in place of NAME.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """artifact, up-1, up-2, up-3, depth-1, ..., classes, or a file: class, tab, group on each line."""
    wordnet: Path = WORDNET
    """Folder of WordNet 3.0's data.noun, for classes that are not ImageNet-1k's."""
    data: str = ""
    """Named like the training's --data; left out, ImageNet-1k's classes, or those of the file."""


def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = read_options(Options, "python -m fastssl.classes.taxonomy", argv)
    print("\n".join(describe(options.name, options.wordnet, options.data)))
    return 0


if __name__ == "__main__":
    run_command(main)
