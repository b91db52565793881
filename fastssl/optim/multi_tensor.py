"""Base of LARS and SGD: implementations of one step, and moving averages that the step updates on its way."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastssl.models.teacher import paired_parameters
from fastssl.optim.optimizer import Averages, Implementation, Optimizer
from fastssl.optim.reference import update_tensor
from pipelines.command.errors import UserError


class MultiTensorOptimizer(Optimizer):
    """Optimizer that moves all tensors in few passes over memory.

    The rule is that of ``fastssl.optim.reference``, with a group's ``lr``, ``weight_decay`` and ``momentum``,
    and the ``trust_coefficient`` of groups with ``adapt``. The state is a ``momentum_buffer`` per parameter,
    whatever the implementation: a run may resume with another one.

    Attributes:
        implementation: the one in use. reference: tensor by tensor; foreach: torch's operations on lists;
            triton: kernels (``fastssl.optim.multi_tensor_passes``), which move 28 bytes per parameter (LARS)
            or 20 (SGD), and 8 more with a moving average, and skip fp16's steps without asking the device;
            others are a subclass's.
    """

    implementations: ClassVar[tuple[Implementation, ...]] = ("reference", "foreach", "triton")
    implementation: str

    def use(self, implementation: Implementation) -> None:
        """See ``Optimizer.use``. auto: triton where it runs, else foreach."""
        super().use(implementation)
        lacking = _lacking(self._parameters(), on_cpu=implementation == "triton")
        if implementation == "triton" and lacking:
            raise UserError(f"--optimizer-implementation triton needs {lacking}: take auto")
        self._chosen = implementation
        if implementation == "auto":
            self._set_up("foreach" if lacking else "triton")
        else:
            self._set_up(implementation)

    def _set_up(self, implementation: str) -> None:
        self.implementation = implementation
        self._kernels: Any = None
        if implementation == "triton":
            from fastssl.optim.multi_tensor_tables import MultiTensorStep  # it imports Triton

            self._kernels = MultiTensorStep(self.param_groups, nesterov=self._nesterov)
        self._step_supports_amp_scaling = implementation == "triton"  # asked by torch's scaler
        self._modules: list[tuple[nn.Module, nn.Module]] = []
        self._pairs: _Pairs | None = None
        self._momentums: list[float] = []
        self._without_gradient: list[bool] = []  # at the last step of the kernels
        self._buffers: list[Tensor | None] = []  # of that step

    @property
    def can_be_captured(self) -> bool:
        """True where kernels run, which read rates on the device."""
        return self._kernels is not None

    @property
    def _nesterov(self) -> bool:
        return self.defaults.get("nesterov", False)

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state, whatever implementation it comes from."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            buffer = state.get("momentum_buffer")
            if buffer is not None and not same_layout(buffer, parameter):
                state["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
        self.use(self._chosen)

    # ---- moving averages ---------------------------------------------------------------------------------

    def take_averages(self, averages: Averages) -> bool:
        """See ``Optimizer.take_averages``: kernels can, if each source is a parameter of this optimizer."""
        if self._kernels is None:
            return False
        modules = [(target, source) for target, source, _ in averages]
        if modules != self._modules:
            self._modules, self._pairs = modules, _pair(self._parameters(), modules)
        if self._pairs is None:
            return False
        self._momentums = [momentum for _, _, momentum in averages]
        return True

    # ---- steps -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """See ``Optimizer.refresh``."""
        if self._kernels is not None:
            self._kernels.refresh(self.param_groups, self._momentums)

    def _kernel_step(self) -> None:
        """Step with the kernels, and update the averages taken since the last step."""
        from fastssl.optim.multi_tensor_tables import Tensors, is_capturing

        capturing = is_capturing()
        if not capturing:
            self.refresh()
        gradients = [_gradient(parameter) for parameter in self._parameters()]
        without_gradient = [gradient is None for gradient in gradients]
        if capturing or without_gradient != self._without_gradient:
            self._without_gradient = without_gradient
            self._buffers = self._buffers_of(gradients, capturing)
        buffers = self._buffers
        pairs = (self._pairs if self._momentums else None) or _no_pairs(len(gradients))
        tensors = Tensors(
            gradients=gradients, buffers=buffers, targets=pairs.targets, averages=pairs.averages
        )
        self._kernels.run(tensors, getattr(self, "found_inf", None), getattr(self, "grad_scale", None))
        self._momentums = []

    def _buffers_of(self, gradients: list[Tensor | None], capturing: bool) -> list[Tensor | None]:
        """The momentums that a step moves, begun at 0; None where it moves none."""
        buffers: list[Tensor | None] = []
        momentums = [group["momentum"] for group in self.param_groups for _ in group["params"]]
        for parameter, gradient, momentum in zip(self._parameters(), gradients, momentums, strict=True):
            if gradient is None or momentum == 0:
                buffers.append(None)
                continue
            assert not capturing or "momentum_buffer" in self.state[parameter], (
                "step once before the capture: a graph would clear new momentums at each replay"
            )
            buffers.append(self._momentum_buffer(parameter))
        return buffers

    def _reference_step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update_tensor(
                        parameter,
                        parameter.grad,
                        self._momentum_buffer(parameter),
                        lr=group["lr"],
                        weight_decay=group["weight_decay"],
                        momentum=group["momentum"],
                        trust_coefficient=group["trust_coefficient"] if group.get("adapt") else None,
                        nesterov=self._nesterov,
                    )

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """The moving average that follows each parameter, or None, and its index among the averages."""

    targets: list[Tensor | None]
    averages: list[int]


def _no_pairs(count: int) -> _Pairs:
    return _Pairs(targets=[None] * count, averages=[0] * count)


def _pair(parameters: list[nn.Parameter], modules: list[tuple[nn.Module, nn.Module]]) -> _Pairs | None:
    """Pairs of each (target, source); None if a source is no parameter of these, or follows twice."""
    positions = {id(parameter): position for position, parameter in enumerate(parameters)}
    pairs = _no_pairs(len(parameters))
    for index, (target, source) in enumerate(modules):
        for average, weight in paired_parameters(target, source):
            position = positions.get(id(weight))
            alike = (average.dtype, average.device) == (weight.dtype, weight.device)
            if position is None or pairs.targets[position] is not None or id(average) in positions:
                return None
            if not alike or not same_layout(average, weight):
                return None
            pairs.targets[position], pairs.averages[position] = average, index
    return pairs


def _gradient(parameter: nn.Parameter) -> Tensor | None:
    """The gradient, in the layout of the parameter."""
    gradient = parameter.grad
    if gradient is None or gradient.stride() == parameter.stride() or same_layout(gradient, parameter):
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _lacking(parameters: list[nn.Parameter], *, on_cpu: bool) -> str | None:
    """The first thing that the kernels lack; None if they run (``on_cpu``: in Triton's interpreter too)."""
    devices = {parameter.device for parameter in parameters}
    interpreted = on_cpu and os.environ.get("TRITON_INTERPRET") == "1" and devices == {torch.device("cpu")}
    if not interpreted and (len(devices) != 1 or next(iter(devices)).type != "cuda"):
        return "parameters on one CUDA device"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    if any(parameter.dtype != torch.float32 for parameter in parameters):
        return "float32 parameters"
    if not all(same_layout(p, torch.empty_like(p, device="meta")) for p in parameters):
        return "parameters without gaps in memory"
    return None


def same_layout(first: Tensor, second: Tensor) -> bool:
    """True if elements of the same index lie at the same place in memory, counted from the first."""
    return first.shape == second.shape and all(
        size == 1 or a == b for size, a, b in zip(first.shape, first.stride(), second.stride(), strict=True)
    )
