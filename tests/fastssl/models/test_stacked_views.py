"""Stacked views against one forward pass per view: the same numbers of every method, norm by norm."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastssl.methods.probed import add_probes
from fastssl.models.batch_norm import group_batch_norms
from fastssl.models.stacked_views import forward_stacked, keep_views_apart
from tests.helpers.batches import NUM_CLASSES, make_batch, tiny_method
from tests.helpers.methods import CASES, VIEWS_APART, Case, networks

NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(5),
    "frozen": lambda: nn.BatchNorm2d(5).eval(),
    "cumulative": lambda: nn.BatchNorm2d(5, momentum=None),
    "no statistics": lambda: nn.BatchNorm2d(5, track_running_stats=False).eval(),
    "none": nn.Identity,
    "groups of images": lambda: nn.BatchNorm2d(5),
}


def images(views: int, size: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 3, size, size, generator=generator) * (1 + number) + number).double()
        for number in range(views)
    ]


def network(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    convolutions = (nn.Conv2d(3, 5, 3), norm, nn.ReLU(), nn.Conv2d(5, 4, 3))
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4)).double()


def numbers(module: nn.Module, outputs: list[Tensor]) -> dict[str, Tensor]:
    """Outputs, gradients of all weights, and buffers."""
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(output.shape, generator=generator) for output in outputs]
    losses = [(output * each).sum() for output, each in zip(outputs, weights, strict=True)]
    torch.stack(losses).sum().backward()
    found = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    found |= {f"gradient of {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found | {name: value.clone() for name, value in module.named_buffers()}


def check(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Equal to a share of the largest value of each tensor."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        largest = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance * largest, msg=name)


@pytest.mark.parametrize("kind", NORMS)
def test_three_views_at_once_are_three_forward_passes(kind: str) -> None:
    one_by_one, at_once = network(NORMS[kind]()), network(NORMS[kind]())
    if kind == "groups of images":
        for each in (one_by_one, at_once):
            group_batch_norms(each, 2, 4)
    names = list(at_once.state_dict())
    for _ in range(2):  # the second time is without effect
        keep_views_apart(at_once)
    calls = count_calls(at_once[0])
    views = images(3)
    expected = numbers(one_by_one, [one_by_one(view) for view in views])
    check(numbers(at_once, forward_stacked(at_once, views)), expected, 1e-12)
    assert calls == [12]  # images
    assert list(at_once.state_dict()) == names
    assert torch.equal(at_once(views[0]), one_by_one(views[0]))  # one view, with all the norms' state
    assert torch.equal(at_once.eval()(views[1]), one_by_one.eval()(views[1]))


def count_calls(module: nn.Module) -> list[int]:
    """Numbers of images of each forward pass of a module, from now on."""
    calls: list[int] = []
    module.register_forward_pre_hook(lambda _module, inputs: calls.append(len(inputs[0])))
    return calls


def test_views_of_other_sizes_stay_apart() -> None:
    module, other = network(nn.BatchNorm2d(5)), network(nn.BatchNorm2d(5))
    keep_views_apart(module)
    calls = count_calls(module)
    views = [*images(2), *images(3, size=8)]
    found = numbers(module, forward_stacked(module, views))
    assert calls == [8, 12]
    check(found, numbers(other, [other(view) for view in views]), 1e-12)


def test_a_pass_that_fails_leaves_norms_of_one_view() -> None:
    module, other = network(nn.BatchNorm2d(5)), network(nn.BatchNorm2d(5))
    keep_views_apart(module)
    with pytest.raises(RuntimeError):
        forward_stacked(module, [torch.zeros(2, 9, 6, 6).double()] * 2)
    view = images(1)[0]
    assert torch.equal(module(view), other(view))


def test_copies_have_norms_of_their_own() -> None:
    module, view = network(nn.BatchNorm2d(5)), images(1)[0]
    keep_views_apart(module)
    other = copy.deepcopy(module)
    forward_stacked(module, images(2))
    assert other.state_dict()["1.num_batches_tracked"] == 0
    assert torch.equal(other(view), network(nn.BatchNorm2d(5))(view))


def trained(case: Case, *, stacked: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Loss and metrics of a batch, its gradients, and the method's state; batch norms in groups."""
    method = tiny_method(case.config)
    for part in networks(method):
        part.double()
    group_batch_norms(method, case.images_per_group, case.images)
    if stacked:
        method.stack_views()
    batch = make_batch(0, size=case.images, views=case.config.num_views)
    loss, metrics = method(replace(batch, views=tuple(view.double() for view in batch.views)), 0)
    loss.backward()
    found = {f"gradient of {name}": p.grad for name, p in method.named_parameters() if p.grad is not None}
    return [loss.detach(), *metrics.values()], found | dict(method.state_dict())


@pytest.mark.parametrize("name", VIEWS_APART)
def test_every_method_trains_as_with_one_pass_per_view(name: str) -> None:
    """Its networks are float64, so that no rounding puts a value on another side of a ReLU or a maximum."""
    losses, state = trained(VIEWS_APART[name], stacked=False)
    stacked_losses, stacked_state = trained(VIEWS_APART[name], stacked=True)
    torch.testing.assert_close(stacked_losses, losses, rtol=1e-5, atol=1e-6)  # float32
    check(stacked_state, state, 1e-5)


@pytest.mark.parametrize("name", ["byol", "msbreg"])
def test_in_half_precision_outputs_stay_near(name: str) -> None:
    case = VIEWS_APART[name]
    outputs = []
    for stacked in (False, True):
        method: Any = tiny_method(case.config)
        if stacked:
            method.stack_views()
        views = make_batch(0, size=case.images, views=case.config.num_views).each_view()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            outputs.append(torch.cat(method.forward_views(method.student.encoder, views)))
    assert outputs[1].dtype == torch.bfloat16
    torch.testing.assert_close(outputs[1], outputs[0], rtol=2**-6, atol=2**-6)


def test_probes_see_the_first_view_of_a_stack() -> None:
    seen: list[Tensor] = []
    for stacked in (False, True):
        method: Any = tiny_method(CASES["byol"].config)
        add_probes(method, NUM_CLASSES)
        method.probes.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        if stacked:
            method.stack_views()
        method(make_batch(0), 0)
    assert seen[0].shape == seen[1].shape
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-4, atol=1e-5)
