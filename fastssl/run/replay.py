"""Take a diverged run's step again, and say what is not finite in it: python -m fastssl.train --replay FILE

The weights are those of the run's last checkpoint, or else of its beginning, and take the steps from there.
On a CPU they come to the step bit-equal; on a GPU, or in another number of processes, up to rounding. Nothing
is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fastssl.config import Config
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.processes import own_cores
from fastssl.methods import Method
from fastssl.optim.train_step import TrainStep
from fastssl.run import checkpoint
from fastssl.run.build import build_on_device, build_train_step, training_batches
from fastssl.run.data import open_training_data
from fastssl.run.divergence import read_divergence
from fastssl.run.folder import LAST
from fastssl.run.init import take_weights
from pipelines.backends.choose import open_loader
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.decode.bad_images import BadImages


def replay(config: Config, file: Path) -> Iterator[str]:
    """Take the step of a run's ``diverged.json`` again, after those that lead to it. Yields lines of text.

    Raises:
        UserError: the file, the images or the checkpoint are not those of the run.
    """
    machine = replace(config.machine, compile=False, cuda_graph=False)  # which skip hooks
    config = replace(config, machine=machine)
    fault, cores = read_divergence(file), own_cores()
    torch.set_num_threads(machine.threads or cores)
    device = choose_device(machine.device)
    data = open_training_data(config, DistEnv())
    if data.source.index.fingerprint != fault["fingerprint"]:
        raise UserError(f"--replay {file}: {machine.data} holds other images than the run saw")
    torch.manual_seed(config.experiment.seed)
    method = build_on_device(config.experiment, data, device)
    train_step = build_train_step(config, method, device)
    first, step = _restore(config, method, train_step), fault["step"] - 1
    if not first <= step < data.total_steps:
        raise UserError(f"--replay {file}: step {step + 1} is not between step {first} of {LAST} and the end")
    yield f"{config.out}: step {step + 1}, from the weights after step {first}, on {device.type}"

    bad_images = BadImages(None, len(data.source.index))
    loading = training_batches(config, data, device, bad_images, start=first, stop=step + 1)
    with open_loader(replace(loading, workers=machine.workers or cores)) as loader:
        batches = iter(loader)
        for index in range(first, step):
            train_step(batches, index, data.learning_rate(index))
        found = _watch(method)
        _, metrics = train_step(batches, step, data.learning_rate(step))
    yield f"images: {', '.join(fault.get('images', []))}"
    for values in metrics:
        yield ", ".join(f"{name} {value.item():.6g}" for name, value in values.items())
    yield from found
    weights = [name for name, weight in method.named_parameters() if not bool(weight.isfinite().all())]
    if weights:
        yield f"weights after the step: {len(weights)} tensors are not finite, first {weights[0]}"
    if not found and not weights and all(bool(values["loss"].isfinite()) for values in metrics):
        yield "all is finite here: look for what differs, such as device, versions or number of processes"


def _restore(config: Config, method: Method, train_step: TrainStep) -> int:
    """Give a method and its optimizer the run's last good state. Returns the steps done."""
    path = config.out / LAST
    if not path.exists():
        if config.experiment.init:
            take_weights(method, user_path(config.experiment.init))
        return 0
    state = checkpoint.load(path)
    with checkpoint.fitting(path, "the run", "put the run's own in its place"):
        method.load_state_dict(state["method"])
        train_step.load_state_dict(state)
        return int(state["step"])


def _watch(method: Method) -> list[str]:
    """Look at each module's output and each gradient from now on. The list grows by a line per finding."""
    found: list[str] = []

    def look_behind(name: str) -> Callable[..., None]:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                found.append(f"first module whose output is not finite: {name}")

        return look

    def look_at_gradient(name: str) -> Callable[[Tensor], None]:
        def look(parameter: Tensor) -> None:
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                found.append(f"gradient is not finite: {name}")

        return look

    for name, module in method.named_modules():
        if name:
            module.register_forward_hook(look_behind(name))
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(look_at_gradient(name))
    return found
