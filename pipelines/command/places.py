"""Several places of images as one word: ``A + B`` is what ``--data A --data B`` stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.command.options import user_path

BETWEEN, SEPARATE = " + ", "?classes=separate"


def places(where: str) -> list[str]:
    """The places that are named; one, where a file or folder has the whole for its name."""
    if BETWEEN not in where or user_path(where).exists():
        return [where]
    return where.removesuffix(SEPARATE).split(BETWEEN)


def map_places(where: str, change: Callable[[str], str]) -> str:
    """The same places under other names, such as absolute ones."""
    named = places(where)
    end = SEPARATE if len(named) > 1 and where.endswith(SEPARATE) else ""
    return BETWEEN.join(map(change, named)) + end


def join_repeated(words: Sequence[str], option: str = "--data") -> list[str]:
    """The words of a command line, the values of an option that is given several times joined to one."""
    rest: list[str] = []
    values: list[str] = []
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name != option:
            rest.append(word)
        elif equals or (value := next(waiting, "")):
            values.append(value)
        else:
            return list(words)  # a value is missing, as will be said
    return [*rest, option, BETWEEN.join(values)] if len(values) > 1 else list(words)
