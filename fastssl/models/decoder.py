"""The decoder of a variational autoencoder: codes to images."""

from __future__ import annotations

from torch import Tensor, nn


class Decoder(nn.Sequential):
    """Transposed convolutions, each to twice the side: codes [B, in_dim] to images [B, 3, size, size].

    From 1x1 to 4x4 first, then up to ``size``, with 4x4 kernels, stride 2, batch norm and ReLU, at 256, 256,
    256, 128, 64, ... channels; a 1x1 convolution makes colors of them. These are the widths of the public
    code of Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020).
    """

    def __init__(self, in_dim: int, size: int) -> None:
        """Build it for ``size``, a power of 2 from 4 on."""
        layers: list[nn.Module] = []
        for i in range(size.bit_length() - 2):
            channels = 2 ** min(8, 10 - i)
            layers += [
                nn.ConvTranspose2d(in_dim, channels, 4, stride=2, padding=min(i, 1)),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            in_dim = channels
        super().__init__(*layers, nn.Conv2d(in_dim, 3, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes [B, in_dim]."""
        images: Tensor = super().forward(codes[:, :, None, None])  # type: ignore[no-untyped-call]
        return images
