"""One step against the same written out: gradients of the mean of micro-batches, then the optimizer."""

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from fastssl.optim import LARS, train_step
from fastssl.optim.optimizer import Implementation, build_optimizer
from fastssl.optim.train_step import TrainStep
from tests.helpers.fused_optimizers import ON_GPU

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


def test_its_state_resumes(tmp_path: Any) -> None:
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


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_fp16_skips_a_step_whose_gradients_overflow(clip: float) -> None:
    model = Squares()
    before = model.linear.weight.detach().clone()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    step = TrainStep(model, sgd, device=CPU, autocast=torch.float16, clip_grad_norm=clip)
    huge: Any = SimpleNamespace(x=torch.full((4, 3), 3e4))
    _, metrics = step(iter([huge]), 0, 1.0)
    assert torch.equal(model.linear.weight, before)
    assert step.scaler.get_scale() < 65536
    assert not clip or metrics[0]["grad_norm"] == 0


def fp16_steps(implementation: Implementation, steps: Sequence[str]) -> tuple[Squares, TrainStep]:
    """A model after steps in fp16 with LARS, on data that "fits", or whose gradients "overflow"."""
    model = Squares()
    groups = [{"params": [model.linear.weight], "norm_and_bias": False}]
    config = LARS.Config(trust_coefficient=0.1)
    step = TrainStep(
        model,
        build_optimizer(groups, config, implementation),
        device=CPU,
        autocast=torch.float16,
        clip_grad_norm=0.5 if "clipped" in steps else 0.0,
    )
    for number, kind in enumerate(steps):
        data = batches(1)[0].x if kind != "overflow" else torch.full((4, 3), 3e4)
        step(iter([SimpleNamespace(x=data)]), number, 0.3)
    return model, step


@pytest.mark.skipif(ON_GPU, reason="the interpreter is for machines without")
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(
    "steps", [("fits", "fits"), ("overflow", "fits", "overflow"), ("overflow", "clipped")]
)
def test_kernels_step_skip_and_average_as_torch_does(
    steps: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, wanted_step = fp16_steps("reference", steps)
    # where torch's scaler reads on the host whether to skip
    monkeypatch.setattr(GradScaler, "_maybe_opt_step", lambda *given: pytest.fail("the host was asked"))
    monkeypatch.setattr(train_step, "update_averages", lambda averages: pytest.fail("not in the kernels"))
    got, got_step = fp16_steps("triton", steps)
    torch.testing.assert_close(got.linear.weight, wanted.linear.weight, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(got.follower.weight, wanted.follower.weight, rtol=1e-6, atol=1e-7)
    assert got_step.scaler.get_scale() == wanted_step.scaler.get_scale()
    assert not torch.equal(got.follower.weight, Squares().follower.weight)


@pytest.mark.parametrize("largest", [0.0, 1e-3, 1e3])
@pytest.mark.parametrize("autocast", [None, torch.float16])
def test_gradients_are_scaled_down_to_the_largest_norm(largest: float, autocast: torch.dtype | None) -> None:
    model = Squares()
    before = model.linear.weight.detach().double()
    step = TrainStep(
        model,
        torch.optim.SGD(model.parameters(), lr=9.0),
        device=CPU,
        autocast=autocast,
        accumulation_steps=2,
        clip_grad_norm=largest,
    )
    data = batches(2)
    _, metrics = step(iter(data), 5, 1.0)
    x = torch.cat([batch.x for batch in data]).double()
    gradient = 2 * (x @ before.T).T @ x / (len(x) * 2)
    rtol, atol = (1e-5, 1e-7) if autocast is None else (5e-3, 1e-3)
    if largest:
        for values in metrics:
            torch.testing.assert_close(values["grad_norm"].double(), gradient.norm(), rtol=rtol, atol=atol)
    else:
        assert all("grad_norm" not in values for values in metrics)
    if 0 < largest < gradient.norm():
        gradient *= largest / gradient.norm()
    torch.testing.assert_close(model.linear.weight.detach().double(), before - gradient, rtol=rtol, atol=atol)
