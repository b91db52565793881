"""Pre-train an encoder: python -m fastssl.train [RECIPE] [--data WHERE] [--out DIR] [--epochs N] [...]

One straight line: data, weights, run folder, resume, steps, summary. A run is a function of its experiment;
where it was stopped leaves no trace in its weights. On a GPU, nothing between two log lines waits for it
(but LARS in fp16, where torch's scaler asks at each step whether to skip it).
Under torchrun or srun each process trains on its share of every batch, and the chief does what is done once.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from fastssl.classes.training_classes import with_classes
from fastssl.command_line import parse
from fastssl.config import Config
from fastssl.diagnostics.collapse import collapse_warning
from fastssl.distributed.collectives import (
    any_of,
    from_chief,
    gather_objects,
    mean_of_all,
    with_averaged_gradients,
)
from fastssl.distributed.device import choose_device
from fastssl.distributed.processes import Place, find_place, joined, one_after_the_other, own_cores
from fastssl.evaluate.features import AUTOCAST, Extraction
from fastssl.evaluate.monitor import open_monitor
from fastssl.methods import build_method
from fastssl.models.backbone import build_backbone
from fastssl.models.batch_norm import average_statistics, group_batch_norms
from fastssl.optim.build import build_optimizer, learning_rates
from fastssl.optim.schedules import learning_rate
from fastssl.run import checkpoint
from fastssl.run.clock import rates
from fastssl.run.folder import LAST, claim, read_summary
from fastssl.run.interrupt import Interrupt
from fastssl.run.log import RunLog, SilentLog
from fastssl.run.pictures import save_curves, save_views
from fastssl.run.state import RunState
from pipelines.backends.choose import Loading, choose_pipeline, open_loader
from pipelines.command.errors import UserError, run_command
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.plan.plan import Plan
from pipelines.render.finish import NumberFormat
from pipelines.sources import open_source
from pipelines.views import evaluation_spec

# Views are written as the network takes them in under autocast: half the bytes, and the same result.
_NUMBER_FORMATS: dict[str, NumberFormat] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def train(config: Config, place: Place = Place()) -> int:  # noqa: B008  (frozen)
    """Start a run, or go on with it. Returns the exit status: 0, or 128 + the signal that stopped it.

    Raises:
        UserError: something the user can mend; what was saved before is intact.
    """
    experiment, machine, out = config.experiment, config.machine, config.out
    cores = own_cores()
    torch.set_num_threads(machine.threads or cores)
    machine = replace(machine, workers=machine.workers or cores)
    device = choose_device(machine.device, place.local_rank)

    # ---- data --------------------------------------------------------------------------------------------
    with one_after_the_other(place):
        source = open_source(machine.data, "train")
    if from_chief(source.index.fingerprint) != source.index.fingerprint:
        raise UserError(f"process {place.rank} finds other images in {machine.data} than process 0")
    steps_per_epoch = len(source.index) // experiment.batch_size  # epochs count the images of all classes
    source = with_classes(source, experiment.class_share, experiment.taxonomy, experiment.seed)
    count = len(source.index)
    steps_per_pass = count // experiment.batch_size
    if steps_per_pass == 0:
        of_share = f" (class share {experiment.class_share})" if experiment.class_share < 1 else ""
        raise UserError(
            f"the batch of {experiment.batch_size} is larger than the data set {machine.data} of {count} "
            f"images{of_share}: lower --batch-size to {count} or less"
        )
    total_steps = max(1, round(experiment.epochs * steps_per_epoch))
    micro_steps = experiment.accumulation_steps
    plan = Plan(
        count=count,
        batch_size=experiment.batch_size // micro_steps,
        batches_per_epoch=steps_per_pass * micro_steps,
        seed=experiment.seed,
        order=experiment.order,
        block_size=experiment.block_size,
        blocks_per_window=experiment.blocks_per_window,
        rank=place.rank,
        world_size=place.world_size,
    )

    # ---- weights -----------------------------------------------------------------------------------------
    # before the run folder: a config that does not fit the data must not claim one
    torch.manual_seed(experiment.seed)
    method = build_method(
        experiment.method,
        experiment.backbone,
        seed=experiment.seed,
        total_steps=total_steps,
        num_classes=len(source.index.class_names) if source.index.labels is not None else None,
    )
    method = method.to(device).to(memory_format=torch.channels_last).train()
    group_batch_norms(method, experiment.batch_norm_group or plan.batch_size, plan.batch_size)

    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        # ---- run folder ----------------------------------------------------------------------------------
        state, finished = None, ""
        if place.is_chief:
            try:
                out.mkdir(parents=True, exist_ok=True)
                stack.enter_context(checkpoint.lock(out))
            except OSError as error:
                raise UserError(
                    f"cannot use the run folder {out}: {error.strerror}; choose another --out"
                ) from None
            claim(out, config, {"images": count, "fingerprint": source.index.fingerprint})
            summary = read_summary(out)
            if summary.get("status") == "finished":
                finished = f"{summary['steps_done']} steps, kNN top-1 {summary['knn_top1']}"
                print(f"{out} is finished: {finished}")
            elif (out / LAST).exists():
                state = checkpoint.load(out / LAST)
        state, finished = from_chief((state, finished))
        if finished:
            return 0

        # ---- resume --------------------------------------------------------------------------------------
        run = RunState(
            config=config,
            method=method,
            optimizer=build_optimizer(method, experiment.optimizer),
            scaler=torch.amp.GradScaler(device.type, enabled=experiment.precision == "fp16"),
            bad_images=BadImages(
                out / "bad_images.txt" if place.is_chief else None,
                default_limit(count) if machine.max_bad_images is None else machine.max_bad_images,
            ),
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps,
        )
        if state is not None:
            run.restore(state, device)
        going_on, state = f", going on at step {run.step}" if state is not None else "", None
        model = with_averaged_gradients(method)

        def record_failure(kind: Any, error: BaseException | None, trace: Any) -> None:
            if isinstance(error, Exception) and place.is_chief:
                with suppress(OSError):  # a full disk is reported by the error itself
                    run.summarise("failed", error=str(error))

        # ---- log, monitor, loader ------------------------------------------------------------------------
        stack.push(record_failure)
        log: RunLog | SilentLog = RunLog(out, run.step, total_steps) if place.is_chief else SilentLog()
        stack.enter_context(log)
        several = f" in {place.world_size} processes" if place.world_size > 1 else ""
        log.say(
            f"{config.recipe}: {total_steps} steps of {experiment.batch_size} images, {count} images, "
            f"{device.type}{several}, run folder {out}{going_on}"
        )
        monitor = None
        if place.is_chief:
            monitor, monitor_line = open_monitor(
                machine.data,
                Extraction(
                    spec=evaluation_spec(experiment.views[0].spec, experiment.center_fraction),
                    device=device,
                    precision=experiment.precision,
                    workers=machine.workers,
                    bad_images=run.bad_images,
                ),
            )
            log.say(monitor_line)
        if experiment.optimizer.warmup_epochs >= experiment.epochs:
            log.say("warning: the warm-up outlasts the run, so that the learning rate never reaches its peak")
        if monitor is not None and run.knn["knn_top1_untrained"] is None:
            alone = build_backbone(experiment.backbone).to(device).to(memory_format=torch.channels_last)
            alone.load_state_dict(method.encoder.state_dict())  # its batch norms ask no other process
            with log.other_work():
                run.knn["knn_top1_pixels"] = monitor.pixels()
                run.knn["knn_top1_untrained"] = monitor.untrained(alone)
            log.say(
                f"kNN top-1: pixels {run.knn['knn_top1_pixels']:.3f}, "
                f"untrained {run.knn['knn_top1_untrained']:.3f}"
            )
        pipeline, why = choose_pipeline(machine.pipeline, source, device)
        log.say(f"pipeline: {pipeline} ({why})")
        loading = Loading(
            source=source,
            groups=experiment.views,
            plan=plan,
            start_step=run.step * micro_steps,
            stop_step=total_steps * micro_steps,
            bad_images=run.bad_images,
            device=device,
            number_format=_NUMBER_FORMATS[experiment.precision],
            product=machine.product,
            workers=machine.workers,
            prefetch=machine.prefetch,
        )
        loader = stack.enter_context(closing(open_loader(pipeline, loading)))

        # ---- steps ---------------------------------------------------------------------------------------
        if place.is_chief:
            run.summarise("running")
        autocast = AUTOCAST[experiment.precision]
        run.clock.restart()
        saved_at = time.monotonic()
        window = (run.clock.images, run.clock.train_seconds, run.clock.wait_seconds)
        monitor_steps = round(machine.monitor_every * steps_per_epoch)
        warned = False
        stopping, overdue = any_of(bool(interrupt.signal), False)
        while run.step < total_steps and not stopping:
            rate = learning_rate(
                run.step, experiment.optimizer, experiment.batch_size, steps_per_epoch, total_steps
            )
            for group in run.optimizer.param_groups:
                group["lr"] = rate
            for part in range(micro_steps):
                with run.clock.waiting():
                    batch = next(loader)
                if isinstance(model, DistributedDataParallel):
                    model.require_backward_grad_sync = part == micro_steps - 1  # once a step is enough
                with torch.autocast(device.type, autocast, enabled=autocast is not None):
                    loss, metrics = model(batch, run.step)
                run.scaler.scale(loss / micro_steps).backward()
                run.means.add(mean_of_all(metrics))
            run.scaler.step(run.optimizer)
            run.scaler.update()
            run.optimizer.zero_grad(set_to_none=True)
            method.after_step(run.step)
            average_statistics(method)
            run.step += 1
            run.clock.step(experiment.batch_size)
            epoch_ends = run.step % steps_per_epoch == 0
            late = place.is_chief and time.monotonic() - saved_at > 60 * machine.checkpoint_minutes
            stopping, overdue = any_of(bool(interrupt.signal), late)

            if place.is_chief and not (out / "views.png").exists():
                with run.clock.pause():
                    save_views(out / "views.png", batch, experiment.views)
            if run.step % machine.log_every == 0 or run.step == total_steps:
                values = run.means.read()
                if not math.isfinite(values["loss"]):
                    raise UserError(f"the loss is not finite at step {run.step}: lower --optimizer.base-lr")
                now = (run.clock.images, run.clock.train_seconds, run.clock.wait_seconds)
                images_per_s, data_wait = rates(*(b - a for a, b in zip(window, now, strict=True)))  # type: ignore[arg-type]
                window = now
                values |= learning_rates(run.optimizer) | method.schedules(run.step - 1)
                log.metrics(
                    run.step, run.epoch, values | {"images_per_s": images_per_s, "data_wait": data_wait}
                )
                warning = collapse_warning(values, run.step, total_steps)
                if warning is not None and not warned:
                    log.say(warning)
                    warned = True
            monitor_due = monitor_steps and run.step % monitor_steps == 0
            if monitor is not None and (run.step == total_steps or monitor_due):
                with run.clock.pause(), log.other_work():
                    run.knn["knn_top1"] = knn_top1 = monitor.encoder(method.encoder)
                    log.metrics(run.step, run.epoch, {"knn_top1": knn_top1})
            if epoch_ends or overdue or stopping or run.step == total_steps:
                with run.clock.pause():
                    run.bad_images.extend(gather_objects(run.bad_images.news()))
                    if place.is_chief:
                        run.save(out / LAST)
                        if epoch_ends and machine.keep_every and round(run.epoch) % machine.keep_every == 0:
                            run.save(out / "checkpoints" / f"epoch-{round(run.epoch):04d}.pt")
                        run.summarise("running")
                saved_at = time.monotonic()

        # ---- summary -------------------------------------------------------------------------------------
        stopped = run.step < total_steps
        if place.is_chief:
            baselines = {"untrained": run.knn["knn_top1_untrained"], "pixels": run.knn["knn_top1_pixels"]}
            save_curves(
                out / "curves.png",
                out / "metrics.jsonl",
                config.recipe,
                {name: value for name, value in baselines.items() if value is not None},
            )
            run.summarise("interrupted" if stopped else "finished")
        if stopped:
            log.say(f"stopped at step {run.step} of {total_steps}; the same command goes on from there")
            return interrupt.exit_status if interrupt.signal else 128 + signal.SIGTERM  # another one's signal
        found = f", kNN top-1 {run.knn['knn_top1']:.3f}" if run.knn["knn_top1"] is not None else ""
        if len(run.bad_images):
            log.say(f"warning: {len(run.bad_images)} images could not be decoded: {out / 'bad_images.txt'}")
        log.say(f"finished: {total_steps} steps{found}. {out / 'views.png'} {out / 'curves.png'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command. See ``fastssl.command_line.parse`` for its options."""
    place, more = find_place(os.environ)
    try:
        config = parse(sys.argv[1:] if argv is None else argv)
    except UserError:
        if place.is_chief:
            raise
        time.sleep(5)  # torchrun ends all as soon as one has ended: first the chief says so
        return 2
    device = choose_device(config.machine.device, place.local_rank).type
    with joined(place, more, minutes=config.machine.wait_minutes, device=device):
        try:
            return train(config, place)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"the disk is full ({error.filename or 'run folder'}); checkpoints written before are "
                f"intact: free some space and run the same command again"
            ) from None


if __name__ == "__main__":
    run_command(main)
