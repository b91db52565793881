"""Implementations of LARS and SGD against the reference.

Without a GPU the kernels run in Triton's interpreter, on small tensors. With one, those tests are marked
`gpu`, and run the compiled kernels.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from fastssl.optim import LARS, SGD, Optimizer
from fastssl.optim.optimizer import Implementation, build_optimizer, set_learning_rate, split_parameters
from pipelines.command.errors import UserError
from tests.helpers import ROOT
from tests.helpers.fused_optimizers import (
    DEVICE,
    NO_GRADIENT,
    ON_GPU,
    SHAPES,
    Trained,
    Weights,
    assert_rounded,
    go,
    gradient,
    rate,
    small_chunks,
    start,
)
from tests.helpers.waits import waits_are_errors

pytestmark = [pytest.mark.usefixtures("interpreter"), *([pytest.mark.gpu] if ON_GPU else [])]
CONFIGS: dict[str, Optimizer.Config] = {
    "lars": LARS.Config(weight_decay=1e-2, trust_coefficient=0.02, exclude_norm_and_bias=True),
    "lars-all": LARS.Config(weight_decay=0.0, trust_coefficient=0.02),
    "sgd": SGD.Config(weight_decay=1e-2),
    "sgd-nesterov": SGD.Config(weight_decay=1e-2, nesterov=True, exclude_norm_and_bias=True),
    "sgd-plain": SGD.Config(weight_decay=0.0, momentum=0.0),
}


@pytest.fixture(autouse=True)
def _small_chunks() -> Iterator[None]:
    with small_chunks():
        yield


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("implementation", ["foreach", "triton"])
def test_100_steps_are_those_of_the_reference(name: str, implementation: Implementation) -> None:
    """With a changing rate, zero weights and gradients, none at all, excluded groups and skipped steps."""
    steps = range(100 if ON_GPU or implementation == "foreach" else 6)  # the interpreter's take long
    exact = start(CONFIGS[name], "reference", torch.float64)
    got = start(CONFIGS[name], implementation)
    go(exact, steps)
    go(got, steps)
    assert got.optimizer.implementation == implementation  # type: ignore[attr-defined]
    wanted = exact.tensors()
    count = len(SHAPES) * (2 if name == "sgd-plain" else 3)  # torch keeps no momentum of 0
    assert_rounded(got.tensors()[:count], wanted[:count])
    assert torch.equal(list(got.weights.parameters())[NO_GRADIENT], list(Weights().parameters())[NO_GRADIENT])


@pytest.mark.parametrize("first", ["reference", "foreach", "triton"])
@pytest.mark.parametrize("second", ["reference", "foreach", "triton"])
@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_a_run_resumes_with_another_implementation(
    name: str, first: Implementation, second: Implementation
) -> None:
    whole = start(CONFIGS[name], "foreach")
    go(whole, range(1, 3))
    part = start(CONFIGS[name], first)
    go(part, range(1, 2))
    file = io.BytesIO()
    torch.save([part.weights.state_dict(), part.average.state_dict(), part.optimizer.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    resumed = start(CONFIGS[name], second)
    resumed.weights.load_state_dict(states[0])
    resumed.average.load_state_dict(states[1])
    resumed.optimizer.load_state_dict(states[2])
    assert resumed.optimizer.implementation == second  # type: ignore[attr-defined]
    go(resumed, range(2, 3))
    assert_rounded(resumed.tensors(), whole.tensors())


def test_momentums_of_another_layout_are_taken_over() -> None:
    """Such as those of a run from before its network was channels-last."""
    whole, resumed = (start(CONFIGS["lars"], way) for way in ("reference", "triton"))
    go(whole, [1])
    state = whole.optimizer.state_dict()
    state["state"] = {
        index: {"momentum_buffer": values["momentum_buffer"].clone(memory_format=torch.contiguous_format)}
        for index, values in state["state"].items()
    }
    resumed.weights.load_state_dict(whole.weights.state_dict())
    resumed.average.load_state_dict(whole.average.state_dict())
    resumed.optimizer.load_state_dict(state)
    for trained in (whole, resumed):
        go(trained, [2])
    assert_rounded(resumed.tensors(), whole.tensors())


def test_steps_of_kernels_repeat_to_the_bit() -> None:
    first, second = (start(CONFIGS["lars"], "triton") for _ in range(2))
    for trained in (first, second):
        go(trained, range(1, 3))
    assert all(map(torch.equal, first.tensors(), second.tensors()))


def test_tables_are_made_again_only_when_a_tensor_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastssl.optim.multi_tensor_tables import MultiTensorStep  # as tests.helpers imported it

    made, make = [], MultiTensorStep._fill

    def count(*given: Any) -> Any:
        made.append(given)
        return make(*given)

    monkeypatch.setattr(MultiTensorStep, "_fill", count)
    weight = nn.Parameter(torch.ones(2, 2, device=DEVICE))
    optimizer = build_optimizer([{"params": [weight], "norm_and_bias": False}], LARS.Config(), "triton")
    weight.grad = torch.ones_like(weight)
    for _ in range(2):
        optimizer.step()
    kept, weight.grad = weight.grad, torch.full_like(weight, 2.0)
    optimizer.step()
    assert len(made) == 1
    weight.data = weight.data.clone()
    set_learning_rate(optimizer, 1.0)
    optimizer.step()
    assert len(made) == 2
    assert (weight < 1).all()
    assert kept is not weight.grad


@pytest.mark.skipif(ON_GPU, reason="on a GPU the default is fused")
def test_on_a_cpu_lars_is_what_it_was_to_the_bit() -> None:
    trained = start(CONFIGS["lars"], "auto")
    assert trained.optimizer.implementation == "foreach"  # type: ignore[attr-defined]
    weights = [weight.detach().clone() for weight in Weights().parameters()]
    momentums = [torch.zeros_like(weight) for weight in weights]
    for step in range(1, 6):
        go(trained, [step], scaled=False)
        for adapt in (True, False):
            given = {i: gradient(step, i) for i, w in enumerate(weights) if (w.ndim > 1) == adapt}
            gradients = {i: values for i, values in given.items() if values is not None}
            chosen, buffers = [weights[i] for i in gradients], [momentums[i] for i in gradients]
            updates = torch._foreach_add(list(gradients.values()), chosen, alpha=1e-2 if adapt else 0.0)
            if adapt:
                norms = [torch.stack(torch._foreach_norm(list(ts))) for ts in (chosen, updates)]
                usable = (norms[0] > 0) & (norms[1] > 0)
                ratios = torch.where(usable, 0.02 * norms[0] / norms[1], 1.0)
                torch._foreach_mul_(updates, list(ratios.unbind()))
            torch._foreach_mul_(buffers, 0.9)
            torch._foreach_add_(buffers, updates)
            torch._foreach_add_(chosen, buffers, alpha=-rate(step) * (1 if adapt else 0.5))
    assert all(map(torch.equal, trained.weights.parameters(), weights))


@pytest.mark.skipif(ON_GPU, reason="on a GPU the default is fused")
@pytest.mark.parametrize("name", ["sgd", "sgd-nesterov", "sgd-plain"])
def test_on_a_cpu_sgd_is_torch_own_to_the_bit(name: str) -> None:
    config = CONFIGS[name]
    assert isinstance(config, SGD.Config)
    trained, weights = start(config, "auto"), Weights()
    assert trained.optimizer.implementation == "foreach"  # type: ignore[attr-defined]
    groups = [
        {name: group[name] for name in ("weight_decay", "lr_scale")} | {"params": part["params"]}
        for part, group in zip(weights.parts(), trained.optimizer.param_groups, strict=True)
    ]
    own = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov)
    for step in range(1, 6):
        go(trained, [step], scaled=False)
        set_learning_rate(own, rate(step))
        for position, weight in enumerate(weights.parameters()):
            weight.grad = gradient(step, position)
        own.step()
    assert all(map(torch.equal, trained.weights.parameters(), weights.parameters()))


def test_a_state_from_a_gpu_leaves_torch_fused_step_there() -> None:
    """Groups of a state hold torch's own switch, which on a CPU is wrong for other strides of gradients."""
    weight = nn.Parameter(torch.ones(2, 2, device="cpu"))
    optimizer = build_optimizer([{"params": [weight], "norm_and_bias": False}], SGD.Config())
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group.update(fused=True, foreach=False)
    optimizer.load_state_dict(state)
    assert [(group["fused"], group["foreach"]) for group in optimizer.param_groups] == [(False, True)]
    assert not optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", ["frozen", "foreign", "twice", "other layout"])
def test_averages_that_do_not_fit_are_left_to_the_caller(case: str) -> None:
    trained = start(CONFIGS["lars"], "triton")
    averages: list[tuple[nn.Module, nn.Module, float]] = [(trained.average, trained.weights, 0.9)]
    assert trained.optimizer.take_averages(averages)
    if case == "frozen":  # a part of the student that is not trained, hence not the optimizer's
        trained.weights.frozen = nn.Parameter(torch.ones(2, device=DEVICE), requires_grad=False)
        trained.average.frozen = nn.Parameter(torch.ones(2, device=DEVICE), requires_grad=False)
        averages = [(nn.ModuleList([trained.average]), nn.ModuleList([trained.weights]), 0.9)]
    elif case == "foreign":
        averages = [(trained.average, Weights(), 0.9)]
    elif case == "twice":
        averages *= 2
    else:
        averages = [(Weights().to(memory_format=torch.contiguous_format), trained.weights, 0.9)]
    assert not trained.optimizer.take_averages(averages)


def test_foreach_takes_no_averages() -> None:
    trained = start(CONFIGS["sgd"], "foreach")
    assert not trained.optimizer.take_averages([(trained.average, trained.weights, 0.9)])


@pytest.mark.skipif(ON_GPU, reason="there it runs")
def test_triton_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    for config in (LARS.Config(), SGD.Config()):
        with pytest.raises(UserError, match=r"^--optimizer-implementation triton needs .*CUDA.*: take auto$"):
            start(config, "triton")


def test_kernels_need_float32() -> None:
    with pytest.raises(UserError, match="triton needs float32 parameters"):
        start(LARS.Config(), "triton", torch.float64)


def test_apex_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(UserError, match=r"^[^\n]*APEX_CUDA_EXT=1 pip install[^\n]*$"):
        start(SGD.Config(), "apex")
    with pytest.raises(UserError, match=r"lars is not implemented in apex: .* takes auto or reference or"):
        start(LARS.Config(), "apex")


@pytest.mark.gpu
def test_apex() -> None:
    pytest.importorskip("amp_C")
    exact, got = start(CONFIGS["sgd"], "reference", torch.float64), start(CONFIGS["sgd"], "apex")
    for trained in (exact, got):
        go(trained, range(1, 3), scaled=False)
    assert_rounded(got.tensors(), exact.tensors())


def test_an_optimizer_of_a_user_has_one_implementation() -> None:
    class Plain(Optimizer, torch.optim.SGD):
        @dataclass(frozen=True, kw_only=True)
        class Config(Optimizer.Config):
            pass

    optimizer = Plain([nn.Parameter(torch.ones(1))], lr=0.0)
    optimizer.use("auto")
    assert not optimizer.take_averages([])
    optimizer.refresh()
    with pytest.raises(UserError, match=r"takes auto$"):
        optimizer.use("foreach")


COMPILE = """
import sys, torch
from fastssl.optim import LARS
from fastssl.optim.optimizer import build_optimizer

build_optimizer([{"params": [torch.nn.Parameter(torch.ones(2, 2))], "norm_and_bias": False}], LARS.Config())
print("imported early", "fastssl.optim.multi_tensor_tables" in sys.modules)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fastssl.optim.multi_tensor_passes import sum_squares, update_tensors

for kernel, constants in (
    (sum_squares, {"CHUNK": 4096, "BLOCK": 1024}),
    (update_tensors, {"CHUNK": 4096, "BLOCK": 1024, "LANES": 128, "NESTEROV": True}),
):
    kinds = {"chunks": "*i64", "rows": "*i64", "gradients": "*i64"} | dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
    options = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": True}
    source = ASTSource(kernel, signature, constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    loads = compiled.asm["ptx"].count("ld.global.v4.b32")
    print(kernel.__name__, len(compiled.asm["cubin"]) > 0, loads > 0)
"""


@pytest.mark.skipif(ON_GPU, reason="the other tests compile")
def test_kernels_compile_and_load_four_elements_at_once() -> None:
    """Without a GPU they are compiled for one, and imported only here."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("imported early False", "sum_squares True True", "update_tensors True True")
    ]


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_the_host_waits_for_nothing_and_launches_two_kernels(name: str) -> None:
    trained = start(CONFIGS[name], "triton")
    go(trained, [1])
    weights = list(trained.weights.parameters())
    for position, weight in enumerate(weights):
        weight.grad = torch.ones_like(weight) if position != NO_GRADIENT else None
    averages = [(trained.average, trained.weights, 0.9)]
    trained.optimizer.take_averages(averages)
    trained.optimizer.step()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True
    ) as profile:
        with waits_are_errors():
            trained.optimizer.take_averages(averages)
            trained.optimizer.step()
        torch.cuda.synchronize()
    kernels = [event.name for event in profile.events() if event.name in ("sum_squares", "update_tensors")]
    assert kernels == ["sum_squares", "update_tensors"][-len(kernels) :]
    assert len(kernels) == (2 if name.startswith("lars") else 1)


def set_up_step(trained: Trained, step: int) -> None:
    """Gradients where those of other steps are, a rate, and an average's momentum."""
    for position, weight in enumerate(trained.weights.parameters()):
        values = gradient(2 * step, position)
        if values is not None:
            weight.grad = torch.empty_like(weight) if weight.grad is None else weight.grad
            weight.grad.copy_(values)
    set_learning_rate(trained.optimizer, rate(step))
    assert trained.optimizer.take_averages([(trained.average, trained.weights, 1 - 0.1 * step)])


def check_replays(plain: Trained, graphed: Trained, replay: Callable[[], None], steps: range) -> None:
    """Assert that replays of a step are plain steps, to the bit."""
    for step in steps:
        for trained in (plain, graphed):
            set_up_step(trained, step)
        plain.optimizer.step()
        graphed.optimizer.refresh()
        replay()
    assert all(map(torch.equal, plain.tensors(), graphed.tensors()))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["lars", "sgd"])
@pytest.mark.parametrize("implementation", ["auto", "triton"])
def test_a_captured_step_follows_rates_and_momentums(name: str, implementation: Implementation) -> None:
    plain, graphed = (start(CONFIGS[name], implementation) for _ in range(2))
    for trained in (plain, graphed):
        set_up_step(trained, 1)
        trained.optimizer.step()
    graph = torch.cuda.CUDAGraph()
    set_up_step(graphed, 2)
    with torch.cuda.graph(graph):
        graphed.optimizer.step()
    check_replays(plain, graphed, graph.replay, range(2, 6))


@pytest.mark.skipif(ON_GPU, reason="there is a real one above")
def test_launches_of_a_graph_find_their_tables_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """With launches that are put off, as a graph does."""
    from fastssl.optim import multi_tensor_tables

    plain, graphed = (start(CONFIGS["lars"], "triton") for _ in range(2))
    for trained in (plain, graphed):
        set_up_step(trained, 1)
        trained.optimizer.step()
    launches: list[Callable[[], None]] = []

    class Put:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *given, **named: launches.append(lambda: self.kernel[grid](*given, **named))

    set_up_step(graphed, 2)
    with monkeypatch.context() as patch:
        patch.setattr(multi_tensor_tables, "is_capturing", lambda: True)
        patch.delattr(multi_tensor_tables.MultiTensorStep, "_allocate")  # the graph would reuse the memory
        for kernel in ("sum_squares", "update_tensors"):
            patch.setattr(multi_tensor_tables, kernel, Put(getattr(multi_tensor_tables, kernel)))
        graphed.optimizer.step()
    assert len(launches) == 2

    def replay() -> None:
        for launch in launches:
            launch()

    check_replays(plain, graphed, replay, range(2, 4))


def test_momentums_are_not_begun_in_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastssl.optim import multi_tensor_tables

    trained = start(CONFIGS["lars"], "triton")
    set_up_step(trained, 1)
    monkeypatch.setattr(multi_tensor_tables, "is_capturing", lambda: True)
    with pytest.raises(AssertionError, match="step once before the capture"):
        trained.optimizer.step()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_full_size(name: str) -> None:
    from torchvision.models import resnet50

    results = []
    implementations: list[Implementation] = ["reference", "triton"]
    for implementation in implementations:
        torch.manual_seed(0)
        net = resnet50().cuda().to(memory_format=torch.channels_last)
        optimizer = build_optimizer(split_parameters(net), CONFIGS[name], implementation)
        set_learning_rate(optimizer, 0.1)
        generator = torch.Generator("cuda").manual_seed(0)
        for _ in range(5):
            for weight in net.parameters():
                weight.grad = torch.randn(weight.shape, generator=generator, device="cuda")
            optimizer.step()
        results.append([weight.detach() for weight in net.parameters()])
    assert_rounded(*results)
