import copy

import numpy as np
import pytest

from fastssl.methods import Supervised, build_method
from pipelines.command.errors import UserError
from tests.helpers.batches import NUM_CLASSES, TINY, make_batch, tiny_method


def test_loss_is_the_cross_entropy() -> None:
    method = tiny_method(Supervised.Config())
    batch = make_batch(0, views=1)
    logits = copy.deepcopy(method.student)(batch.each_view()[0]).detach().double().numpy()
    assert batch.labels is not None
    labels = batch.labels.numpy()
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.eye(NUM_CLASSES)[labels]
    loss, metrics = method(batch, 0)
    assert loss.item() == pytest.approx(-(targets * log_shares).sum(1).mean(), rel=1e-5)
    assert metrics["loss"].item() == loss.item()
    assert metrics["accuracy"].item() == pytest.approx((logits.argmax(1) == labels).mean())


def test_bad_batches_are_refused() -> None:
    method = tiny_method(Supervised.Config())
    with pytest.raises(UserError, match="labels"):
        method(make_batch(0, views=1, labeled=False), 0)
    with pytest.raises(UserError, match="classes"):
        build_method(Supervised.Config(), TINY, seed=0, total_steps=1, num_classes=None)
