"""Contrastive multiview coding against its loss written out, and its memories against their averages."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastssl.methods import CMC, build_method
from fastssl.methods.cmc import _NEGATIVES
from fastssl.models import ResNet, ResNet9
from pipelines.command.errors import UserError
from pipelines.keys import row_uniforms
from tests.helpers.batches import TINY, make_batch, tiny_method
from tests.helpers.one_step import assert_step, in_float64

CONFIG = CMC.Config(num_negatives=20, temperature=0.3)
IMAGES = 64  # of ``tiny_method``'s training data


def at_length_one(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(1, keepdim=True).sqrt()


def negatives(step: int, images: int, count: int) -> np.ndarray:
    drawn = row_uniforms(np.array([0, step, _NEGATIVES]), np.arange(images), count)
    return np.floor(drawn * IMAGES).astype(int)


def test_a_step_is_the_formulas() -> None:
    method, batch = in_float64(CONFIG)
    assert isinstance(method, CMC)
    batch = replace(batch, sample_ids=batch.sample_ids + 30)
    (view,) = batch.each_view()
    others = negatives(batch.step, len(batch), 20)
    memories = {
        "lightness": method.lightness_memory.rows.double().clone(),
        "colors": method.color_memory.rows.double().clone(),
    }
    embeddings: dict[str, Tensor] = {}

    def loss_of(student: Any) -> Tensor:
        encoder = student.encoder
        embeddings["lightness"] = at_length_one(encoder.lightness(view[:, :1]))
        embeddings["colors"] = at_length_one(encoder.colors(view[:, 1:]))
        terms = []
        for queries, keys in (("lightness", "colors"), ("colors", "lightness")):
            for row, query in enumerate(embeddings[queries]):
                memory = memories[keys]
                own = torch.exp(query @ memory[30 + row] / 0.3)
                rivals = sum(torch.exp(query @ memory[other] / 0.3) for other in others[row])
                terms.append(-torch.log(own / (own + rivals)) / len(batch))
        return torch.stack(terms).sum()

    metrics = assert_step(method, batch, loss_of)
    assert metrics["lightness_loss"] + metrics["color_loss"] == pytest.approx(metrics["loss"].item())
    assert torch.equal(method.lightness_memory.rows.double(), memories["lightness"])  # not before the step
    method.after_step(batch.step)
    for name, bank in (("lightness", method.lightness_memory), ("colors", method.color_memory)):
        expected = memories[name].clone()
        expected[30:38] = at_length_one(0.2 * expected[30:38] + 0.8 * embeddings[name].detach())
        torch.testing.assert_close(bank.rows.double(), expected, rtol=0, atol=1e-6)


def test_rows_belong_to_images_whatever_their_ids() -> None:
    ids = np.array([900, 7, 55, 8, 13])
    method: Any = build_method(CONFIG, TINY, seed=0, total_steps=9, num_classes=None, sample_ids=ids)
    before = method.lightness_memory.rows.clone()
    batch = replace(make_batch(0, size=2, views=1), sample_ids=torch.tensor([55, 900]))
    method(batch, 0)
    method.after_step(0)
    changed = (method.lightness_memory.rows != before).any(1)
    assert changed.tolist() == [False, False, False, True, True]  # of 7, 8, 13, 55, 900


def test_memories_start_uniform() -> None:
    method: Any = tiny_method(CONFIG)
    rows = method.color_memory.rows
    bound = np.sqrt(3 / rows.shape[1])  # so that the mean square length is 1
    assert rows.abs().max() <= bound
    assert rows.square().sum(1).mean().item() == pytest.approx(1, rel=0.1)
    assert not torch.equal(rows, method.lightness_memory.rows)


def test_features_are_the_halves_unit_vectors_joined() -> None:
    encoder = tiny_method(CONFIG).encoder.eval()
    features = encoder(make_batch(0, views=1).each_view()[0])
    lengths = features.unflatten(1, (2, -1)).square().sum(2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert encoder.feature_dim == features.shape[1]


def test_bad_parts_are_refused() -> None:
    with pytest.raises(UserError, match="no halves are known of backbone resnet: take --backbone resnet9"):
        CMC.build_encoder(CONFIG, ResNet.Config(depth=18))
    with pytest.raises(UserError, match="training images"):
        build_method(CONFIG, ResNet9.Config(), seed=0, total_steps=1, num_classes=None)
