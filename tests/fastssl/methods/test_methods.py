"""What holds for every method."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastssl.command_line import option_names, parse
from fastssl.config_values import to_dict
from fastssl.methods import METHODS, Method, build_encoder
from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim import OPTIMIZERS, SGD, Optimizer
from fastssl.optim.optimizer import build_optimizer
from fastssl.recipes import quickstart
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from tests.helpers.batches import TINY, make_batch, tiny_method
from tests.helpers.methods import CASES, Case, experiment_with, finish_step, networks

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def method_of(case: Case) -> Method:
    method = tiny_method(case.config)
    group_batch_norms(method, case.images_per_group, case.images)
    return method


def batch_of(case: Case, step: int) -> Batch:
    return make_batch(step, size=case.images, views=case.config.num_views)


def go(method: Method, optimizer: torch.optim.Optimizer, steps: range, case: Case) -> list[float]:
    """Train on fresh batches; returns the losses."""
    losses = []
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (1 + step)
        loss, _ = method(batch_of(case, step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finish_step(method, step)
        losses.append(loss.item())
    return losses


@every_case
def test_loss_goes_down_on_a_batch_seen_again(case: Case) -> None:
    method = tiny_method(case.config)  # groups of two images are too noisy for four steps
    optimizer = build_optimizer(method.param_groups(), SGD.Config())
    for group in optimizer.param_groups:
        group["lr"] = 0.002
    batch, losses = make_batch(0, size=max(16, case.images), views=case.config.num_views), []
    for step in range(4):  # no after_step: teacher and queue stay, so that the objective is one
        loss, _ = method(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[3] < losses[1] < losses[0]


@every_case
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_a_run_goes_on_bit_equally_from_its_state(case: Case, optimizer_class: type[Optimizer]) -> None:
    method = method_of(case)
    config = optimizer_class.Config(exclude_norm_and_bias=True)
    optimizer = build_optimizer(method.param_groups(), config)
    go(method, optimizer, range(4), case)
    file = io.BytesIO()
    torch.save({"method": method.state_dict(), "optimizer": optimizer.state_dict()}, file)
    losses = go(method, optimizer, range(4, 8), case)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = method_of(case)
    resumed_optimizer = build_optimizer(resumed.param_groups(), config)
    resumed.load_state_dict(saved["method"])
    resumed_optimizer.load_state_dict(saved["optimizer"])
    assert go(resumed, resumed_optimizer, range(4, 8), case) == losses
    for (name, value), other in zip(method.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_give_finite_float32_losses_and_gradients(
    case: Case, dtype: torch.dtype
) -> None:
    method = method_of(case)
    with torch.autocast("cpu", dtype):
        loss, metrics = method(batch_of(case, 0), 0)
    assert loss.dtype == torch.float32
    assert all(value.isfinite() and value.ndim == 0 for value in metrics.values())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.student.parameters())


@every_case
def test_loss_under_autocast_is_computed_in_float32(case: Case) -> None:
    """Outputs of the networks' parts may be rounded to bfloat16 (to 2**-8), the loss may not."""
    method, reference = method_of(case), method_of(case)
    outputs: list[Tensor] = []

    def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        assert output.dtype == torch.bfloat16
        outputs.append(output.detach().float())

    def replay(_module: nn.Module, _inputs: object, _output: Tensor) -> Tensor:
        return outputs.pop(0)

    for parts, hook in ((networks(method), record), (networks(reference), replay)):
        for part in (part for network in parts for part in network.children()):  # encoder, projector, ...
            part.register_forward_hook(hook)
    batch = batch_of(case, 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = method(batch, 0)
    expected, _ = reference(batch, 0)
    assert not outputs
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


class NoHostReads(TorchDispatchMode):
    """Refuses the operations whose result, or whose shape of the result, waits for the device."""

    refused = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.name() in self.refused:
            raise AssertionError(f"{func.name()} reads a tensor on the host")
        return func(*args, **(kwargs or {}))


@every_case
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_a_step_reads_nothing_back_to_the_host(case: Case, optimizer_class: type[Optimizer]) -> None:
    method = method_of(case)
    config = optimizer_class.Config(exclude_norm_and_bias=True)
    optimizer = build_optimizer(method.param_groups(), config)
    batches = [batch_of(case, step) for step in range(4)]
    with NoHostReads():  # type: ignore[no-untyped-call]
        for step, batch in enumerate(batches):
            loss, _ = method(batch, step)
            loss.backward()
            optimizer.step()
            finish_step(method, step)
        with pytest.raises(AssertionError, match="on the host"):
            bool(loss > 0)


@every_case
def test_weights_follow_from_the_seed_alone(case: Case) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    method, other = tiny_method(case.config, seed=3), tiny_method(case.config, seed=4)
    first = method.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = tiny_method(case.config, seed=3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    weight, another = (next(each.encoder.parameters()) for each in (method, other))
    assert not torch.equal(weight, another)


@every_case
def test_the_encoder_is_rebuilt_from_its_weights_alone(case: Case) -> None:
    method = method_of(case)
    method(batch_of(case, 0), 0)  # moves the batch-norm statistics
    rebuilt = build_encoder(case.config, TINY).to(memory_format=torch.channels_last)
    rebuilt.load_state_dict(method.encoder.state_dict())
    images = torch.randn(2, 3, 32, 32)
    features = method.eval().encoder(images)
    assert features.shape == (2, method.encoder.feature_dim)
    assert torch.equal(rebuilt.eval()(images), features)


@every_case
def test_gradients_train_the_whole_student_and_all_else_is_an_average(case: Case) -> None:
    method = method_of(case)
    trainable = {name for name, p in method.named_parameters() if p.requires_grad}
    for target, _, _ in method.averages(0):
        target.requires_grad_(True)  # were it trainable, it must still get none
    method(batch_of(case, 0), 0)[0].backward()
    assert trainable == {name for name, p in method.named_parameters() if p.grad is not None}
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    ids = {id(p) for p in method.parameters() if p.grad is not None}
    assert {id(p) for p in method.encoder.parameters()} <= {id(p) for p in method.student.parameters()} == ids
    averaged = {id(p) for target, _, _ in method.averages(0) for p in target.parameters()}
    assert {id(p) for p in method.parameters()} == ids | averaged
    assert not ids & averaged


@every_case
def test_other_numbers_of_views_are_refused(case: Case) -> None:
    kind, views = case.config.kind, case.config.num_views
    for given in {1, views + 1} - {views}:
        with pytest.raises(UserError, match=f"^{kind} needs num_views {views}, not {given}[^\n]*$"):
            method_of(case)(make_batch(0, size=case.images, views=given), 0)


@pytest.mark.parametrize("method", METHODS)
def test_help_offers_every_field(
    method: type[Method], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small: Any = method.Config().small()
    config = replace(quickstart(), experiment=experiment_with(small))
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": to_dict(config)}))
    assert parse([str(file)]) == config
    with pytest.raises(SystemExit):
        parse([str(file), "--help"])
    shown = capsys.readouterr().out
    names = {name for name in option_names(config) if name.startswith("--method.")}
    assert names - {"--method.kind"} == {name for name in names if f"{name} " in shown or f"{name}," in shown}
