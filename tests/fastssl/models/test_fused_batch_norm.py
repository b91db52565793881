"""Fused batch norm against torch's own in float64.

Without a GPU the kernels run in Triton's interpreter, on small tensors. With one, those tests are marked
`gpu`, and run the compiled kernels.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastssl.models import fused_batch_norm
from fastssl.models.fused_batch_norm import FusedBatchNorm2d, batch_norm, fuse_batch_norms
from tests.helpers import ROOT
from tests.helpers.waits import waits_are_errors
from tests.pipelines.conftest import interpreter as interpreter

ON_GPU = torch.cuda.is_available()
with pytest.MonkeyPatch.context() as environment:
    if not ON_GPU:
        environment.setenv("TRITON_INTERPRET", "1")  # is looked at where a kernel is defined
    from fastssl.models import fused_batch_norm_passes as fused_batch_norm_passes

DEVICE = torch.device("cuda" if ON_GPU else "cpu")
pytestmark = [pytest.mark.usefixtures("interpreter"), *([pytest.mark.gpu] if ON_GPU else [])]

SMALL = {
    "TILE": 64,
    "COLUMNS": 16,
    "SUMMING": 12,
    "MOVING": 8,
    "LANES": 2,
    "_multiprocessors": lambda device: 1,
}
REAL = {name: getattr(fused_batch_norm, name) for name in SMALL}
SHAPES = [(5, 40, 3, 7), (2, 3, 1, 1), (7, 3, 5, 5), (3, 64, 4, 5), (1, 200, 5, 3), (3, 1, 2, 2)]
FLOAT_ERROR = 4e-6  # of sums and products in float32, as a share of the largest value
LAST_PLACE = {torch.float32: 0.0, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""A unit in the last place of an output: the interpreter cuts digits off, where a GPU rounds."""


@pytest.fixture(autouse=True)
def _small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that small tensors have several of, with several tiles each."""
    for name, value in SMALL.items():
        monkeypatch.setattr(fused_batch_norm, name, value)


def images(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, mean: float = 0.0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + mean
    return values.to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


def norm_of(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.3)
    generator = torch.Generator().manual_seed(1)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2.0, generator=generator)
    return norm.to(DEVICE)


@dataclass
class Trained:
    """What one pass forward and backward leaves."""

    output: Tensor
    of_input: Tensor
    norm: nn.BatchNorm2d

    def tensors(self) -> dict[str, Tensor]:
        gradients = {name: parameter.grad for name, parameter in self.norm.named_parameters()}
        assert gradients["weight"] is not None
        assert gradients["bias"] is not None
        found = {"output": self.output.detach(), "of input": self.of_input}
        found |= {f"of {name}": value for name, value in gradients.items() if value is not None}
        return found | {name: value.clone() for name, value in self.norm.named_buffers()}


def train(norm: nn.BatchNorm2d, x: Tensor, gradient: Tensor) -> Trained:
    x = x.detach().requires_grad_()
    output = norm(x)
    output.backward(gradient.to(output.dtype))
    assert x.grad is not None
    return Trained(output, x.grad, norm)


def is_fused(output: Tensor) -> bool:
    assert output.grad_fn is not None
    return "Fused" in output.grad_fn.name()


def check(got: Trained, exact: Trained, x: Tensor, gradient: Tensor) -> None:
    """Equal to the rounding of float32 in the sums, in the mean above all, and of the output's dtype."""
    deviation = (x.double().var((0, 2, 3), correction=0) + exact.norm.eps).sqrt()
    scale = (exact.norm.weight.detach() / deviation).abs().max()
    lost = (
        2.0**-23 * x.double().abs().max() / deviation.min()
    )  # of a normalized value, with the mean's digits
    gradients = gradient.double().abs()
    extra = {
        "output": lost * exact.norm.weight.abs().max(),
        "of input": (FLOAT_ERROR + lost) * scale * gradients.max() * 4,
        "of weight": lost * gradients.sum((0, 2, 3)).max(),
    }
    last = LAST_PLACE[x.dtype]
    wanted = exact.tensors()
    assert got.tensors().keys() == wanted.keys()
    for name, value in got.tensors().items():
        error, largest = (value.double() - wanted[name]).abs(), wanted[name].abs()
        rounding = FLOAT_ERROR * largest.max() + (last * largest if name in ("output", "of input") else 0.0)
        assert (error <= rounding + extra.get(name, 0.0) * (1 + last)).all(), (name, error.max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", LAST_PLACE, ids=str)
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_against_torch_in_float64(shape: tuple[int, ...], dtype: torch.dtype, mean: float) -> None:
    x, gradient = images(shape, dtype, mean), images((*shape[:-1], 2 * shape[-1]), dtype)[..., : shape[-1]]
    norm = norm_of(shape[1])
    exact = train(copy.deepcopy(norm).double(), x.double(), gradient.double())
    got = train(fuse_batch_norms(norm), x, gradient)
    assert is_fused(got.output)
    assert (got.output.dtype, got.of_input.dtype) == (dtype, dtype)
    assert got.output.is_contiguous(memory_format=torch.channels_last)
    check(got, exact, x, gradient)


def test_a_matrix() -> None:
    x, norm = images((37, 20, 1, 1)).flatten(1), norm_of(20)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    exact = copy.deepcopy(norm).double()(x.double()[..., None, None]).flatten(1)
    got = batch_norm(x, norm.weight, norm.bias, mean, variance, 0.3, norm.eps)
    assert (got.double() - exact).abs().max() <= FLOAT_ERROR * exact.abs().max()


def test_it_repeats_to_the_bit() -> None:
    x, gradient = images((5, 40, 3, 7), torch.bfloat16), images((5, 40, 3, 7))
    first, second = (train(fuse_batch_norms(norm_of(40)), x, gradient).tensors() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_input_that_needs_no_gradient() -> None:
    x, norm = images((3, 5, 2, 2)), norm_of(5)
    train(other := copy.deepcopy(norm), x, torch.ones_like(x))
    fuse_batch_norms(norm)(x).sum().backward()  # whose gradient is expanded
    assert x.grad is None
    for parameter, expected in zip(norm.parameters(), other.parameters(), strict=True):
        assert parameter.grad is not None
        assert expected.grad is not None
        assert torch.allclose(parameter.grad, expected.grad, rtol=1e-5, atol=1e-5)


def test_a_gradient_is_taken_once() -> None:
    x, norm = images((3, 5, 2, 2)).requires_grad_(), fuse_batch_norms(norm_of(5))
    (gradient,) = torch.autograd.grad(norm(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def _frozen(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    return norm.eval()


def _cumulative(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.momentum = None
    return norm


FALLBACKS: dict[str, tuple[Callable[[int], nn.BatchNorm2d], Callable[[], Tensor]]] = {
    "another layout": (norm_of, lambda: images((3, 5, 2, 2)).contiguous()),
    "evaluation": (lambda channels: _frozen(norm_of(channels)), lambda: images((3, 5, 2, 2))),
    "cumulative": (lambda channels: _cumulative(norm_of(channels)), lambda: images((3, 5, 2, 2))),
    "no statistics": (
        lambda channels: nn.BatchNorm2d(channels, track_running_stats=False).to(DEVICE),
        lambda: images((3, 5, 2, 2)),
    ),
    "float64": (lambda channels: norm_of(channels).double(), lambda: images((3, 5, 2, 2)).double()),
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_else_it_is_torch_own_to_the_bit(case: str) -> None:
    make, make_images = FALLBACKS[case]
    plain, x = make(5), make_images()
    fused = fuse_batch_norms(copy.deepcopy(plain))
    output = fused(x)
    assert not is_fused(output)
    assert torch.equal(output, plain(x))
    assert all(map(torch.equal, fused.buffers(), plain.buffers()))


def test_one_value_per_channel_is_refused_as_torch_does() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fuse_batch_norms(norm_of(5))(images((1, 5, 1, 1)))


@pytest.mark.skipif(ON_GPU, reason="there it is fused")
def test_on_a_cpu_it_is_torch_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    assert not is_fused(fuse_batch_norms(norm_of(5))(images((3, 5, 2, 2))))


def test_compiled_it_is_torch_own() -> None:
    plain, x = norm_of(5), images((3, 5, 2, 2))
    fused = fuse_batch_norms(copy.deepcopy(plain))
    compiled = torch.compile(fused, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), plain(x))


def test_autocast_changes_nothing() -> None:
    x, norm = images((3, 5, 2, 2), torch.bfloat16), fuse_batch_norms(norm_of(5))
    with torch.autocast(DEVICE.type, torch.bfloat16):
        assert norm(x).dtype is torch.bfloat16
        assert norm(x.float()).dtype is torch.float32


def test_names_and_kinds_stay() -> None:
    class Other(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.BatchNorm2d(5), nn.Sequential(nn.BatchNorm2d(5)), nn.BatchNorm1d(5), Other(5))
    state, parameters = copy.deepcopy(network.state_dict()), list(network.parameters())
    assert fuse_batch_norms(network) is network
    assert [type(part) for part in network.modules() if isinstance(part, _BatchNorm)] == [
        *(FusedBatchNorm2d, FusedBatchNorm2d, nn.BatchNorm1d, Other)
    ]
    assert list(network.state_dict()) == list(state)
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    nn.Sequential(
        nn.BatchNorm2d(5), nn.Sequential(nn.BatchNorm2d(5)), nn.BatchNorm1d(5), nn.BatchNorm2d(5)
    ).load_state_dict(network.state_dict())


COMPILE = """
import sys, torch
from torch import nn
from fastssl.models.fused_batch_norm import fuse_batch_norms

images = torch.ones(2, 8, 3, 3).contiguous(memory_format=torch.channels_last)
fuse_batch_norms(nn.BatchNorm2d(8))(images)
print("imported early", "fastssl.models.fused_batch_norm_passes" in sys.modules)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fastssl.models import fused_batch_norm_passes as passes

SIZES = {"BLOCK_M": 32, "BLOCK_C": 128, "STAGES": 3, "LANES": 64}
KINDS = {
    **dict.fromkeys(("x", "y", "gradient", "of_input"), "*bf16"),
    **dict.fromkeys(("M", "C", "rows", "splits"), "i32"),
    **dict.fromkeys(("momentum", "eps"), "fp32"),
    **dict.fromkeys(SIZES, "constexpr"),
}
for name in (
    "partial_statistics merge_statistics normalize partial_gradients merge_gradients input_gradient".split()
):
    kernel = getattr(passes, name)
    signature = {argument: KINDS.get(argument, "*fp32") for argument in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, (argument, kind) in enumerate(signature.items())
        if kind.startswith("*") or argument == "C"
    }
    constants = {argument: value for argument, value in SIZES.items() if argument in signature}
    source = ASTSource(kernel, signature, constants, aligned)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    print(name, "cp.async.cg.shared.global" in ptx or "ld.global.v4.b32" in ptx)
"""


@pytest.mark.skipif(ON_GPU, reason="the other tests compile")
def test_kernels_compile_and_load_16_bytes_at_once() -> None:
    """Without a GPU they are compiled for one, and imported only here."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("imported early False", "partial_statistics True", "merge_statistics True", "normalize True"),
        *("partial_gradients True", "merge_gradients True", "input_gradient True"),
    ]


@pytest.fixture
def _real_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes as they are, whatever the tests above take."""
    for name, value in REAL.items():
        monkeypatch.setattr(fused_batch_norm, name, value)


@pytest.mark.gpu
@pytest.mark.usefixtures("_real_programs")
@pytest.mark.parametrize("shape", [(64, 64, 56, 56), (33, 2048, 7, 7), (16, 256, 55, 57)], ids=str)
def test_full_size(shape: tuple[int, ...]) -> None:
    x, gradient, norm = images(shape, torch.bfloat16, 3.0), images(shape, torch.bfloat16), norm_of(shape[1])
    exact = train(copy.deepcopy(norm).double(), x.double(), gradient.double())
    check(train(fuse_batch_norms(norm), x, gradient), exact, x, gradient)


@pytest.mark.gpu
@pytest.mark.usefixtures("_real_programs")
def test_the_host_waits_for_nothing_and_a_graph_repeats_it() -> None:
    x, gradient = images((8, 64, 14, 14), torch.bfloat16), images((8, 64, 14, 14), torch.bfloat16)
    plain, graphed = norm_of(64), norm_of(64)
    fuse_batch_norms(nn.ModuleList([plain, graphed]))
    for norm in (plain, graphed):
        train(norm, x, gradient)
        norm.zero_grad()
    with waits_are_errors():
        wanted = train(plain, x, gradient).tensors()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        trained = train(graphed, x, gradient)
    graph.replay()
    got = trained.tensors()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
