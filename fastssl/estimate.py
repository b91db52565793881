"""Estimate a run before it starts: python -m fastssl.estimate [RECIPE] [options of training] [--gpus N]

Steps, memory and hours. A few steps are taken here, on the images that the run would see, and the run's hours
are those steps' times their number. With ``--pipeline fake --images N`` noise stands in for a data set of N
images that is elsewhere. A device that is not here cannot be timed: of it only the memory of weights,
gradients, optimizer and queue is said, and with ``--images-per-s`` (of one GPU, measured elsewhere) hours.
With ``--gpus`` the cores, storage and network that the GPUs need are said too, and which of them limits.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from fastssl.command_line import parse, take_option
from fastssl.config import Config
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import resolve_precision
from fastssl.methods import Method
from fastssl.needs import IMAGENET_BYTES, needs
from fastssl.run.build import build_on_device, build_train_step, training_batches
from fastssl.run.data import TrainingData, open_training_data
from pipelines.backends.choose import choose_pipeline, open_loader
from pipelines.command.errors import UserError, run_command
from pipelines.decode.bad_images import BadImages
from pipelines.sources.absent import AbsentSource

_STEPS = 3  # that count, after one that warms up
_SOME = 100  # images whose size is looked at
_ENOUGH_S = 60  # of measuring: fewer steps count where one takes long


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        print(f"{__doc__}\nThe options of the training:\n")
    gpus, images, rate = (_take_number(words, name) for name in ("--gpus", "--images", "--images-per-s"))
    for line in estimate(parse(words), gpus, images, rate):
        print(line, flush=True)
    return 0


def estimate(config: Config, gpus: int = 0, images: int = 0, images_per_s: int = 0) -> Iterator[str]:
    """Lines of text, each as soon as it is known.

    Args:
        config: config of the run.
        gpus: GPUs that share a batch; 0: this machine's device alone.
        images: images of a data set that is elsewhere; 0: the config's are here.
        images_per_s: rate of one GPU that is elsewhere; 0: not known.

    Raises:
        UserError: the run could not start, here or there.
    """
    machine = config.machine
    torch.set_num_threads(machine.threads or len(os.sched_getaffinity(0)))
    device = choose_device(machine.device)
    if images and machine.pipeline != "fake":
        raise UserError("--images stands for images that are elsewhere: add --pipeline fake")
    elsewhere = AbsentSource(images) if images else None
    data = open_training_data(config, DistEnv(), elsewhere)
    config, experiment = data.config, data.config.experiment
    if gpus and experiment.batch_size % (gpus * experiment.accumulation_steps):
        raise UserError(f"--gpus {gpus} cannot share --batch-size {experiment.batch_size}: take a divisor")
    steps = data.total_steps
    share = f", {experiment.batch_size // gpus} per GPU" if gpus else ""
    yield (
        f"{config.recipe}: {steps:,} steps of {experiment.batch_size} images{share}, "
        f"{experiment.epochs:g} epochs of {data.plan.count:,} images"
    )
    if data.fetch_note is not None:
        yield data.fetch_note
    method = build_on_device(experiment, data, device)
    yield _standing(method)
    if images_per_s and not gpus:
        raise UserError("--images-per-s is the rate of one GPU of several: add --gpus")
    if gpus and (images_per_s or device.type != "cuda"):
        if images_per_s:
            yield f"the run: {experiment.batch_size * steps / images_per_s / gpus / 3600:.3g} hours, as told"
        else:
            yield f"activations and hours on {gpus} GPUs: unknown, as there is no GPU here to take a step on"
            yield "for each 1,000 images/s of a GPU:"
        yield from _needs(data, method, gpus, images_per_s or 1000)
        return
    whole, each = data, "a step"
    if gpus > 1:
        config = replace(config, experiment=replace(experiment, batch_size=experiment.batch_size // gpus))
        data = open_training_data(config, DistEnv(), elsewhere)
        method = build_on_device(config.experiment, data, device)
        each = "a GPU's share of a step, without messages between GPUs"
    seconds, gigabytes, how = measure(config, method, data, device)
    yield f"{each}: {seconds:.3g} s ({how}), at most {gigabytes:.2f} GB"
    yield (
        f"the run: {seconds * steps / 3600:.3g} hours at {experiment.batch_size / seconds:,.0f} images/s, "
        "kNN and checkpoints apart"
    )
    if gpus:
        yield from _needs(whole, method, gpus, experiment.batch_size / gpus / seconds)


def _needs(data: TrainingData, method: Method, gpus: int, images_per_s: float) -> Iterator[str]:
    """Lines on cores, storage and network, with the mean size of the images that are here."""
    experiment, count = data.config.experiment, data.plan.count
    size: float = IMAGENET_BYTES
    with suppress(OSError, TypeError):  # images that are elsewhere, or are not encoded
        some = range(0, count, max(1, count // _SOME))
        size = statistics.mean(len(data.source.read(index)) for index in some)
    yield from needs(
        gpus=gpus,
        images_per_s=images_per_s,
        batch_size=experiment.batch_size,
        parameters=sum(weight.numel() for weight in method.parameters() if weight.requires_grad),
        view_pixels=sum(group.num_views * group.spec.size**2 for group in experiment.views),
        image_bytes=size,
        cores=len(os.sched_getaffinity(0)) / max(1, torch.cuda.device_count()),
    )


def measure(
    config: Config, method: Method, data: TrainingData, device: torch.device
) -> tuple[float, float, str]:
    """Take a few steps as the trainer does.

    Returns:
        Median seconds per step with its images; the peak of the device's memory (of the process where that
        is the CPU), 10^9 bytes; how both were found, in words.
    """
    machine, experiment = config.machine, config.experiment
    precision, _ = resolve_precision(experiment.precision, device)
    pipeline, _ = choose_pipeline(machine.pipeline, data.source, device)
    config = replace(
        config,
        experiment=replace(experiment, precision=precision),
        machine=replace(machine, pipeline=pipeline, workers=machine.workers or len(os.sched_getaffinity(0))),
    )
    step = build_train_step(config, method, device)
    loading = training_batches(
        config, data, device, BadImages(None, len(data.source.index)), start=0, stop=1 + _STEPS
    )
    taken: list[float] = []
    with open_loader(loading) as loader:
        batches = iter(loader)
        for index in range(1 + _STEPS):
            begin = time.perf_counter()
            step(batches, index, 0.0)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - begin)
            if index and sum(taken) > _ENOUGH_S:
                break
    counted = taken[1:]
    peak = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return (
        statistics.median(counted),
        peak / 1e9,
        f"median of {len(counted)}, {precision}, pipeline {pipeline}",
    )


def _standing(method: Method) -> str:
    """Memory that a run holds all the time, whatever the batch."""
    trained = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    followed = sum(p.numel() * p.element_size() for p in method.parameters() if not p.requires_grad)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in method.buffers())
    total = 3 * trained + followed + buffers
    return (
        f"held all the time: {total / 1e6:,.0f} MB (weights, gradients and momentum of {trained / 4e6:.1f} M "
        f"parameters, {followed / 1e6:,.0f} MB of averages, {buffers / 1e6:,.0f} MB of queues and statistics)"
    )


def _take_number(words: list[str], option: str) -> int:
    """The number behind an option, which leaves ``words``; 0 without it."""
    count = take_option(words, option)
    if count is None:
        return 0
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"{option} takes a number of at least 1, not {count or 'nothing'}")
    return int(count)


if __name__ == "__main__":
    run_command(main)
