"""A diagnostic: what is drawn of one encoder or of two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastssl.diagnostics import DIAGNOSTICS
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.evaluate.protocol import find_class
from pipelines.command.ranges import check_ranges


@dataclass(frozen=True, kw_only=True)
class Diagnostic(ABC):
    """Base of the diagnostics. The fields of a diagnostic are its options, each with a default.

    Ranges and choices of the fields' types are checked here.
    """

    fewest_runs: ClassVar[int] = 1
    """Runs that it needs."""
    most_runs: ClassVar[int] = 1
    """Runs that it takes."""
    reads_images: ClassVar[bool] = True
    """False for one of the weights alone."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @abstractmethod
    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """Measure and draw.

        Returns:
            results by name, ready for JSON, and the picture, a PNG.

        Raises:
            UserError: an encoder or its images are unfit.
        """

    def report(self, result: Mapping[str, Any]) -> str:
        """A result of ``measure`` for the terminal."""
        numbers = (f"{name} {value:.4g}" for name, value in result.items() if isinstance(value, float))
        return f"{type(self).__name__.lower()}: {', '.join(numbers)}"


def find_diagnostic(name: str) -> type[Diagnostic]:
    """The class of a diagnostic; see ``find_class``."""
    diagnostic: type[Diagnostic] = find_class("diagnostic", name, "fastssl.diagnostics", DIAGNOSTICS)
    return diagnostic
