"""What holds for every method."""

import io

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastssl.methods import (
    BYOLConfig,
    Method,
    MethodConfig,
    MoCoConfig,
    MSBRegConfig,
    SimCLRConfig,
    SiMoConfig,
    SupervisedConfig,
    build_method,
)
from fastssl.optim import OPTIMIZERS, SGD, Optimizer
from fastssl.optim.optimizer import build_optimizer
from tests.helpers.batches import TINY, make_batch, tiny_method

METHODS: dict[str, MethodConfig] = {
    "moco": MoCoConfig(num_negatives=20, hidden_dim=32, out_dim=16),
    "moco-centred": MoCoConfig(num_negatives=20, hidden_dim=32, out_dim=16, projector_out_norm=True),
    "byol": BYOLConfig(hidden_dim=32, out_dim=16),
    "moco-few": MoCoConfig(num_negatives=5, eqco_alpha=65536, hidden_dim=32, out_dim=16),
    "simo": SiMoConfig(hidden_dim=32, out_dim=16, num_negatives=3),
    "simclr": SimCLRConfig(hidden_dim=32, out_dim=16),
    "simclr-sampled": SimCLRConfig(hidden_dim=32, out_dim=16, num_negatives=3, eqco_alpha=256),
    "byol-layer-norm": BYOLConfig(hidden_dim=32, out_dim=16, head_norm="layer"),
    "byol-uniformity": BYOLConfig(hidden_dim=32, out_dim=16, uniformity_weight=0.5),
    "msbreg": MSBRegConfig(hidden_dim=32, out_dim=16),
    "msbreg-layer-norm": MSBRegConfig(hidden_dim=32, out_dim=16, num_views=2, head_norm="layer"),
    "supervised": SupervisedConfig(),
}

every_method = pytest.mark.parametrize("config", METHODS.values(), ids=METHODS)


def go(method: Method, optimizer: torch.optim.Optimizer, steps: range, config: MethodConfig) -> list[float]:
    """Train on fresh batches; returns the losses."""
    losses = []
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (1 + step)
        loss, _ = method(make_batch(step, views=config.num_views), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(loss.item())
    return losses


@every_method
def test_loss_goes_down_on_a_batch_seen_again(config: MethodConfig) -> None:
    method = tiny_method(config)
    optimizer = build_optimizer(method.param_groups(), SGD.Config())
    for group in optimizer.param_groups:
        group["lr"] = 0.002
    batch, losses = make_batch(0, size=16, views=config.num_views), []
    for step in range(4):  # no after_step: teacher and queue stay, so that the objective is one
        loss, _ = method(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[3] < losses[1] < losses[0]


@every_method
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_a_run_goes_on_bit_equally_from_its_state(
    config: MethodConfig, optimizer_class: type[Optimizer]
) -> None:
    method = tiny_method(config)
    optimizer = build_optimizer(method.param_groups(), optimizer_class.Config(exclude_norm_and_bias=True))
    go(method, optimizer, range(4), config)
    file = io.BytesIO()
    torch.save({"method": method.state_dict(), "optimizer": optimizer.state_dict()}, file)
    losses = go(method, optimizer, range(4, 8), config)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = tiny_method(config)
    resumed_optimizer = build_optimizer(
        resumed.param_groups(), optimizer_class.Config(exclude_norm_and_bias=True)
    )
    resumed.load_state_dict(saved["method"])
    resumed_optimizer.load_state_dict(saved["optimizer"])
    assert go(resumed, resumed_optimizer, range(4, 8), config) == losses
    for (name, value), other in zip(method.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@every_method
def test_bf16_forward_gives_finite_float32_losses_and_gradients(config: MethodConfig) -> None:
    method = tiny_method(config)
    with torch.autocast("cpu", torch.bfloat16):
        loss, metrics = method(make_batch(0, views=config.num_views), 0)
    assert loss.dtype == torch.float32
    assert all(value.isfinite() and value.ndim == 0 for value in metrics.values())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.student.parameters())


def networks(method: Method) -> list[nn.Module]:
    """The parts whose outputs a loss is made of."""
    return [part for name, part in method.named_children() if name in ("student", "teacher")]


@every_method
def test_loss_under_autocast_is_computed_in_float32(config: MethodConfig) -> None:
    """Only the networks' outputs may be rounded to bfloat16, whose rounding is 2**-8, not the loss."""
    method, reference = tiny_method(config), tiny_method(config)
    outputs: list[Tensor] = []

    def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        assert output.dtype == torch.bfloat16
        outputs.append(output.detach().float())

    def replay(_module: nn.Module, _inputs: object, _output: Tensor) -> Tensor:
        return outputs.pop(0)

    for network in networks(method):
        network.register_forward_hook(record)
    for network in networks(reference):
        network.register_forward_hook(replay)
    batch = make_batch(0, views=config.num_views)
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


@every_method
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_a_step_reads_nothing_back_to_the_host(
    config: MethodConfig, optimizer_class: type[Optimizer]
) -> None:
    method = tiny_method(config)
    optimizer = build_optimizer(method.param_groups(), optimizer_class.Config(exclude_norm_and_bias=True))
    batches = [make_batch(step, views=config.num_views) for step in range(4)]
    with NoHostReads():  # type: ignore[no-untyped-call]
        for step, batch in enumerate(batches):
            loss, _ = method(batch, step)
            loss.backward()
            optimizer.step()
            method.after_step(step)
        with pytest.raises(AssertionError, match="on the host"):
            bool(loss > 0)


@every_method
def test_weights_follow_from_the_seed_alone(config: MethodConfig) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = tiny_method(config, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = tiny_method(config, seed=3).state_dict()
    other = tiny_method(config, seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["student.encoder.conv1.weight"], other["student.encoder.conv1.weight"])


@every_method
def test_the_encoder_is_the_students(config: MethodConfig) -> None:
    method = build_method(config, TINY, seed=0, total_steps=1, num_classes=3)
    assert method.encoder is method.student[0]
    assert method.encoder(torch.randn(2, 3, 32, 32)).shape == (2, method.encoder.feature_dim)


def test_projector_out_norm_centres_the_embeddings_of_both_networks() -> None:
    views = make_batch(0, views=2).each_view()
    for centred in (False, True):
        config = MoCoConfig(num_negatives=20, hidden_dim=32, out_dim=16, projector_out_norm=centred)
        student, teacher = tiny_method(config).student, tiny_method(config).teacher
        assert isinstance(teacher, nn.Module)
        for network in (student[:2], teacher):
            embeddings = network(views[0])
            assert (embeddings.mean(0).abs().max() < 1e-5) == centred
            assert ((embeddings.var(0, correction=0) - 1).abs().max() < 0.05) == centred
