import itertools

import numpy as np
import pytest

from fastssl.methods import MoCo
from pipelines.command.errors import UserError
from tests.helpers.batches import make_batch
from tests.helpers.contrastive_by_hand import mean_loss
from tests.helpers.methods import finish_step, narrow
from tests.helpers.moco_by_hand import moco, outputs, ring, run_and_watch_the_queue


def test_queue_wraps_and_keeps_the_order_of_one_view_a_step() -> None:
    method = moco()  # 8 keys a step into a ring of 20
    start = method.queue.keys.numpy().copy()
    np.testing.assert_allclose((start**2).sum(1), 1, rtol=1e-5)
    seen = run_and_watch_the_queue(method, 6)
    final = method.queue.keys.numpy()
    matching = [
        choice
        for choice in itertools.product((0, 1), repeat=6)
        if np.allclose(final, ring(start, [seen[step][view] for step, view in enumerate(choice)]), atol=1e-5)
    ]
    # Of 48 keys the last 20 are left: four of the fourth step's and all of the last two's.
    assert len({choice[3:] for choice in matching}) == 1
    assert final.dtype == np.float32


def test_enqueued_view_is_random_but_set_by_the_seed() -> None:
    def choices(seed: int) -> list[int]:
        method = moco(narrow(MoCo, {"loss.num_negatives": 8}), seed=seed)
        found = []
        for step in range(12):
            batch = make_batch(step)
            keys = outputs(method.teacher, batch.each_view())
            method(batch, step)
            finish_step(method, step)
            hits = [np.allclose(method.queue.keys.numpy()[:8], key, atol=1e-5) for key in keys]
            assert sum(hits) == 1
            found.append(hits.index(True))
        return found

    assert choices(0) == choices(0)
    assert choices(0) != choices(1)
    assert set(choices(0)) == {0, 1}


def test_accumulated_parts_enqueue_together() -> None:
    method = moco(narrow(MoCo, {"loss.num_negatives": 20, "enqueue": "all"}))
    start, writes = method.queue.keys.numpy().copy(), []
    for step in range(3):
        for part in range(2):
            batch = make_batch(10 * step + part, size=4)
            writes += outputs(method.teacher, batch.each_view())
            loss, _ = method(batch, step)
            loss.backward()
        finish_step(method, step)
    np.testing.assert_allclose(method.queue.keys.numpy(), ring(start, writes), atol=1e-5)


def test_short_queue_holds_random_keys_of_the_step_before() -> None:
    method = moco(narrow(MoCo, {"loss.num_negatives": 3, "enqueue": "all", "loss.eqco_alpha": 64}))
    chosen = set()
    for step in range(10):
        batch = make_batch(step)
        q1, q2 = outputs(method.student, batch.each_view())
        k1, k2 = outputs(method.teacher, batch.each_view())
        queue = method.queue.keys.double().numpy().copy()
        loss, _ = method(batch, step)
        pairs = ((q1, k2), (q2, k1))
        expected = sum(mean_loss(q, own, queue, [range(3)] * 8, method.config.loss) for q, own in pairs)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        finish_step(method, step)
        near = np.abs(method.queue.keys.numpy()[:, None] - np.concatenate([k1, k2])).max(2) < 1e-5
        assert (near.sum(1) == 1).all()
        assert len(set(near.argmax(1))) == 3
        chosen |= set(near.argmax(1).tolist())
    assert len(chosen) > 8


@pytest.mark.parametrize(
    "field",
    [
        {"loss.num_negatives": None},
        {"enqueue": "both"},
        {"predictor_on": "teacher"},
    ],
)
def test_bad_config_values_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        narrow(MoCo, field)
