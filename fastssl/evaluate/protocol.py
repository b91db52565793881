"""A protocol: how an encoder is measured."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fastssl.evaluate import PROTOCOLS
from fastssl.evaluate.subject import Subject
from pipelines.command.errors import UserError
from pipelines.command.ranges import check_ranges
from pipelines.command.suggest import suggest


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """Base of the protocols. The fields of a protocol are its options, each with a default.

    Ranges and choices of the fields' types are checked here, and that tuples are not empty. Further checks
    belong into a ``__post_init__`` of the protocol's own (raise ``UserError``, one line).
    """

    several_classes: ClassVar[bool] = False
    """True if images may have several classes, or their classes are not read."""

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, value in vars(self).items():
            if value == ():
                raise UserError(f"--{name.replace('_', '-')} needs one value or several")

    @abstractmethod
    def measure(self, subject: Subject) -> dict[str, Any]:
        """Measure an encoder.

        Returns:
            Results by name, numbers or further such dictionaries (``top1``; what tells of the protocol's own
            training begins with ``train_``), ready for JSON; and in ``settings`` the values that options such
            as ``auto`` stood for.

        Raises:
            UserError: the subject's images are unfit.
        """

    def report(self, subject: Subject, result: Mapping[str, Any]) -> str:
        """A result of ``measure`` for the terminal."""
        values = (f"{name} {value:.3f}" for name, value in result.items() if isinstance(value, float))
        return f"{type(self).__name__.lower()}: {', '.join(values)}"


def find_protocol(name: str) -> type[Protocol]:
    """The class of a protocol; see ``find_class``."""
    protocol: type[Protocol] = find_class("protocol", name, "fastssl.evaluate", PROTOCOLS)
    return protocol


def find_class(what: str, name: str, package: str, classes: Mapping[str, str]) -> Any:
    """The class of a name, from the module of that name in a package, imported now.

    Raises:
        UserError: there is none of that name, or a package that it needs is missing or broken.
    """
    if name not in classes:
        hint = suggest(name, classes, otherwise=f"python -m {package} --help tells more")
        raise UserError(f"no {what} {name!r}: choose among {', '.join(classes)}; {hint}")
    try:
        module = importlib.import_module(f"{package}.{name}")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the {what} {name} cannot be loaded ({reason}): install what it needs, or choose another"
        ) from None
    return getattr(module, classes[name])
