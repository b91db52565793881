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
from typing import Any

import torch

from fastssl.distributed.collectives import all_gather_objects, any_rank
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.processes import own_cores
from fastssl.optim.optimizer import learning_rates
from fastssl.run.failures import failure_recorder
from fastssl.run.folder import LAST
from fastssl.run.interrupt import Interrupt
from fastssl.run.log import RunLog, SilentLog
from fastssl.transfer.measure import Measured, measure, original_targets
from fastssl.transfer.options import TransferConfig
from fastssl.transfer.pictures import Example, save_predictions
from fastssl.transfer.precise_bn import precise_statistics
from fastssl.transfer.prepared import PreparedTransfer, fresh_state, prepare, training_batches
from fastssl.transfer.result import write_results
from fastssl.transfer.task import Task
from fastssl.transfer.transfer_state import TransferState, open_transfer
from pipelines.backends.decode_sample import decode_sample
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.dense.loader import DenseLoaderConfig, open_dense_loader
from pipelines.sources import Source


def transfer(config: TransferConfig, env: DistEnv = DistEnv()) -> int:  # noqa: B008  (frozen)
    """Train and measure, or resume. Returns the exit status: 0, or 128 + the signal that stopped it.

    Raises:
        UserError: something the user can mend; what was saved before is intact.
    """
    cores = own_cores()
    torch.set_num_threads(config.options.threads or cores)
    config = replace(config, options=replace(config.options, workers=config.options.workers or cores))
    device = choose_device(config.options.device, env.local_rank)

    # ---- encoder, data, network --------------------------------------------------------------------------
    # before the run folder: a config that does not fit the data must not claim one
    prepared = prepare(config, env, device)

    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())

        # ---- run folder ----------------------------------------------------------------------------------
        run = fresh_state(prepared)
        open_transfer(stack, run, env, device)
        if run.finished:
            if env.is_main:
                steps = run.finished.get("steps_done")
                print(f"{run.out} is finished: {steps} steps, {_words(run.finished)}")
            return 0
        stack.push(failure_recorder(run, env))
        log = _open_log(prepared, run)
        stack.enter_context(log)

        # ---- steps ---------------------------------------------------------------------------------------
        loading = training_batches(prepared, run)
        if env.is_main:
            run.summarize("running")
        if not run.is_done and not _train(prepared, run, loading, log, interrupt):
            what = f"stopped at step {run.step} of {run.total_steps}; the same command resumes there"
            return _interrupted(run, log, env, interrupt, what)

        # ---- evaluation ----------------------------------------------------------------------------------
        with run.clock.pause("evaluation"), log.other_work():
            measured = _measure(prepared, run, loading, interrupt)
        if measured is None:
            what = "stopped while it was measured; the same command measures it"
            return _interrupted(run, log, env, interrupt, what)
        if env.is_main:
            _finish(prepared, run, measured, log)
    return 0


def _open_log(prepared: PreparedTransfer, run: TransferState) -> RunLog | SilentLog:
    """The log, with its opening lines."""
    if not prepared.env.is_main:
        return SilentLog()
    log = RunLog(run.out, run.step, run.total_steps, ("loss", prepared.config.task.leading))
    for line in _opening_lines(prepared, run):
        log.say(line)
    return log


def _train(
    prepared: PreparedTransfer,
    run: TransferState,
    loading: DenseLoaderConfig,
    log: RunLog | SilentLog,
    interrupt: Interrupt,
) -> bool:
    """Take the steps that are left. Returns False where a signal stopped them."""
    options, task, env = prepared.config.options, prepared.config.task, prepared.env
    with open_dense_loader(loading) as loader:
        batches = run.clock.waiting_for(loader)
        run.clock.restart()
        saved_at = time.monotonic()
        stopping, overdue = any_rank(bool(interrupt.signal), False)
        while run.step < run.total_steps and not stopping:
            _, metrics = run.train_step(batches, run.step, task.rate(run.step, prepared.length))
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


def _measure(
    prepared: PreparedTransfer, run: TransferState, loading: DenseLoaderConfig, interrupt: Interrupt
) -> Measured | None:
    """Measure the network on the test images; None where a signal stopped it."""
    config, data = prepared.config, prepared.data
    testing = replace(loading, source=data.test, view=prepared.test_view)
    with _precise(config.task, run, loading):
        evaluator = config.task.evaluator(data.class_names)
        return measure(run.method, evaluator, testing, config.options.precision, prepared.env, interrupt)


@contextmanager
def _precise(task: Task, run: TransferState, loading: DenseLoaderConfig) -> Iterator[None]:
    """Inside, batch norms have the statistics of the weights as they are, where the task asks for it."""
    if not task.precise_bn:
        yield
        return
    more = replace(loading, start_step=run.total_steps, stop_step=run.total_steps + task.precise_bn)
    with open_dense_loader(more) as batches, precise_statistics(run.method, batches, seed=task.seed):
        yield


def _interrupted(
    run: TransferState, log: RunLog | SilentLog, env: DistEnv, interrupt: Interrupt, what: str
) -> int:
    """Say what a signal stopped, and return the exit status."""
    if env.is_main:
        run.summarize("interrupted")
    log.say(what)
    return interrupt.exit_status if interrupt.signal else 128 + signal.SIGTERM  # another one's signal


def _finish(
    prepared: PreparedTransfer, run: TransferState, measured: Measured, log: RunLog | SilentLog
) -> None:
    """Write results and summary, and say them."""
    data = prepared.data
    with run.clock.pause("pictures"):
        picture = run.out / "predictions.png"
        save_predictions(picture, _examples(data.test, measured, run.bad_images), data.class_names)
        log.picture(picture)
    paths = write_results(prepared, run, measured)
    log.metrics(run.step, run.epoch, measured.metrics | run.clock.spent())
    if len(run.bad_images):
        log.say(f"warning: {len(run.bad_images)} images could not be decoded: {run.out / 'bad_images.txt'}")
    run.summarize("finished", metrics=measured.metrics)
    log.say(f"finished: {run.total_steps} steps, {_words({'metrics': measured.metrics})}")
    for path in (*paths, picture):
        log.say(str(path))


def _examples(test: Source, measured: Measured, bad_images: BadImages) -> list[Example]:
    """Test images that are shown, with labels and predictions."""
    return [
        Example(image=image, targets=original_targets(test, index), prediction=prediction)
        for index, prediction in measured.shown
        if (image := decode_sample(test, index, bad_images)) is not None
    ]


def _words(summary: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in summary.get("metrics", {}).items())


def _opening_lines(prepared: PreparedTransfer, run: TransferState) -> Iterator[str]:
    start, data, processes = prepared.start, prepared.data, prepared.env.world_size
    several = f" in {processes} processes" if processes > 1 else ""
    resumed = f", resumed at step {run.step}" if run.step else ""
    label = start.about["architecture"]["label"]
    weights = "fresh weights" if start.about["from_scratch"] else f"weights of {start.where}"
    yield (
        f"{prepared.config.name}: {run.total_steps} steps of {run.batch_size} images, "
        f"{label} with {weights}, {prepared.device.type}{several}, run folder {run.out}{resumed}"
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
