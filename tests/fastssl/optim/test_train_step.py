"""One step against the same written out: gradients of the mean of micro-batches, then the optimizer."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastssl.optim.train_step import TrainStep

CPU = torch.device("cpu")


class Squares(nn.Module):
    """Loss: the mean square of a linear map of the batch. It counts what is called after a step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 2, bias=False)
        self.follower = copy.deepcopy(self.linear).requires_grad_(False)
        self.done: list[int] = []

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.linear(batch.x).float().square().mean()
        return loss, {"loss": loss.detach(), "step": torch.tensor(float(step))}

    def averages(self, step: int) -> list[tuple[nn.Module, nn.Module, float]]:
        return [(self.follower, self.linear, 0.75)]

    def after_step(self, step: int) -> None:
        self.done.append(step)


def batches(count: int) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [SimpleNamespace(x=torch.randn(4, 3, generator=generator)) for _ in range(count)]


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_a_step_is_gradient_descent_on_the_mean_of_its_micro_batches(accumulation_steps: int) -> None:
    model = Squares()
    before = model.linear.weight.detach().double()
    step = TrainStep(
        model, torch.optim.SGD(model.parameters(), lr=9.0), device=CPU, accumulation_steps=accumulation_steps
    )
    data = batches(accumulation_steps)
    last, metrics = step(iter(data), 5, 0.1)
    assert last is data[-1]
    assert [values["step"].item() for values in metrics] == [5.0] * accumulation_steps
    x = torch.cat([batch.x for batch in data]).double()
    gradient = 2 * (x @ before.T).T @ x / (len(x) * 2)  # d/dW of the mean of (W x)^2, by hand
    torch.testing.assert_close(
        model.linear.weight.detach().double(), before - 0.1 * gradient, rtol=1e-5, atol=1e-7
    )
    average = 0.75 * before + 0.25 * model.linear.weight.detach().double()  # of the moved weights
    torch.testing.assert_close(model.follower.weight.double(), average, rtol=1e-6, atol=1e-8)
    assert model.done == [5]
    assert model.linear.weight.grad is None


def test_its_state_goes_on(tmp_path: Any) -> None:
    """Momentum is part of the state: three steps are three steps, interrupted or not."""
    whole, part = Squares(), Squares()
    data = batches(3)

    def new(model: nn.Module) -> TrainStep:
        return TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9), device=CPU)

    steps = new(whole)
    for number, batch in enumerate(data):
        steps(iter([batch]), number, 0.1)
    first = new(part)
    first(iter(data[:1]), 0, 0.1)
    again = Squares()
    again.load_state_dict(part.state_dict())
    second = new(again)
    second.load_state_dict(first.state_dict())  # type: ignore[arg-type]
    for number, batch in enumerate(data[1:], 1):
        second(iter([batch]), number, 0.1)
    assert torch.equal(whole.linear.weight, again.linear.weight)


def test_fp16_skips_a_step_whose_gradients_overflow() -> None:
    model = Squares()
    before = model.linear.weight.detach().clone()
    step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=1.0), device=CPU, autocast=torch.float16)
    huge: Any = SimpleNamespace(x=torch.full((4, 3), 3e4))
    step(iter([huge]), 0, 1.0)
    assert torch.equal(model.linear.weight, before)
    scale = step.scaler.get_scale()
    assert scale < 65536
