"""Names of result files, so that no measurement overwrites another."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, kw_only=True)
class ResultName:
    """``PROTOCOL[+OPTION=VALUE...][-CHECKPOINT][@DATA]``, without the ``.json``.

    Such as ``linear``, ``linear-epoch-0050``, ``linear@stl10-1a2b3c4d``, ``linear+epochs=10``.
    """

    protocol: str
    options: str = ""
    """Options that differ from their defaults, ``epochs=10+seed=1``."""
    checkpoint: str = ""
    """A kept checkpoint, ``epoch-0050``; "" is the run's last."""
    data: str = ""
    """See ``data_name``; "" is the run's own."""

    def __str__(self) -> str:
        marks = (("+", self.options), ("-", self.checkpoint), ("@", self.data))
        return self.protocol + "".join(mark + part for mark, part in marks if part)

    @classmethod
    def parse(cls, name: str) -> ResultName:
        """The parts of a name; any text has some."""
        head, _, data = name.partition("@")
        head, _, checkpoint = head.partition("-")
        protocol, _, options = head.partition("+")
        return cls(protocol=protocol, options=options, checkpoint=checkpoint, data=data)


def changed_options(options: DataclassInstance) -> str:
    """Options that differ from their defaults, ``epochs=10+seed=1``."""
    pairs = ((field, getattr(options, field.name)) for field in dataclasses.fields(options))
    return "+".join(f"{field.name}={_text(value)}" for field, value in pairs if value != field.default)


def _text(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return file_part(text, "_")


def data_name(where: str, fingerprints: list[str]) -> str:
    """A name of labeled images, the last part of their path and a digest of what they are."""
    digest = hashlib.blake2b(" ".join(fingerprints).encode(), digest_size=4).hexdigest()
    return f"{file_part(Path(where).name).strip('-') or 'data'}-{digest}"


def file_part(text: str, dash: str = "-") -> str:
    """A text as part of a file's name, without the marks between the parts."""
    return re.sub(r"[^\w.,]+", dash, text, flags=re.ASCII)
