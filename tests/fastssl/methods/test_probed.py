"""Probes learn beside every method, change nothing of it, and are their formulas."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastssl.methods import METHODS, Method, Rotation, build_method
from fastssl.methods.probed import add_probes
from fastssl.models.probes import Probes
from fastssl.optim import SGD
from fastssl.optim.optimizer import build_optimizer
from pipelines.command.errors import UserError
from tests.helpers.batches import NUM_CLASSES, TINY, make_batch, tiny_method
from tests.helpers.methods import CASES, finish_step


def test_loss_is_the_mean_of_two_cross_entropies_and_leaves_the_features_alone() -> None:
    torch.manual_seed(0)
    probes = Probes(6, 3).double()
    features = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(10) % 3
    loss, metrics = probes(features, labels)
    with torch.no_grad():
        first = features @ probes.linear.weight.T + probes.linear.bias
        weights = dict(probes.mlp.named_parameters())
        hidden = features @ weights["0.weight"].T
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
        second = hidden.clamp(min=0) @ weights["3.weight"].T + weights["3.bias"]
    log_shares = [logits - logits.exp().sum(1, keepdim=True).log() for logits in (first, second)]
    by_hand = [-each[torch.arange(10), labels].mean() for each in log_shares]
    torch.testing.assert_close(loss, (by_hand[0] + by_hand[1]) / 2)
    assert metrics["probe_linear_top1"] == (first.argmax(1) == labels).float().mean()
    assert metrics["probe_mlp_top1"] == (second.argmax(1) == labels).float().mean()
    loss.backward()
    assert features.grad is None
    assert all(p.grad is not None for p in probes.parameters())


def trained(method: Method, name: str) -> list[dict[str, Tensor]]:
    """Two steps; the metrics of each."""
    case = CASES[name]
    optimizer = build_optimizer(method.param_groups(), SGD.Config())
    logged = []
    for step in range(2):
        for group in optimizer.param_groups:
            group["lr"] = 0.02
        loss, metrics = method(make_batch(step, size=case.images, views=case.config.num_views), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finish_step(method, step)
        logged.append(metrics)
    return logged


@pytest.mark.parametrize("kind", [method.Config.kind for method in METHODS])
def test_probes_change_nothing_of_a_method(kind: str) -> None:
    plain, probed = tiny_method(CASES[kind].config), tiny_method(CASES[kind].config)
    add_probes(probed, NUM_CLASSES)
    probed.encoder(make_batch(9, views=1).views[0])  # as a measurement between steps: it is not what they see
    probed.encoder.load_state_dict(plain.encoder.state_dict())
    before = copy.deepcopy(probed.probes.state_dict())  # type: ignore[union-attr]
    expected, found = trained(plain, kind), trained(probed, kind)
    for without, with_them in zip(expected, found, strict=True):
        assert with_them.keys() - without.keys() == {"probe_linear_top1", "probe_mlp_top1"}
        assert all(torch.equal(with_them[name], value) for name, value in without.items())
    after = probed.state_dict()
    assert all(torch.equal(after[name], value) for name, value in plain.state_dict().items())
    assert not torch.equal(after["probes.linear.weight"], before["linear.weight"])


@pytest.mark.parametrize("kind", ["barlowtwins", "simclr"])
def test_probes_see_the_first_view(kind: str) -> None:
    """SimCLR encodes its views together, an image's side by side."""
    method = tiny_method(CASES[kind].config)
    add_probes(method, NUM_CLASSES)
    seen: list[Tensor] = []
    method.probes.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    method.eval()  # batch norms see an image by itself
    batch = make_batch(0)
    method(batch, 0)
    torch.testing.assert_close(seen[0], method.encoder(batch.each_view()[0]).detach(), rtol=1e-4, atol=1e-5)


def test_building_with_probes_draws_the_same_weights() -> None:
    build = {"seed": 3, "total_steps": 9, "num_classes": NUM_CLASSES}
    plain = build_method(Rotation.Config(), TINY, **build)  # type: ignore[arg-type]
    probed = build_method(Rotation.Config(), TINY, **build, probes=True)  # type: ignore[arg-type]
    assert all(torch.equal(probed.state_dict()[name], value) for name, value in plain.state_dict().items())


def test_probes_need_labels() -> None:
    with pytest.raises(UserError, match="--probes needs classes"):
        add_probes(tiny_method(Rotation.Config()), None)
    method = tiny_method(Rotation.Config())
    add_probes(method, NUM_CLASSES)
    with pytest.raises(UserError, match="--probes needs labels"):
        method(replace(make_batch(0, views=1), labels=None), 0)
