"""The variational autoencoder against its loss written out, and its parts against the authors' shapes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from fastssl.methods import VAE
from fastssl.methods.vae import _NOISE, normals
from fastssl.models.decoder import Decoder
from pipelines.command.errors import UserError
from tests.helpers.one_step import assert_step, in_float64

CONFIG = VAE.Config(output_size=8, kl_weight=0.01)


def test_a_step_is_the_formulas() -> None:
    method, batch = in_float64(CONFIG)
    (view,) = batch.each_view()
    dim = method.encoder.feature_dim
    noise = torch.from_numpy(normals(np.array([0, batch.step, _NOISE]), np.arange(len(batch)), dim)).double()
    target = view[:, :, ::2, ::2]  # 16 pixels to 8, the nearest ones
    parts: dict[str, Tensor] = {}

    def loss_of(student: Any) -> Tensor:
        halves = student.posterior(student.encoder(view))
        mean, deviation = halves[:, :dim], torch.exp(halves[:, dim:]) ** 0.5
        decoded = student.decoder(mean + deviation * noise)
        parts["error"] = ((decoded - target) ** 2).sum() / target.numel()
        parts["kl"] = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum()
        return parts["error"] + 0.01 * parts["kl"]

    metrics = assert_step(method, batch, loss_of)
    assert metrics["reconstruction_error"].item() == pytest.approx(parts["error"].item(), rel=1e-6)
    assert metrics["kl_divergence"].item() == pytest.approx(parts["kl"].item() / len(batch), rel=1e-6)


def test_noise_is_standard_normal_and_a_row_has_its_own() -> None:
    draw = np.array([1, 2, 3])
    noise = normals(draw, np.arange(400), 50)
    assert np.array_equal(noise[7:9], normals(draw, np.array([7, 8]), 50))
    assert not np.array_equal(noise, normals(np.array([1, 3, 3]), np.arange(400), 50))
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs((noise**2).mean() - 1) < 4 * np.sqrt(2 / noise.size)
    assert abs((noise**4).mean() - 3) < 4 * np.sqrt(96 / noise.size)
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 4 / np.sqrt(len(noise))


@pytest.mark.parametrize(("size", "channels"), [(8, [256, 256]), (64, [256, 256, 256, 128, 64])])
def test_the_decoder_has_the_authors_widths(size: int, channels: list[int]) -> None:
    decoder = Decoder(12, size)
    layers: list[Any] = list(decoder)[::3]
    widths = [(layer.in_channels, layer.out_channels) for layer in layers]
    assert widths == list(zip([12, *channels], [*channels, 3], strict=True))
    assert decoder(torch.randn(2, 12)).shape == (2, 3, size, size)


def test_other_output_sizes_are_refused() -> None:
    with pytest.raises(UserError, match=r"--method\.output-size must be one of"):
        VAE.Config(output_size=12)  # type: ignore[arg-type]
