"""The known word that a user most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str], *, count: int = 1, form: str = "{}", otherwise: str = "") -> str:
    """Words on the known ones that are nearest: ``did you mean X?``, or ``did you mean X or Y?``.

    Args:
        word: the unknown one.
        known: all there are; where none is spelt alike, up to three that contain the word.
        count: most to name.
        form: put around the words, with {} in their place.
        otherwise: the answer where none is near.
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, n=count) or [name for name in known if word in name][:3]
    return form.format(f"did you mean {' or '.join(near)}?") if near else otherwise
