from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import cattrs
import pytest
import tyro

from fastssl.component import Component, ComponentConfig, configs_by_kind
from fastssl.config import FAMILIES
from fastssl.config_values import _reason, _with_families


class Instrument(Component):
    @dataclass(frozen=True, kw_only=True)
    class Config(ComponentConfig):
        pitch: float = 440.0
        """In hertz."""


class Violin(Instrument):
    @dataclass(frozen=True, kw_only=True)
    class Config(Instrument.Config):
        strings: int = 4
        """How many."""


class GrandPiano(Instrument):
    @dataclass(frozen=True, kw_only=True)
    class Config(Instrument.Config):
        open_lid: bool = False
        """Whether it is loud."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    first: Instrument.Config
    others: tuple[Instrument.Config, ...] = ()


CONVERTER = _with_families({Instrument.Config: (Violin, GrandPiano)})


def test_the_kind_is_the_name_of_the_class() -> None:
    assert list(configs_by_kind((Violin, GrandPiano))) == ["violin", "grandpiano"]
    assert Violin.Config().kind == "violin"
    assert Violin.Config().component is Violin
    assert Instrument.Config.kind == "instrument"


def test_a_field_of_the_bases_type_reloads_from_json_as_the_component_it_held() -> None:
    stage = Stage(first=Violin.Config(strings=5), others=(GrandPiano.Config(pitch=442.0), Violin.Config()))
    values = json.loads(json.dumps(CONVERTER.unstructure(stage)))
    assert values["first"] == {"kind": "violin", "pitch": 440.0, "strings": 5}
    assert values["others"][0] == {"kind": "grandpiano", "pitch": 442.0, "open_lid": False}
    assert CONVERTER.structure(values, Stage) == stage


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"kind": "harp"}, "instrument kind must be one of violin, grandpiano, not 'harp' @ $.first"),
        ({"strings": 4}, "instrument kind must be one of violin, grandpiano, not None @ $.first"),
        ({"kind": "violin", "open_lid": True}, "open_lid"),
        ({"kind": "violin", "strings": "4"}, "'4' is no int @ $.first.strings"),
        ("violin", "expected an object of fields @ $.first"),
    ],
)
def test_json_that_is_no_component_is_one_line(first: Any, words: str) -> None:
    with pytest.raises(cattrs.BaseValidationError) as refusal:
        CONVERTER.structure({"first": first}, Stage)
    (reason,) = cattrs.transform_error(refusal.value, format_exception=_reason)
    assert words in reason


def test_the_command_line_offers_the_fields_of_the_components_own_class() -> None:
    default = Stage(first=Violin.Config())
    assert tyro.cli(Stage, default=default, args=["--first.strings", "5"]).first == Violin.Config(strings=5)
    other = Stage(first=GrandPiano.Config())
    assert tyro.cli(Stage, default=other, args=["--first.open-lid"]).first == GrandPiano.Config(open_lid=True)


def test_a_component_without_a_config_of_its_own_keeps_its_bases() -> None:
    class Fiddle(Violin):
        pass

    assert Fiddle.Config is Violin.Config
    assert Violin.Config.component is Violin


MEMBERS = [(base, member) for base, members in FAMILIES.items() for member in members]


@pytest.mark.parametrize(("base", "member"), MEMBERS)
def test_members_have_configs_of_their_own_and_kinds_that_differ(
    base: type[ComponentConfig], member: type[Component]
) -> None:
    assert member.Config.component is member
    assert issubclass(member.Config, base)
    assert configs_by_kind(FAMILIES[base])[member.Config.kind] is member.Config


@pytest.mark.parametrize(("base", "member"), MEMBERS)
def test_members_reload_from_json_as_they_were(base: type[ComponentConfig], member: type[Component]) -> None:
    converter = _with_families(FAMILIES)
    for config in (member.Config(), member.Config().small()):
        values = json.loads(json.dumps(converter.unstructure(config, base)))
        assert values["kind"] == type(config).component.__name__.lower()
        assert converter.structure(values, base) == config
