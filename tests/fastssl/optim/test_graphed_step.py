"""Steps that are replayed: the same numbers as plain ones, from the same memory; and where there are none.

On a CPU a stand-in is replayed: like a graph it computes nothing while it is captured, reads the tensors that
were there then, and writes to those that were made then.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastssl.methods import BYOL, BarlowTwins, MoCo, MSBReg, SimCLR, SiMo, Supervised
from fastssl.methods.method import Method
from fastssl.methods.probed import add_probes
from fastssl.optim import SGD
from fastssl.optim.graphed_step import GraphedStep, Replay, capture_on_gpu, graph_blocker, repeats
from fastssl.optim.optimizer import build_optimizer
from fastssl.optim.train_step import TrainStep
from fastssl.recipes import quickstart
from fastssl.run.build import build_train_step
from pipelines.command.errors import UserError
from tests.fastssl.test_gpu import on_gpu
from tests.helpers.batches import NUM_CLASSES, make_batch, tiny_method
from tests.helpers.methods import CASES, narrow

CPU = torch.device("cpu")
ACCELERATOR = [pytest.param(torch.device("cuda"), marks=pytest.mark.gpu), CPU]
REPEATED = (
    "byol",
    "moco",
    BarlowTwins.Config.kind,
    "simclr",
    "supervised",
    "moco-two-predictors",
    "byol-uniformity",
)


class FakeGraphs:
    """Captures functions of a ``GraphedStep`` without a GPU."""

    def __init__(self, method: Method, optimizer: torch.optim.Optimizer) -> None:
        self.method, self.optimizer = method, optimizer
        self.step: GraphedStep
        self.captures = self.replays = 0

    def capture(self, body: Callable[[], None]) -> Replay:
        self.captures += 1
        state = copy.deepcopy(self.method.state_dict()), copy.deepcopy(self.optimizer.state_dict())
        body()
        self.method.load_state_dict(state[0])
        self.optimizer.load_state_dict(state[1])
        metrics, left = self.step._metrics, list(self.method.pending)

        def replay() -> None:
            self.replays += 1
            self.method.pending.clear()
            body()
            for made, values in zip(metrics, self.step._metrics, strict=True):
                for name, value in values.items():
                    made[name].copy_(value)
            for tensor, value in zip(left, self.method.pending, strict=True):
                tensor.copy_(value)
            self.step._metrics = metrics
            self.method.pending.clear()

        return replay


def losses(
    step: TrainStep,
    method: Method,
    device: torch.device,
    count: int = 7,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    config: Any = method.config
    taken = []
    for number in range(count):
        batch = make_batch(number, views=config.num_views)
        batch = replace(batch, views=tuple(views.to(dtype) for views in batch.views))
        _, metrics = step(
            iter([on_gpu(batch) if device.type == "cuda" else batch]), number, 0.1 / (1 + number)
        )
        taken.append(metrics[0])
    return torch.stack([values["loss"] for values in taken])


@pytest.mark.parametrize("device", ACCELERATOR, ids=str)
@pytest.mark.parametrize(("name", "watched"), [*((name, False) for name in REPEATED), ("byol", True)])
def test_replayed_steps_are_plain_steps(name: str, watched: bool, device: torch.device) -> None:
    plain, graphed = tiny_method(CASES[name].config), tiny_method(CASES[name].config)
    for method in (plain, graphed):
        if watched:
            add_probes(method, NUM_CLASSES)
        method.to(device)
    graphed.load_state_dict(plain.state_dict())
    config = SGD.Config(weight_decay=1e-2)
    steps = TrainStep(plain, build_optimizer(plain.param_groups(), config), device=device)
    optimizer = build_optimizer(graphed.param_groups(), config)
    graphs = FakeGraphs(graphed, optimizer)
    capture = graphs.capture if device.type == "cpu" else capture_on_gpu
    replayed = GraphedStep(graphed, optimizer, device=device, capture=capture)
    graphs.step = replayed
    wanted, got = losses(steps, plain, device), losses(replayed, graphed, device)
    if device.type == "cuda":  # algorithms of convolutions may differ
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
        return
    assert torch.equal(got, wanted)
    assert (graphs.captures, graphs.replays) == (1, 7 - GraphedStep.WARM_UP_STEPS)
    ours, theirs = graphed.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_methods_that_draw_on_the_host_are_not_repeated() -> None:
    assert {name for name, case in CASES.items() if repeats(tiny_method(case.config))} >= set(REPEATED)
    shuffled = {"teacher.shuffling_bn": True}
    for method in (
        narrow(SiMo),
        narrow(MSBReg),
        narrow(SimCLR, {"loss.num_negatives": 3}),
        narrow(MoCo, {"loss.num_negatives": 40, **shuffled}),
        narrow(BYOL, shuffled),
    ):
        assert not repeats(tiny_method(method)), method.kind
    for method in (narrow(BYOL), narrow(BarlowTwins), Supervised.Config()):
        assert repeats(tiny_method(method)), method.kind


class Draws(BYOL):
    """A user's method: nobody knows of its forward."""

    def forward(self, batch: Any, step: int) -> Any:
        return super().forward(batch, step)


def test_what_stands_against_a_graph_is_told() -> None:
    method = tiny_method(narrow(BYOL))
    optimizer = build_optimizer(method.param_groups(), SGD.Config())
    gpu = torch.device("cuda")
    assert graph_blocker(method, optimizer, CPU, None, 1) == "the device is cpu"
    assert graph_blocker(method, optimizer, gpu, None, 2) == "micro-batches are accumulated"
    assert "fp16" in str(graph_blocker(method, optimizer, gpu, torch.float16, 1))
    assert "triton" in str(graph_blocker(method, optimizer, gpu, None, 1))
    optimizer._kernels = object()  # type: ignore[attr-defined]
    assert graph_blocker(method, optimizer, gpu, torch.bfloat16, 1) is None
    method.__class__ = Draws
    assert graph_blocker(method, optimizer, gpu, None, 1) == "Draws draws or chooses on the host in each step"


def step_of(method: Method, **machine: Any) -> TrainStep:
    """A step of the quickstart's run in fp32, with other options of the machine."""
    config = quickstart()
    experiment = replace(config.experiment, precision="fp32")
    config = replace(config, experiment=experiment, machine=replace(config.machine, **machine))
    return build_train_step(config, method, CPU)


def test_a_graph_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="--cuda-graph cannot be: the device is cpu: leave it out"):
        step_of(tiny_method(narrow(BYOL)), cuda_graph=True)


def check_compiled(method: Method, compiled: Method, count: int) -> None:
    """Take ``count`` steps of both, the second with ``--compile``: their losses agree."""
    plain, steps = step_of(method), step_of(compiled, compile=True)
    wanted = losses(plain, method, CPU, count, torch.float64)
    torch.testing.assert_close(losses(steps, compiled, CPU, count, torch.float64), wanted, rtol=1e-6, atol=0)


@pytest.mark.slow
def test_compiled_networks_agree_with_eager_ones() -> None:
    """To the rounding of fused operations: in float64, where it stays small over several steps."""
    method = tiny_method(narrow(BYOL)).double()
    compiled = copy.deepcopy(method)
    check_compiled(method, compiled, 4)
    assert list(compiled.state_dict()) == list(method.state_dict())


@pytest.mark.slow
def test_probes_watch_compiled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook that hands them their features is traced with the network."""
    traced = partialmethod(nn.Module.compile, backend="aot_eager")  # all but the kernels
    monkeypatch.setattr(nn.Module, "compile", traced)
    method, compiled = tiny_method(narrow(BYOL)), tiny_method(narrow(BYOL))
    for each in (method, compiled):
        add_probes(each, NUM_CLASSES)
        each.double()
    compiled.load_state_dict(method.state_dict())
    check_compiled(method, compiled, 3)
    torch.testing.assert_close(dict(compiled.state_dict()), dict(method.state_dict()), rtol=1e-4, atol=1e-5)


def test_a_compiler_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/absent/compiler")
    with pytest.raises(UserError, match="--compile on a CPU needs a C\\+\\+ compiler"):
        step_of(tiny_method(narrow(BYOL)), compile=True)
