"""Coarser classes for supervised pre-training.

    python -m fastssl.classes.taxonomy NAME [--wordnet DIR] [--data WHERE]

NAME is one of
    classes     the classes as they are
    artifact    an artifact (n00021939) or not: the balanced two of the paper
    depth-N     the ancestor N steps below the root of WordNet's nouns; a class that lies higher stands for
                itself. depth-1 is the paper's imbalanced two, depth-3 its ten
    FILE        a mapping file, one ``class<TAB>group`` a line (``fastssl.classes.mapping``)

A noun of WordNet may have several hypernyms. Here the first one counts, so that the nouns form one tree, the
cuts are nested, and an artifact is what has n00021939 on its only way to the root. The figures of ImageNet-1k
by this rule, from this command: 2 groups (997 : 3 classes) at depth 1, 10 at 3, 83 at 6, 918 at 15, 1000 from
18 on; artifact 516 : 484. The paper has 79 where depth 6 gives 83: it does not say how it resolves several
hypernyms, and other rules give 76 to 88. Its 127 groups follow from no cut: give them as a mapping file.

Source: "Revisiting the critical factors of augmentation-invariant representation learning" (2022), appendix
B.2 and table 6.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from fastssl.classes.mapping import mapped_groups, read_mapping
from fastssl.classes.wordnet import (
    WORDNET,
    Synset,
    first_path,
    imagenet_synsets,
    imagenet_wnids,
    is_wnid,
    read_synsets,
)
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import later, one_line_complaints
from pipelines.command.suggest import suggest
from pipelines.sources import open_source

ARTIFACT = "n00021939"
_SUGGESTIONS = ("artifact", "depth-1", "depth-3", "depth-6", "depth-15", "classes")


def group_classes(
    class_names: Sequence[str], taxonomy: str, wordnet: Path = WORDNET
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The groups that a taxonomy makes of classes.

    Args:
        class_names: of the data, all different; wnids, if the taxonomy is one of WordNet's.
        taxonomy: ``classes``, ``artifact``, ``depth-N``, or the path of a mapping file.
        wordnet: folder of WordNet 3.0's files, read for wnids that have no part in ImageNet-1k.

    Returns:
        the group of each class, int64 [number of classes], a position in the names of the groups, which are
        sorted (``classes``: as the classes are).

    Raises:
        UserError: an unknown taxonomy, a mapping file that does not fit, or a class that is not in WordNet.
    """
    if taxonomy == "classes":
        return np.arange(len(class_names)), tuple(class_names)
    if taxonomy == "artifact" or _depth(taxonomy):
        synsets = _synsets(class_names, taxonomy, wordnet)
        of_class = [_wordnet_group(synsets, wnid, _depth(taxonomy)) for wnid in class_names]
    else:
        of_class = mapped_groups(_mapping_file(taxonomy), class_names)
    group_names = sorted(set(of_class))
    numbers = {name: number for number, name in enumerate(group_names)}
    return np.array([numbers[name] for name in of_class], np.int64), tuple(group_names)


def rule(taxonomy: str) -> str:
    """How a taxonomy groups classes, in a line."""
    if taxonomy == "classes":
        return "every class by itself"
    if taxonomy == "artifact":
        return f"whether {ARTIFACT} (artifact) lies above the class in WordNet 3.0, along first hypernyms"
    if _depth(taxonomy):
        return (
            f"the noun at depth {_depth(taxonomy)} above the class in WordNet 3.0, counted from the root and "
            f"along first hypernyms; the class itself where it lies higher"
        )
    return f"as the file {taxonomy} says"


def _depth(taxonomy: str) -> int:
    """N of ``depth-N``, otherwise 0."""
    found = re.fullmatch(r"depth-([1-9][0-9]*)", taxonomy)
    return int(found[1]) if found else 0


def _mapping_file(taxonomy: str) -> Path:
    path = Path(taxonomy).expanduser()
    if not path.is_file():
        hint = suggest(taxonomy, _SUGGESTIONS, form=" ({})")
        raise UserError(
            f"no taxonomy and no mapping file {taxonomy}{hint}: give artifact, depth-1, depth-2, ..., "
            f"classes, or the path of a file of classes and their groups"
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


def _wordnet_group(synsets: Mapping[str, Synset], wnid: str, depth: int) -> str:
    """Depth 0: artifact or not."""
    path = first_path(synsets, wnid)
    if not depth:
        return "artifact" if ARTIFACT in path else "no artifact"
    group = path[min(depth, len(path) - 1)]
    return f"{group} {synsets[group].word}"


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
    """Whose classes are grouped, their names, and how many images each has (int64), if that is known."""
    if data:
        index = open_source(data, "train").index
        if index.labels is None:
            raise UserError(f"{data} has no classes to group: put the images into one folder per class")
        return data, index.class_names, np.bincount(index.labels, minlength=len(index.class_names))
    if taxonomy in ("classes", "artifact") or _depth(taxonomy):
        return "ImageNet-1k", imagenet_wnids(), None
    return taxonomy, tuple(read_mapping(_mapping_file(taxonomy))), None


def show(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    /,
    wordnet: Path = WORDNET,
    data: str = "",
) -> None:
    """Print which classes a taxonomy takes together, its rule, the groups' sizes and the imbalance.

    The output is itself a mapping file, to be changed and given in place of NAME.

    Args:
        name: artifact, depth-1, depth-2, ..., classes, or a file: a class, a tab and its group on each line.
        wordnet: folder of WordNet 3.0's data.noun, for classes that are not ImageNet-1k's.
        data: as --data of the training; left out, ImageNet-1k's classes, or those of the file.
    """
    print("\n".join(describe(name, wordnet, data)))


def main(argv: list[str] | None = None) -> int:
    """The command."""
    prog = "python -m fastssl.classes.taxonomy"
    with one_line_complaints(prog):
        command = tyro.cli(later(show), prog=prog, args=sys.argv[1:] if argv is None else argv)
    command()
    return 0


if __name__ == "__main__":
    run_command(main)
