"""The words of a command line to options; what does not fit is one line, as every other mistake is."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro import _errors as tyro_errors  # private: pyproject.toml pins tyro

from pipelines.command.errors import UserError, drop_stdout
from pipelines.command.suggest import suggest

Options = TypeVar("Options")


def read_options(
    kind: Callable[..., Options],
    prog: str,
    words: Sequence[str] | None,
    *,
    description: str | None = None,
    config: Sequence[Any] = (),
    elsewhere: Callable[[str], str | None] = lambda word: None,
) -> Options:
    """The options of a command.

    Args:
        kind: dataclass of the options.
        prog: the command, as the user writes it.
        words: of the command line, without the command; None: ``sys.argv[1:]``.
        description: first lines of --help; None: docstring of ``kind``.
        config: tyro's markers.
        elsewhere: words on an unknown option that another one takes as its value; None for any other.

    Raises:
        UserError: unknown option (the message names the nearest), one that is missing, or a wrong value.
        SystemExit: status 0, for --help.
    """
    with one_line_complaints(prog, lambda: _names(kind, config), elsewhere):
        return tyro.cli(kind, prog=prog, args=words, description=description, config=config)


@contextlib.contextmanager
def one_line_complaints(
    prog: str,
    known: Callable[[], Sequence[str]] = tuple,
    elsewhere: Callable[[str], str | None] = lambda word: None,
) -> Iterator[None]:
    """Inside, a command line that tyro refuses becomes a ``UserError``; ``--help | head`` ends silently.

    Args:
        prog: the command, as the user writes it.
        known: names all options, among which an unknown one may be meant.
        elsewhere: see ``read_options``.
    """

    def refuse(event: tyro_errors.ParseErrorEvent) -> None:
        raise UserError(f"{_complaint(event, known, elsewhere)}: {prog} --help tells more")

    try:
        with tyro_errors.on_parse_error(refuse):
            try:
                yield
            finally:
                sys.stdout.flush()
    except BrokenPipeError:  # --help | head
        drop_stdout()
        raise SystemExit(0) from None


def user_path(text: str) -> Path:
    """The path that a user names; ``~`` is the home folder, which a shell leaves alone in ``--out=~/run``.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"no home folder is known for {text}: write the path out") from None


def _complaint(
    event: tyro_errors.ParseErrorEvent,
    known: Callable[[], Sequence[str]],
    elsewhere: Callable[[str], str | None],
) -> str:
    """Words on what tyro refuses; another release may know events that are not named here."""
    match event:
        case tyro_errors.UnrecognizedArgs(tokens=[str(word), *_]):
            what = f"unknown option {word}" if word.startswith("-") else f"unexpected {word}"
            name = word.partition("=")[0]
            return f"{what}{elsewhere(name) or _hint(name, known())}"
        case tyro_errors.MissingArgs():
            missing = ", ".join(_name(each.arg) for each in event.missing_arguments)
            hints = [f" (did you write {word} for it?)" for word in event.unrecognized_tokens[:1]]
            return "".join([missing, " must be given", *hints])
        case tyro_errors.InvalidChoice():
            hint = _hint(event.value, event.choices)
            choices = ", ".join(event.choices)
            return f"invalid choice '{event.value}' for {_name(event.argument)}{hint}, it takes {choices}"
        case tyro_errors.BadValue() if event.argument.is_positional():
            return f"{_name(event.argument)} must be given"
        case tyro_errors.BadValue():
            count = event.argument.lowered.nargs
            return f"{_name(event.argument)} needs {'a value' if count == 1 else f'{count} values'}"
        case tyro_errors.InstantiationFailure() if event.argument is not None:
            return f"{_name(event.argument)}: {event.message}"
        case tyro_errors.InstantiationFailure():
            return event.message
    return "the options do not fit together"


def _name(argument: Any) -> str:
    """The option, such as ``--out``; in capitals, such as ``OUT``, where it is given without its name."""
    if argument.is_positional():
        return str(argument.display_name()).upper()
    return str(argument.lowered.name_or_flags[-1])


def _hint(word: str, known: Sequence[str]) -> str:
    return suggest(word, known, form=" ({})")


def _names(kind: Callable[..., Any], config: Sequence[Any]) -> list[str]:
    """All options of a command, such as ``--out``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tyro offers no other list of them
        parser = tyro.extras.get_parser(kind, config=config)
    return [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
