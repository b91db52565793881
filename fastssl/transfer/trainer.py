"""Train a network from an encoder on labeled data, measure it, write the result: one straight line.

A transfer is a function of its task, encoder and data; where it was stopped leaves no trace in its weights.
Under torchrun or srun each process trains on its share of every batch, and rank 0 does what is done once.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fastssl.distributed.collectives import all_gather_objects, any_rank, broadcast_object
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import AUTOCAST
from fastssl.distributed.processes import own_cores
from fastssl.evaluate.result_name import data_name
from fastssl.models.batch_norm import group_batch_norms
from fastssl.optim.optimizer import build_optimizer, learning_rates
from fastssl.optim.train_step import TrainStep
from fastssl.run.clock import Clock
from fastssl.run.failures import failure_recorder
from fastssl.run.folder import LAST, open_bad_images
from fastssl.run.interrupt import Interrupt
from fastssl.run.log import RunLog, SilentLog
from fastssl.transfer.data import TransferData, open_transfer_data
from fastssl.transfer.measure import Measured, measure, original_targets
from fastssl.transfer.network import TransferNetwork
from fastssl.transfer.options import TransferConfig
from fastssl.transfer.pictures import Example, save_predictions
from fastssl.transfer.precise_bn import precise_statistics
from fastssl.transfer.result import write_results
from fastssl.transfer.starting_point import StartingPoint, open_starting_point
from fastssl.transfer.task import Length, Task
from fastssl.transfer.transfer_state import TransferState, open_transfer
from pipelines.backends.decode_sample import decode_sample
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.decode.bad_images import BadImages
from pipelines.dense.loader import DenseLoaderConfig, open_dense_loader
from pipelines.plan.plan import Plan
from pipelines.sources import Source


def transfer(config: TransferConfig, env: DistEnv = DistEnv()) -> int:  # noqa: B008  (frozen)
    """Train and measure, or resume. Returns the exit status: 0, or 128 + the signal that stopped it.

    Raises:
        UserError: something the user can mend; what was saved before is intact.
    """
    options, task = config.options, config.task
    cores = own_cores()
    torch.set_num_threads(options.threads or cores)
    device = choose_device(options.device, env.local_rank)

    # ---- encoder, data, network --------------------------------------------------------------------------
    # before the run folder: a config that does not fit the data must not claim one
    start = open_starting_point(options, fresh=config.fresh, seed=task.seed)
    data = open_transfer_data(config, env)
    length = task.length(len(data.train.index))
    plan = _plan(config, data, env)
    train_view, test_view = task.train_view(start.view), task.test_view(start.view)
    network = _build_network(config, start, data, device)

    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())

        # ---- run folder ----------------------------------------------------------------------------------
        out = broadcast_object(transfer_folder(config, start, data))
        run = _state(config, start, data, length, network, out, env, device)
        open_transfer(stack, run, env, device)
        if run.finished:
            if env.is_main:
                print(f"{out} is finished: {run.finished.get('steps_done')} steps, {_words(run.finished)}")
            return 0
        stack.push(failure_recorder(run, env))
        shown = ("loss", task.leading)
        log = RunLog(out, run.step, run.total_steps, shown) if env.is_main else SilentLog()
        stack.enter_context(log)
        for line in _opening_lines(config, start, data, run, env, device):
            log.say(line)

        # ---- steps ---------------------------------------------------------------------------------------
        loading = DenseLoaderConfig(
            source=data.train,
            view=train_view,
            plan=plan,
            start_step=run.step,
            stop_step=run.total_steps,
            bad_images=run.bad_images,
            with_targets=bool(task.needs),
            divisor=task.divisor,
            device=device,
            workers=options.workers or cores,
            prefetch=options.prefetch,
        )
        if env.is_main:
            run.summarize("running")
        if not run.is_done and not _train(config, run, length, loading, log, env, interrupt):
            if env.is_main:
                run.summarize("interrupted")
            log.say(f"stopped at step {run.step} of {run.total_steps}; the same command resumes there")
            return interrupt.exit_status if interrupt.signal else 128 + signal.SIGTERM  # another one's signal

        # ---- evaluation ----------------------------------------------------------------------------------
        testing = replace(loading, source=data.test, view=test_view)
        with run.clock.pause("evaluation"), log.other_work(), _precise(task, run, loading):
            evaluator = task.evaluator(data.class_names)
            measured = measure(network, evaluator, testing, options.precision, env, interrupt)
        if measured is None:
            if env.is_main:
                run.summarize("interrupted")
            log.say("stopped while it was measured; the same command measures it")
            return interrupt.exit_status if interrupt.signal else 128 + signal.SIGTERM
        if env.is_main:
            _finish(config, start, data, run, measured, log)
    return 0


def transfer_folder(config: TransferConfig, start: StartingPoint, data: TransferData) -> Path:
    """Run folder of a transfer."""
    if config.options.out:
        return user_path(config.options.out)
    name = str(config.result_name(start.checkpoint, data_name(config.options.data, data.named_by)))
    return start.run / "transfer" / name if start.run is not None else Path("runs", name)


def _plan(config: TransferConfig, data: TransferData, env: DistEnv) -> Plan:
    """The order of the training images.

    Raises:
        UserError: they are fewer than a batch.
    """
    count, batch_size = len(data.train.index), config.task.batch_size
    if count < batch_size:
        raise UserError(
            f"the batch of {batch_size} is larger than the {count} training images of {config.options.data}: "
            f"lower --batch-size to {count} or less"
        )
    return Plan(
        count=count,
        batch_size=batch_size,
        batches_per_epoch=count // batch_size,
        seed=config.task.seed,
        rank=env.rank,
        world_size=env.world_size,
    )


def _build_network(
    config: TransferConfig, start: StartingPoint, data: TransferData, device: torch.device
) -> TransferNetwork:
    """The network before its first step: on its device, channels-last, batch norms in their groups."""
    task = config.task
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(task.seed)
        network = task.network(start.encoder, data.class_names)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    group_batch_norms(network, task.batch_norm_group or None, task.batch_size)
    return network


def _state(
    config: TransferConfig,
    start: StartingPoint,
    data: TransferData,
    length: Length,
    network: TransferNetwork,
    out: Path,
    env: DistEnv,
    device: torch.device,
) -> TransferState:
    task, options = config.task, config.options
    optimizer = build_optimizer(task.parameter_parts(network), task.optimizer_config())
    step = TrainStep(
        network,
        optimizer,
        device=device,
        autocast=AUTOCAST[options.precision],
        clip_grad_norm=task.clip_grad_norm,
        seed=task.seed,
    )
    images = len(data.train.index) + len(data.test.index)
    return TransferState(
        clock=Clock(device),
        method=network,
        train_step=step,
        bad_images=open_bad_images(out, images, options.max_bad_images, env),
        batch_size=task.batch_size,
        steps_per_epoch=length.steps_per_epoch,
        total_steps=length.steps,
        out=out,
        facts={
            "task": config.name,
            "options": task.settings(),
            "encoder": start.about,
            "data": {
                "train_images": len(data.train.index),
                "test_images": len(data.test.index),
                "fingerprints": data.fingerprints,
            },
            "steps": length.steps,
            "precision": options.precision,
        },
    )


def _train(
    config: TransferConfig,
    run: TransferState,
    length: Length,
    loading: DenseLoaderConfig,
    log: RunLog | SilentLog,
    env: DistEnv,
    interrupt: Interrupt,
) -> bool:
    """Take the steps that are left. Returns False where a signal stopped them."""
    options, task = config.options, config.task
    with open_dense_loader(loading) as loader:
        batches = run.clock.waiting_for(loader)
        run.clock.restart()
        saved_at = time.monotonic()
        stopping, overdue = any_rank(bool(interrupt.signal), False)
        while run.step < run.total_steps and not stopping:
            _, metrics = run.train_step(batches, run.step, task.rate(run.step, length))
            run.advance(metrics)
            late = env.is_main and time.monotonic() - saved_at > 60 * options.checkpoint_minutes
            stopping, overdue = any_rank(bool(interrupt.signal), late)
            logs, saves = run.step % options.log_every == 0 or run.is_done, overdue or stopping or run.is_done
            if logs or saves or run.losses.is_full:
                _stop_if_diverged(run, weights=saves)
            glance = log.wants_glance(run.step)
            if logs:
                log.metrics(run.step, run.epoch, _values(run, loading.device))
            elif glance:
                log.glance(run.step, run.epoch, run.means.peek())
            if saves:
                with run.clock.pause("checkpoint"):
                    run.bad_images.extend(all_gather_objects(run.bad_images.news()))
                    if env.is_main:
                        run.save()
                        run.summarize("running")
                saved_at = time.monotonic()
    return run.is_done


@contextmanager
def _precise(task: Task, run: TransferState, loading: DenseLoaderConfig) -> Iterator[None]:
    """Inside, batch norms have the statistics of the weights as they are, where the task asks for it."""
    if not task.precise_bn:
        yield
        return
    more = replace(loading, start_step=run.total_steps, stop_step=run.total_steps + task.precise_bn)
    with open_dense_loader(more) as batches, precise_statistics(run.method, batches, seed=task.seed):
        yield


def _finish(
    config: TransferConfig,
    start: StartingPoint,
    data: TransferData,
    run: TransferState,
    measured: Measured,
    log: RunLog | SilentLog,
) -> None:
    """Write results and summary, and say them."""
    with run.clock.pause("pictures"):
        picture = run.out / "predictions.png"
        save_predictions(picture, _examples(data.test, measured, run.bad_images), data.class_names)
        log.picture(picture)
    paths = write_results(config, start, data, run, measured)
    log.metrics(run.step, run.epoch, measured.metrics | run.clock.spent())
    if len(run.bad_images):
        log.say(f"warning: {len(run.bad_images)} images could not be decoded: {run.out / 'bad_images.txt'}")
    run.summarize("finished", metrics=measured.metrics)
    log.say(f"finished: {run.total_steps} steps, {_words({'metrics': measured.metrics})}")
    for path in (*paths, picture):
        log.say(str(path))


def _examples(test: Source, measured: Measured, bad_images: BadImages) -> list[Example]:
    """Test images that are shown, with labels and predictions."""
    pixels = [decode_sample(test, index, bad_images) for index, _ in measured.shown]
    return [
        Example(image=image, targets=original_targets(test, index), prediction=prediction)
        for image, (index, prediction) in zip(pixels, measured.shown, strict=True)
        if image is not None
    ]


def _words(summary: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in summary.get("metrics", {}).items())


def _opening_lines(
    config: TransferConfig,
    start: StartingPoint,
    data: TransferData,
    run: TransferState,
    env: DistEnv,
    device: torch.device,
) -> Iterator[str]:
    several = f" in {env.world_size} processes" if env.world_size > 1 else ""
    resumed = f", resumed at step {run.step}" if run.step else ""
    label = start.about["architecture"]["label"]
    weights = "fresh weights" if start.about["from_scratch"] else f"weights of {start.where}"
    yield (
        f"{config.name}: {run.total_steps} steps of {run.batch_size} images, {label} with {weights}, "
        f"{device.type}{several}, run folder {run.out}{resumed}"
    )
    yield f"data: {len(data.train.index)} images per pass, {data.train.index.summary()}"
    yield f"test: {len(data.test.index)} images ({data.test_images_are})"


def _values(run: TransferState, device: torch.device) -> dict[str, float]:
    """Everything that is logged of the steps since the last line. Waits for the device."""
    images_per_s, data_wait = run.clock.lap()
    values = run.means.read() | learning_rates(run.train_step.optimizer)
    values |= {"images_per_s": images_per_s, "data_wait": data_wait, **run.clock.spent()}
    return values | {"memory_mb": _peak_memory(device) / 2**20}


def _peak_memory(device: torch.device) -> float:
    """Bytes: of the GPU's memory at its fullest, else of the process's."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB


def _stop_if_diverged(run: TransferState, *, weights: bool) -> None:
    """Stop where a loss, or a weight, is not finite. Waits for the device.

    Raises:
        UserError: one is not.
    """
    found = run.diverged(weights=weights)
    if found is None:
        return
    step, what = found
    last = run.out / LAST
    kept = f"{last} is kept as it was before: choose another --out" if last.exists() else f"{run.out} is free"
    raise UserError(
        f"the {what} not finite at step {step}, the training has diverged: start anew with a lower "
        f"--learning-rate; {kept}"
    )
