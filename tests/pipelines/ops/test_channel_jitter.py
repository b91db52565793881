"""Jitter of channels is that of its formula, and its amounts are normal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from pipelines.ops import ChannelJitter
from tests.helpers.view_checks import EVERYTHING, SIGNIFICANCE, assert_rate, draw_many, plain_row


def test_channels_are_scaled_and_shifted() -> None:
    view, row = torch.randn(3, 5, 5), plain_row(5, 5)
    row["channel_scale"], row["channel_shift"] = (2, 0.5, 1), (0.1, -3, 0)
    expected = torch.stack([view[0] * 2 + 0.1, view[1] * 0.5 - 3, view[2]])
    torch.testing.assert_close(ChannelJitter.reference(view, row, 5), expected)


def test_amounts_are_normal_and_independent() -> None:
    jitter = ChannelJitter(p=0.8, scale_std=0.25, shift_std=0.5)
    rows = draw_many(replace(EVERYTHING, channel_jitter=jitter))
    moved = (rows["channel_shift"] != 0).all(1)
    assert_rate(moved, 0.8)
    assert (rows["channel_scale"][~moved] == 1).all()
    amounts = np.hstack([np.log2(rows["channel_scale"]) / 0.25, rows["channel_shift"] / 0.5])[moved]
    for column in amounts.T:
        assert stats.kstest(column, "norm").pvalue > SIGNIFICANCE
    correlations = np.corrcoef(amounts.T) - np.eye(6)
    assert np.abs(correlations).max() < 4 / np.sqrt(len(amounts))
