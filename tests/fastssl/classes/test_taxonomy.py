from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastssl.classes import taxonomy
from fastssl.classes.taxonomy import ARTIFACT, group_classes
from fastssl.classes.wordnet import imagenet_synsets, imagenet_wnids
from pipelines.command.errors import UserError
from tests.helpers.image_folder import write_colors
from tests.helpers.wordnet_files import Noun, write_nouns

NOUNS = [
    Noun(("entity",)),
    Noun(("object",), ("entity",)),
    Noun(("idea",), ("entity",)),
    Noun(("living_thing",), ("object",)),
    Noun(("artifact",), ("object",), place=int(ARTIFACT[1:])),
    Noun(("vehicle",), ("artifact",)),
    Noun(("animal",), ("living_thing",)),
    Noun(("truck",), ("vehicle",)),
    Noun(("carthorse",), ("animal", "vehicle")),
    Noun(("decoy",), ("vehicle", "animal")),
    Noun(("symbol",), ("idea",)),
]
CLASSES = ("truck", "carthorse", "decoy", "symbol", "living_thing")


def groups_by_word(tmp_path: Path, name: str) -> dict[str, str]:
    """The name of the group of each of CLASSES by its word, from small files of nouns."""
    wnids = write_nouns(tmp_path, NOUNS)
    groups, names = group_classes([wnids[word] for word in CLASSES], name, tmp_path)
    assert groups.dtype == np.int64
    assert list(names) == sorted(names)
    assert sorted(set(groups.tolist())) == list(range(len(names)))
    words = {wnid: word for word, wnid in wnids.items()}
    named = {word: names[group] for word, group in zip(CLASSES, groups.tolist(), strict=True)}
    for group in named.values():  # a group of a cut is named by its wnid and its word
        wnid, _, word = group.partition(" ")
        assert wnid not in words or words[wnid].replace("_", " ") == word
    return named


def words_only(groups: dict[str, str]) -> list[str]:
    return [group.partition(" ")[2] for group in groups.values()]


# --- cuts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("depth-1", ["object", "object", "object", "idea", "object"]),
        ("depth-2", ["artifact", "living thing", "living thing", "symbol", "living thing"]),
        ("depth-3", ["vehicle", "animal", "animal", "symbol", "living thing"]),
        ("depth-4", ["truck", "carthorse", "decoy", "symbol", "living thing"]),
        ("depth-99", ["truck", "carthorse", "decoy", "symbol", "living thing"]),
        # animal and living thing's parent, object: animal lies below object and is merged into it
        ("up-1", ["object", "object", "object", "idea", "object"]),
        ("up-2", ["entity", "entity", "entity", "entity", "entity"]),
        ("up-9", ["entity", "entity", "entity", "entity", "entity"]),
    ],
)
def test_cuts_follow_the_alphabet_and_steps_up_merge_what_lies_below(
    tmp_path: Path, name: str, expected: list[str]
) -> None:
    """Two nouns have the same parents in another order; a class above the cut stands for itself."""
    assert words_only(groups_by_word(tmp_path, name)) == expected


def test_steps_up_depend_on_the_classes(tmp_path: Path) -> None:
    """Without the class living_thing, which takes all to object, groups are the parents themselves."""
    wnids = write_nouns(tmp_path, NOUNS)
    classes = [wnids[word] for word in ("truck", "carthorse", "decoy", "symbol")]
    groups, names = group_classes(classes, "up-1", tmp_path)
    assert [names[group].partition(" ")[2] for group in groups] == ["vehicle", "animal", "animal", "idea"]
    groups, names = group_classes(classes, "up-2", tmp_path)  # artifact, living thing, and entity above both
    assert [names[group].partition(" ")[2] for group in groups] == ["entity"] * 4


def test_an_artifact_is_one_by_its_parents(tmp_path: Path) -> None:
    assert list(groups_by_word(tmp_path, "artifact").values()) == [
        "artifact",
        "no artifact",
        "no artifact",
        "no artifact",
        "no artifact",
    ]


def test_artifact_itself_is_an_artifact() -> None:
    _, names = group_classes([ARTIFACT], "artifact")
    assert names == ("artifact",)


def test_classes_stand_for_themselves_in_their_order() -> None:
    groups, names = group_classes(["b", "a", "10", "9"], "classes")
    assert names == ("b", "a", "10", "9")
    assert groups.dtype == np.int64
    assert groups.tolist() == [0, 1, 2, 3]


def test_a_class_that_is_no_wnid() -> None:
    with pytest.raises(UserError, match=r"depth-3 needs .*'airplane'"):
        group_classes(["n01440764", "airplane"], "depth-3")


def test_a_wnid_beyond_imagenet_needs_wordnet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"wordnet-base"):
        group_classes(["n01440764", "n00000001"], "depth-3", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["depth-0", "depth-", "depth-x", "up-0", "up-", "down-1", "Artifact", "no/such/file", ""]
)
def test_an_unknown_taxonomy(name: str) -> None:
    with pytest.raises(UserError, match="no taxonomy"):
        group_classes(["n01440764"], name)


def test_a_misspelt_taxonomy_is_guessed() -> None:
    with pytest.raises(UserError, match=r"did you mean artifact\?"):
        group_classes(["n01440764"], "artefact")


# --- ImageNet-1k: the paper's numbers -----------------------------------------------------------------------


def sizes(name: str) -> list[int]:
    groups, names = group_classes(imagenet_wnids(), name)
    assert len(groups) == 1000
    return sorted(np.bincount(groups, minlength=len(names)).tolist(), reverse=True)


def all_paths(wnid: str) -> list[tuple[str, ...]]:
    """Every way from the root to a noun."""
    above = imagenet_synsets()[wnid].hypernyms
    return [(*path, wnid) for parent in above for path in all_paths(parent)] if above else [(wnid,)]


# sizes of the groups that Huh, Agrawal, Efros (2016), the paper's source, published; largest first
PUBLISHED = {
    "artifact": [522, 478],
    "up-3": [997, 3],
    "up-2": [955, 22, 13, 3, 2, 1, 1, 1, 1, 1],
    "depth-6": [398, 124, 92, 59, 37, 36, 29, 27, 21, 16, 14, 13, 10, 10],
    "up-1": [218, 124, 92, 59, 57, 47, 43, 25, 21, 17],
}
DEPTHS = [2, 5, 9, 17, 36, 79, 206, 345, 486, 596, 694, 753, 820, 877, 918, 977, 999, 1000]


@pytest.mark.parametrize(
    ("name", "count"), [("artifact", 2), ("up-3", 2), ("up-2", 10), ("depth-6", 79), ("up-1", 127)]
)
def test_the_papers_groups(name: str, count: int) -> None:
    found = sizes(name)
    assert len(found) == count
    assert found[: len(PUBLISHED[name])] == PUBLISHED[name]


def test_numbers_of_groups_by_depth() -> None:
    assert [len(sizes(f"depth-{depth}")) for depth in range(1, 19)] == DEPTHS
    assert " ".join(map(str, DEPTHS)) in (taxonomy.__doc__ or "")


def test_three_steps_up_and_depth_1_are_the_same_groups() -> None:
    """Two rules for the imbalanced two."""
    (up, above), (deep, below) = (group_classes(imagenet_wnids(), name) for name in ("up-3", "depth-1"))
    assert above == below
    assert np.array_equal(up, deep)


def test_ways_up_bound_the_artifacts() -> None:
    """522 classes are artifacts on some way to the root, 515 on all of them."""
    groups, names = group_classes(imagenet_wnids(), "artifact")
    ours = {
        wnid
        for wnid, group in zip(imagenet_wnids(), groups.tolist(), strict=True)
        if names[group] == "artifact"
    }
    on_some = {w for w in imagenet_wnids() if any(ARTIFACT in path for path in all_paths(w))}
    on_all = {w for w in imagenet_wnids() if all(ARTIFACT in path for path in all_paths(w))}
    assert (len(on_some), len(on_all)) == (522, 515)
    assert on_all < ours == on_some


def test_groups_are_the_first_of_all_ways_up() -> None:
    """First in the alphabet, read from the class up to the root; so that each cut is finer than the last."""
    synsets = imagenet_synsets()

    def words(way: tuple[str, ...]) -> list[str]:
        return [synsets[noun].word.lower().replace(" ", "_") for noun in way[::-1]]

    paths = [min(all_paths(wnid), key=words) for wnid in imagenet_wnids()]
    for depth in range(1, 19):
        groups, names = group_classes(imagenet_wnids(), f"depth-{depth}")
        expected = [path[min(depth, len(path) - 1)] for path in paths]
        assert [names[group] for group in groups] == [f"{noun} {synsets[noun].word}" for noun in expected]


# --- mapping files ------------------------------------------------------------------------------------------


def mapped(tmp_path: Path, text: str, classes: tuple[str, ...] = ("cat", "sea lion", "bus")) -> list[str]:
    path = tmp_path / "mine.tsv"
    path.write_text(text)
    groups, names = group_classes(classes, str(path))
    return [names[group] for group in groups.tolist()]


def test_a_mapping_file(tmp_path: Path) -> None:
    text = "# mine\n\nbus\tmade by people\tyellow\ncat living thing\n  sea lion \t living thing \r\n"
    assert mapped(tmp_path, text) == ["living thing", "living thing", "made by people"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat a\nbus b\n", r"no group for the class sea lion:"),
        ("cat a\n", r"no group for 2 classes, sea lion first"),
        ("cat a\nbuss b\nsea lion\ta\n", r"no group for the class bus \(did you mean buss\?"),
        ("cat a\nbus b\nsea lion\ta\ndog a\n", r"has the class dog, which the data lacks"),
        ("cat a\nbus b\nsea lion\ta\ndog a\nemu a\n", r"has 2 classes, dog first, which the data lacks"),
        ("cat a\nbus b\nsea lion\ta\ncat a\n", r"the class cat twice, in lines 1 and 4"),
        ("cat a\nbus\n", r"line 2: 'bus' must be"),
        ("cat\t\t\n", r"line 1: 'cat' must be"),
        ("# nothing\n", r"is empty"),
    ],
)
def test_a_mapping_file_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        mapped(tmp_path, text)
    assert str(tmp_path / "mine.tsv") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mapping_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no UTF-8 text: save it as such"):
        group_classes(["cat"], str(tmp_path / "mine.tsv"))


# --- the command --------------------------------------------------------------------------------------------


def output(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    assert taxonomy.main(list(argv)) == 0
    return capsys.readouterr().out.splitlines()


def test_the_command_prints_mapping_sizes_rule_and_imbalance(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "depth-1")
    assert lines[0] == "n01440764\tn00001930 physical entity\ttench"
    mapping = [line.split("\t")[1] for line in lines if not line.startswith("#")]
    assert Counter(mapping) == {"n00001930 physical entity": 997, "n00002137 abstraction": 3}
    rows = [line.split() for line in lines if line.startswith("#")]
    assert ["#", "n00001930", "physical", "entity", "997"] in rows
    assert ["#", "n00002137", "abstraction", "3"] in rows
    text = "\n".join(lines)
    assert "of several hypernyms the first in the alphabet" in text
    assert "1000 classes of ImageNet-1k in 2 groups" in text
    assert "997 : 3 classes = 332.3 : 1" in text


def test_what_the_command_prints_is_a_mapping_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "up-2.tsv"
    path.write_text("\n".join(output(capsys, "up-2")))
    expected, names = group_classes(imagenet_wnids(), "up-2")
    groups, names_read = group_classes(imagenet_wnids(), str(path))
    assert names_read == names
    assert np.array_equal(groups, expected)
    lines = output(capsys, str(path))
    assert f"# 1000 classes of {path} in 10 groups" in lines


def test_the_command_counts_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for count, name in ((2, "blue"), (3, "green"), (7, "red")):
        write_colors(tmp_path / "data", count, names=(name,))
    mapping = tmp_path / "mapping.txt"
    mapping.write_text("blue cold\ngreen cold\nred warm\n")
    lines = output(capsys, str(mapping), "--data", str(tmp_path / "data"))
    rows = [line.split() for line in lines if line.startswith("#")]
    assert ["#", "group", "classes", "images"] in rows
    assert ["#", "cold", "2", "5"] in rows
    assert ["#", "warm", "1", "7"] in rows
    assert f"# 3 classes of {tmp_path / 'data'} in 2 groups" in lines
    assert "# largest group : smallest = 7 : 5 images = 1.4 : 1" in lines


def test_the_command_reads_wordnet_for_other_classes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wnids = write_nouns(tmp_path / "wordnet", NOUNS)
    (tmp_path / "data").mkdir()
    write_colors(tmp_path / "images", 1)
    for color, word in (("blue", "truck"), ("red", "symbol")):
        (tmp_path / "images" / color).rename(tmp_path / "data" / wnids[word])
    lines = output(
        capsys, "depth-1", "--data", str(tmp_path / "data"), "--wordnet", str(tmp_path / "wordnet")
    )
    assert lines[0] == f"{wnids['truck']}\t{wnids['object']} object"
    assert lines[1] == f"{wnids['symbol']}\t{wnids['idea']} idea"


def test_the_command_refuses_data_without_classes(tmp_path: Path) -> None:
    write_colors(tmp_path, 1, names=("red",))
    with pytest.raises(UserError, match="no classes"):
        taxonomy.main(["artifact", "--data", str(tmp_path / "red")])
