"""MoCo by hand: its loss in float64 from the paper's equation, its queue written key by key."""

from __future__ import annotations

import copy

import numpy as np
from torch import Tensor, nn

from fastssl.methods import MoCo
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.methods import finish_step, narrow

CONFIG = narrow(MoCo, {"loss.num_negatives": 20, "loss.temperature": 0.2})


def moco(config: MoCo.Config = CONFIG, seed: int = 0) -> MoCo:
    method = tiny_method(config, seed=seed)
    assert isinstance(method, MoCo)
    return method


def unit_rows(embeddings: Tensor) -> np.ndarray:
    rows = embeddings.detach().double().numpy()
    return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def outputs(network: nn.Module, views: tuple[Tensor, ...]) -> list[np.ndarray]:
    """Unit embeddings of each view, from a copy, so that batch norms of the original do not notice."""
    network = copy.deepcopy(network)
    return [unit_rows(network(view)) for view in views]


def equation_1(q: np.ndarray, k: np.ndarray, queue: np.ndarray, temperature: float) -> float:
    total = 0.0
    for i in range(len(q)):
        positive = np.exp(q[i] @ k[i] / temperature)
        negatives = sum(np.exp(q[i] @ row / temperature) for row in queue)
        total -= np.log(positive / (positive + negatives))
    return total / len(q)


def run_and_watch_the_queue(method: MoCo, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Train, and return the teacher's unit embeddings of both views of each step."""
    seen = []
    for step in range(steps):
        batch = make_batch(step, 8)
        k1, k2 = outputs(method.teacher, batch.each_view())
        seen.append((k1, k2))
        loss, _ = method(batch, step)
        loss.backward()
        finish_step(method, step)
    return seen


def ring(start: np.ndarray, writes: list[np.ndarray]) -> np.ndarray:
    """The queue written to one key at a time, round and round."""
    rows, position = start.copy(), 0
    for key in np.concatenate(writes):
        rows[position] = key
        position = (position + 1) % len(rows)
    return rows
