"""The mean of channels is their mean."""

from __future__ import annotations

import torch

from pipelines.ops import ChannelMean
from tests.helpers.view_checks import plain_row


def test_all_channels_are_their_mean() -> None:
    view, row = torch.randn(3, 5, 5), plain_row(5, 5)
    assert torch.equal(ChannelMean.reference(view, row, 5), view)
    row["channel_mean"] = 1
    mean = (view[0] + view[1] + view[2]) / 3
    torch.testing.assert_close(ChannelMean.reference(view, row, 5), torch.stack([mean] * 3))
