"""Base of networks that train a copy of an encoder, or leave it frozen, under a head of one layer."""

from __future__ import annotations

import copy
from typing import Self

from fastssl.models.backbone import Backbone
from fastssl.transfer.network import TransferNetwork


class EncoderWithHead(TransferNetwork):
    """A copy of an encoder, for a head that a subclass adds.

    Args:
        encoder: left as it is.
        frozen: the encoder is not trained, and stays in evaluation mode.
    """

    def __init__(self, encoder: Backbone, *, frozen: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(not frozen)
        self._frozen = frozen

    def train(self, mode: bool = True) -> Self:
        """Same as torch's, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self
