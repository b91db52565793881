from __future__ import annotations

import re
from pathlib import Path

import pytest
from torchvision.models import ResNet50_Weights

from fastssl.classes import wordnet
from fastssl.classes.wordnet import (
    TABLE,
    WORDNET,
    Synset,
    imagenet_synsets,
    imagenet_wnids,
    is_wnid,
    path_from_root,
    read_synsets,
    table_text,
)
from pipelines.command.errors import UserError
from tests.helpers.wordnet_files import LICENSE, Noun, write_nouns

NOUNS = [
    Noun(("entity",)),
    Noun(("thing",), ("entity",)),
    Noun(("living_thing", *(f"word{i}" for i in range(15))), ("thing",)),  # 16 words: written 10
    Noun(("tool",), ("thing",)),
    Noun(("carthorse", "dray_horse"), ("tool", "living_thing")),
    Noun(("Bucephalus",), instance_of=("carthorse",)),
]


def test_nouns_and_all_above_them_are_read(tmp_path: Path) -> None:
    wnids = write_nouns(tmp_path, NOUNS)
    entity, thing, living, tool, horse, bucephalus = wnids.values()
    assert read_synsets(tmp_path, [bucephalus]) == {
        bucephalus: Synset("Bucephalus", (horse,)),
        horse: Synset("carthorse", (tool, living)),
        tool: Synset("tool", (thing,)),
        living: Synset("living thing", (thing,)),
        thing: Synset("thing", (entity,)),
        entity: Synset("entity", ()),
    }
    assert set(read_synsets(tmp_path, [tool])) == {tool, thing, entity}


def test_the_path_follows_the_alphabet(tmp_path: Path) -> None:
    """The carthorse is a tool first by WordNet's order and a living thing by the alphabet's."""
    wnids = write_nouns(tmp_path, NOUNS)
    synsets = read_synsets(tmp_path, [wnids["Bucephalus"]])
    path = path_from_root(synsets, wnids["Bucephalus"])
    words = [synsets[wnid].word for wnid in path]
    assert words == ["entity", "thing", "living thing", "carthorse", "Bucephalus"]
    assert path_from_root(synsets, wnids["entity"]) == [wnids["entity"]]


def test_places_between_nouns_are_none(tmp_path: Path) -> None:
    wnids = write_nouns(tmp_path, NOUNS)
    text = (tmp_path / "data.noun").read_text()
    inside = text.index(f"{wnids['tool'][1:]} v")  # of a pointer
    for place in (0, inside, int(wnids["tool"][1:]) + 1, len(text), len(text) + 1000):
        with pytest.raises(UserError, match=f"no noun n{place:08d}"):
            read_synsets(tmp_path, [f"n{place:08d}"])


def test_a_folder_without_wordnet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/data.noun")) as error:
        read_synsets(tmp_path, ["n00001740"])
    assert "\n" not in str(error.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    wnids = write_nouns(tmp_path, NOUNS, LICENSE.replace("WordNet 3.0", "WordNet 3.1"))
    with pytest.raises(UserError, match=r"not WordNet 3\.0's"):
        read_synsets(tmp_path, [wnids["tool"]])


@pytest.mark.parametrize("kept", [12, 40, 68])  # characters: no words, no pointers, one hypernym of two
def test_a_line_that_is_cut_short(tmp_path: Path, kept: int) -> None:
    wnids = write_nouns(tmp_path, NOUNS)
    path = tmp_path / "data.noun"
    path.write_text(path.read_text()[: int(wnids["carthorse"][1:]) + kept])
    with pytest.raises(UserError, match=f"damaged at the noun {wnids['carthorse']}"):
        read_synsets(tmp_path, [wnids["carthorse"]])


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("n01440764", True), ("n0144076", False), ("v01440764", False), ("n01440764x", False)],
)
def test_the_form_of_a_wnid(name: str, is_one: bool) -> None:
    assert is_wnid(name) is is_one


def test_the_table_has_imagenets_classes_in_order() -> None:
    """torchvision names the 1000 classes by WordNet's words; two that share a word it tells apart."""
    words = [imagenet_synsets()[wnid].word for wnid in imagenet_wnids()]
    names = list(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])
    assert len(words) == 1000
    different = {name: word for name, word in zip(names, words, strict=True) if name.lower() != word.lower()}
    assert different == {"crane bird": "crane", "maillot tank suit": "maillot"}
    assert imagenet_wnids()[0] == "n01440764"
    assert imagenet_wnids()[-1] == "n15075141"


def test_every_way_up_ends_at_the_root() -> None:
    synsets = imagenet_synsets()
    assert [wnid for wnid, synset in synsets.items() if not synset.hypernyms] == ["n00001740"]
    assert all(above in synsets for synset in synsets.values() for above in synset.hypernyms)
    assert all(map(is_wnid, synsets))


def test_the_table_carries_wordnets_license() -> None:
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in TABLE.read_text()


def test_the_table_names_the_command_that_made_it(tmp_path: Path) -> None:
    wnids = write_nouns(tmp_path, NOUNS)
    header = table_text(tmp_path, [wnids["tool"]]).splitlines()[:5]
    assert TABLE.read_text().splitlines()[:5] == header


def test_a_table_is_derived(tmp_path: Path) -> None:
    wnids = write_nouns(tmp_path, NOUNS)
    lines = table_text(tmp_path, [wnids["carthorse"], wnids["tool"]]).splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    assert rows == [
        f"{wnids['entity']}\t\tentity",
        f"{wnids['thing']}\t{wnids['entity']}\tthing",
        f"{wnids['living_thing']}\t{wnids['thing']}\tliving thing",
        f"{wnids['tool']}\t{wnids['thing']}\ttool",
        f"{wnids['carthorse']}\t{wnids['tool']} {wnids['living_thing']}\tcarthorse",
    ]


def test_the_command_writes_the_table_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where WordNet lacks a class the table stands as it stood."""
    table = tmp_path / "table.tsv"
    table.write_text("as it was")
    monkeypatch.setattr(wordnet, "TABLE", table)
    write_nouns(tmp_path, NOUNS)
    with pytest.raises(UserError, match="no noun"):
        wordnet.main([str(tmp_path)])
    assert table.read_text() == "as it was"
    monkeypatch.setattr(wordnet, "imagenet_wnids", lambda: (write_nouns(tmp_path, NOUNS)["tool"],))
    assert wordnet.main([str(tmp_path)]) == 0
    assert table.read_text() == table_text(tmp_path, [write_nouns(tmp_path, NOUNS)["tool"]])


needs_wordnet = pytest.mark.skipif(
    not (WORDNET / "data.noun").exists(), reason="WordNet is not installed (Debian: wordnet-base)"
)


@needs_wordnet
def test_the_table_is_what_wordnet_gives() -> None:
    assert TABLE.read_text() == table_text(WORDNET, imagenet_wnids())


@needs_wordnet
def test_the_table_agrees_with_a_plain_reading_of_wordnet() -> None:
    """The whole file, line by line, with a pattern for pointers to hypernyms."""
    hypernyms: dict[str, tuple[str, ...]] = {}
    for line in (WORDNET / "data.noun").read_text().splitlines():
        if not line.startswith("  "):
            found = re.findall(r" @i? (\d{8}) n 0000", line.split(" | ")[0])
            hypernyms[f"n{line[:8]}"] = tuple(f"n{place}" for place in found)
    assert all(hypernyms[wnid] == synset.hypernyms for wnid, synset in imagenet_synsets().items())
