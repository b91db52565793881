import numpy as np
import pytest
import torch
from torch import nn

from fastssl.methods import BYOL
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import finish_step, narrow
from tests.helpers.moco_by_hand import outputs

CONFIG = narrow(BYOL)


def byol() -> BYOL:
    method = tiny_method(CONFIG)
    assert isinstance(method, BYOL)
    return method


def test_loss_is_equation_2() -> None:
    method = byol()
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.05)
    for step in range(3):
        batch = make_batch(step)
        q1, q2 = outputs(method.student, batch.each_view())
        k1, k2 = outputs(method.teacher, batch.each_view())
        loss, metrics = method(batch, step)
        expected = (((q1 - k2) ** 2).sum() + ((q2 - k1) ** 2).sum()) / len(q1)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert metrics["loss"].item() == loss.item()
        for name, value in embedding_figures_by_hand(q1, k2).items():
            assert metrics[name].item() == pytest.approx(value, rel=1e-4), name
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finish_step(method, step)


def test_uniformity_is_added_with_its_weight() -> None:
    method = tiny_method(narrow(BYOL, {"uniformity_weight": 0.7}))
    plain = byol()
    nn.init.normal_(plain.student.get_parameter("predictor.3.weight"))
    method.load_state_dict(plain.state_dict())
    batch = make_batch(0)
    expected, uniform = plain(batch, 0)[0].item(), []
    for q in outputs(method.student, batch.each_view()):
        squared = [((q[i] - q[j]) ** 2).sum() for i in range(len(q)) for j in range(i)]
        uniform.append(np.log(np.exp(-2 * np.array(squared)).mean()))
    loss, metrics = method(batch, 0)
    assert loss.item() == pytest.approx(expected + 0.7 * sum(uniform), rel=1e-5)
    assert metrics["uniformity"].item() == pytest.approx(uniform[0], rel=1e-5)


def test_teacher_moves_by_the_ascending_momentum() -> None:
    method = byol()  # of 20 steps
    nn.init.normal_(method.student.get_parameter("projector.0.weight"))
    student = method.student.get_parameter("projector.0.weight").detach().double()
    weight = method.teacher.get_parameter("projector.0.weight")
    for step, momentum in ((0, 0.99), (10, 0.995), (20, 1.0)):
        expected = momentum * weight.double() + (1 - momentum) * student
        finish_step(method, step)
        torch.testing.assert_close(weight.double(), expected, rtol=1e-6, atol=1e-7)


def test_each_view_has_its_own_batch_statistics() -> None:
    method = byol()
    batch = make_batch(0)
    first, second = batch.each_view()
    (alone,) = outputs(method.student, (first,))
    together = outputs(method.student, (first, second + 5))
    np.testing.assert_array_equal(alone, together[0])
    queries = method.queries((first, second + 5))
    np.testing.assert_allclose(queries[0].detach().numpy(), alone, atol=1e-6)
