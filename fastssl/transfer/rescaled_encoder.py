"""NormRescale ahead of a transfer: encoders with the norms of an anchor."""

from __future__ import annotations

import copy
from pathlib import Path

from fastssl.export.load import open_encoder
from fastssl.export.norm_rescale import Which, constant_of, rescale
from fastssl.models import Backbone


def rescaled_encoder(encoder: Backbone, anchor: str, which: Which = "weights-and-biases") -> Backbone:
    """A copy of an encoder whose tensors have the norms of an anchor's.

    Args:
        encoder: it is left as it is.
        anchor: ``constant=FACTOR``, or a run, checkpoint or file of weights of the same network.
        which: see ``fastssl.export.norm_rescale.rescale``.

    Raises:
        UserError: there is no such anchor, or it has another architecture.
    """
    norms = constant_of(anchor) or open_encoder(Path(anchor).expanduser()).encoder.state_dict()
    found = copy.deepcopy(encoder)
    rescale(found, norms, which)
    return found
