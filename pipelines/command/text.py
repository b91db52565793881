"""Names of files as text that a terminal and a line of a file can hold."""

from __future__ import annotations

import re


def on_one_line(name: str) -> str:
    """Escape the control characters of a name, line breaks and terminal codes among them, as Python would."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], name)
