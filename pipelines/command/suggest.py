"""The known word that a user most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str], *, count: int = 1, form: str = "{}", otherwise: str = "") -> str:
    """Words on the known ones that are nearest: ``did you mean X?``, or ``did you mean X or Y?``.

    Args:
        word: the unknown one.
        known: all there are.
        count: most to name.
        form: put around the words, with {} in their place.
        otherwise: the answer where none is near.
    """
    near = difflib.get_close_matches(word, list(known), n=count)
    return form.format(f"did you mean {' or '.join(near)}?") if near else otherwise
