"""A component: a class with a nested ``Config`` of its own, named in one tuple of its package.

::

    class LARS(Optimizer):                                      # Optimizer is a Component
        @dataclass(frozen=True, kw_only=True)
        class Config(Optimizer.Config):
            trust_coefficient: float = 1e-3

    OPTIMIZERS = (SGD, LARS, Adam)

Its kind is the class's name in lower case: "lars". A field typed as the base's, ``Optimizer.Config``, holds
any of them: the command line offers the fields of its default's class, and the JSON says the kind
(``fastssl.config.FAMILIES``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class ExperimentFields(Protocol):
    """Fields of ``fastssl.config.Experiment`` that components check themselves against."""

    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def accumulation_steps(self) -> int: ...  # noqa: D102
    @property
    def batch_norm_group(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class ComponentConfig:
    """Base of all nested ``Config`` classes.

    Attributes:
        component: the class that the config is nested in.
        kind: its name in lower case.
    """

    component: ClassVar[type[Any]]
    kind: ClassVar[str]

    def check(self, experiment: ExperimentFields) -> None:
        """Check that the component fits the experiment it is part of.

        Raises:
            UserError: it does not.
        """

    def small(self) -> Any:
        """The same component at test size, with its switches as they are; or a smaller one of its family."""
        return self


class Component:
    """Base of all components. A member of a family's tuple has a ``Config`` of its own."""

    Config: ClassVar[type[ComponentConfig]]

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        config = cls.__dict__.get("Config")
        if config is not None:
            config.component, config.kind = cls, cls.__name__.lower()


def configs_by_kind(members: tuple[type[Component], ...]) -> dict[str, type[ComponentConfig]]:
    """The ``Config`` class of each member, by kind."""
    return {member.Config.kind: member.Config for member in members}
