"""Pre-train an encoder: python -m fastssl.train [RECIPE] [--data WHERE] [--out DIR] [--epochs N] [...]

One straight line: data, weights, run folder, resume, steps, summary. A run is a function of its experiment;
where it was stopped leaves no trace in its weights. On a GPU, nothing between two log lines waits for it.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import time
from contextlib import ExitStack, closing, suppress
from typing import Any

import torch

from fastssl import checkpoint
from fastssl.clock import Clock, rates
from fastssl.command_line import parse
from fastssl.config import Config, to_dict
from fastssl.evaluate.features import AUTOCAST, Extraction
from fastssl.interrupt import Interrupt
from fastssl.log import MetricMeans, RunLog
from fastssl.methods import build_method
from fastssl.monitor import open_monitor
from fastssl.optim import build_optimizer
from fastssl.pictures import save_curves, save_views
from fastssl.run_folder import LAST, claim, read_summary, write_json
from fastssl.schedules import learning_rate
from fastssl.training_classes import with_classes
from pipelines.backends import Loading, choose_pipeline, open_loader
from pipelines.bad_images import BadImages, default_limit
from pipelines.errors import UserError, run_command
from pipelines.plan import Plan
from pipelines.render.finish import NumberFormat
from pipelines.sources import open_source
from pipelines.views import evaluation_spec

# Views are written as the network takes them in under autocast: half the bytes, and the same result.
_NUMBER_FORMATS: dict[str, NumberFormat] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` to a device.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; use --device cpu, or mend the driver")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def train(config: Config) -> int:
    """Start a run, or go on with it. Returns the exit status: 0, or 128 + the signal that stopped it.

    Raises:
        UserError: something the user can mend; what was saved before is intact.
    """
    experiment, machine, out = config.experiment, config.machine, config.out
    torch.set_num_threads(machine.threads or len(os.sched_getaffinity(0)))
    device = choose_device(machine.device)

    # ---- data --------------------------------------------------------------------------------------------
    source = open_source(machine.data, "train")
    epoch_of_all = len(source.index) // experiment.batch_size
    source = with_classes(source, experiment.class_share, experiment.taxonomy, experiment.seed)
    count = len(source.index)
    steps_per_epoch = count // experiment.batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"the batch of {experiment.batch_size} is larger than the data set {machine.data} of {count} "
            f"images: lower --batch-size to {count} or less"
        )
    total_steps = max(1, round(experiment.epochs * epoch_of_all))  # the same whatever the class share

    # ---- weights -----------------------------------------------------------------------------------------
    # before the run folder: a config that does not fit the data must not claim one
    torch.manual_seed(experiment.seed)
    method = build_method(
        experiment.method,
        experiment.backbone,
        seed=experiment.seed,
        total_steps=total_steps,
        num_classes=len(source.index.class_names) if source.index.labels is not None else None,
        batch_size=experiment.batch_size,
    )
    method = method.to(device).to(memory_format=torch.channels_last).train()

    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        # ---- run folder ----------------------------------------------------------------------------------
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
            print(f"{out} is finished: {summary['steps_done']} steps, kNN top-1 {summary['knn_top1']}")
            return 0

        # ---- resume --------------------------------------------------------------------------------------
        optimizer = build_optimizer(method, experiment.optimizer)
        autocast = AUTOCAST[experiment.precision]
        scaler = torch.amp.GradScaler(device.type, enabled=experiment.precision == "fp16")
        means, clock, step = MetricMeans(), Clock(), 0
        knn: dict[str, float | None] = {"knn_top1": None, "knn_top1_untrained": None, "knn_top1_pixels": None}
        last = out / LAST
        resumed = last.exists()
        if resumed:
            state = checkpoint.load(last)
            method.load_state_dict(state["method"])
            optimizer.load_state_dict(state["optimizer"])
            scaler.load_state_dict(state["scaler"])
            means.load_state_dict(state["means"], device)
            clock.load_state_dict(state["clock"])
            step, knn = state["step"], state["knn"]

        def summarise(status: str, **more: Any) -> None:
            images_per_s, data_wait = rates(clock.images, clock.train_seconds, clock.wait_seconds)
            write_json(
                out / "summary.json",
                {
                    "status": status,
                    "recipe": config.recipe,
                    "epochs_done": step / steps_per_epoch,
                    "steps_done": step,
                    "total_steps": total_steps,
                    "images_per_s": round(images_per_s, 1),
                    "data_wait": round(data_wait, 4),
                    "train_seconds": round(clock.train_seconds, 1),
                    "bad_images": len(bad_images),
                    **knn,
                    **more,
                },
            )

        def save(name: str) -> None:
            if not all(bool(torch.isfinite(weight).all()) for weight in method.parameters()):
                raise UserError(
                    f"the weights are not finite at step {step}: lower --optimizer.base-lr and start anew"
                )
            state = {
                "config": to_dict(config),
                "step": step,
                "method": method.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
                "means": means.state_dict(),
                "clock": clock.state_dict(),
                "knn": knn,
            }
            checkpoint.save(out / "checkpoints" / name, state)

        def record_failure(kind: Any, error: BaseException | None, trace: Any) -> None:
            if isinstance(error, Exception):
                with suppress(OSError):  # a full disk is reported by the error itself
                    summarise("failed", error=str(error))

        # ---- log, monitor, loader ------------------------------------------------------------------------
        bad_images = BadImages(
            out / "bad_images.txt",
            default_limit(count) if machine.max_bad_images is None else machine.max_bad_images,
        )
        stack.push(record_failure)
        log = stack.enter_context(RunLog(out, step, total_steps))
        log.say(
            f"{config.recipe}: {total_steps} steps of {experiment.batch_size} images, {count} images, "
            f"{device.type}, run folder {out}" + (f", going on at step {step}" if resumed else "")
        )
        spec = experiment.views[0].spec
        monitor, monitor_line = open_monitor(
            machine.data,
            Extraction(
                spec=evaluation_spec(spec, experiment.center_fraction),
                device=device,
                precision=experiment.precision,
                workers=machine.workers,
                bad_images=bad_images,
            ),
        )
        log.say(monitor_line)
        if experiment.optimizer.warmup_epochs >= experiment.epochs:
            log.say("warning: the warm-up outlasts the run, so that the learning rate never reaches its peak")
        if monitor is not None and knn["knn_top1_untrained"] is None:
            with log.other_work():
                knn["knn_top1_pixels"] = monitor.pixels()
                knn["knn_top1_untrained"] = monitor.untrained(method.encoder)
            log.say(
                f"kNN top-1: pixels {knn['knn_top1_pixels']:.3f}, untrained {knn['knn_top1_untrained']:.3f}"
            )
        micro_steps = experiment.accumulation_steps
        plan = Plan(
            count=count,
            batch_size=experiment.batch_size // micro_steps,
            batches_per_epoch=steps_per_epoch * micro_steps,
            seed=experiment.seed,
            order=experiment.order,
            block_size=experiment.block_size,
            blocks_per_window=experiment.blocks_per_window,
        )
        pipeline, why = choose_pipeline(machine.pipeline, source, device)
        log.say(f"pipeline: {pipeline} ({why})")
        loading = Loading(
            source=source,
            groups=experiment.views,
            plan=plan,
            start_step=step * micro_steps,
            stop_step=total_steps * micro_steps,
            bad_images=bad_images,
            device=device,
            number_format=_NUMBER_FORMATS[experiment.precision],
            product=machine.product,
            workers=machine.workers,
            prefetch=machine.prefetch,
        )
        loader = stack.enter_context(closing(open_loader(pipeline, loading)))

        # ---- steps ---------------------------------------------------------------------------------------
        summarise("running")
        clock.restart()
        saved_at = time.monotonic()
        window = (clock.images, clock.train_seconds, clock.wait_seconds)
        monitor_steps = round(machine.monitor_every * steps_per_epoch)
        while step < total_steps and not interrupt.signal:
            rate = learning_rate(
                step, experiment.optimizer, experiment.batch_size, steps_per_epoch, total_steps
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            for _ in range(micro_steps):
                with clock.waiting():
                    batch = next(loader)
                with torch.autocast(device.type, autocast, enabled=autocast is not None):
                    loss, metrics = method(batch, step)
                scaler.scale(loss / micro_steps).backward()
                means.add(metrics)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            method.after_step(step)
            step += 1
            clock.step(experiment.batch_size)
            epoch_ends = step % steps_per_epoch == 0
            epoch = step / steps_per_epoch

            if not (out / "views.png").exists():
                with clock.pause():
                    save_views(out / "views.png", batch, experiment.views)
            if step % machine.log_every == 0 or step == total_steps:
                values = means.read()
                if not math.isfinite(values["loss"]):
                    raise UserError(f"the loss is not finite at step {step}: lower --optimizer.base-lr")
                now = (clock.images, clock.train_seconds, clock.wait_seconds)
                images_per_s, data_wait = rates(*(b - a for a, b in zip(window, now, strict=True)))  # type: ignore[arg-type]
                window = now
                values |= {"learning_rate": rate, "images_per_s": images_per_s, "data_wait": data_wait}
                log.metrics(step, epoch, values)
            if monitor is not None and (step == total_steps or (monitor_steps and step % monitor_steps == 0)):
                with clock.pause(), log.other_work():
                    knn["knn_top1"] = knn_top1 = monitor.encoder(method.encoder)
                    log.metrics(step, epoch, {"knn_top1": knn_top1})
            overdue = time.monotonic() - saved_at > 60 * machine.checkpoint_minutes
            if epoch_ends or overdue or interrupt.signal or step == total_steps:
                with clock.pause():
                    save("last.pt")
                    if epoch_ends and machine.keep_every and round(epoch) % machine.keep_every == 0:
                        save(f"epoch-{round(epoch):04d}.pt")
                    summarise("running")
                saved_at = time.monotonic()

        # ---- summary -------------------------------------------------------------------------------------
        baselines = {"untrained": knn["knn_top1_untrained"], "pixels": knn["knn_top1_pixels"]}
        save_curves(
            out / "curves.png",
            out / "metrics.jsonl",
            config.recipe,
            {name: value for name, value in baselines.items() if value is not None},
        )
        if step < total_steps:
            summarise("interrupted")
            log.say(f"stopped at step {step} of {total_steps}; the same command goes on from there")
            return interrupt.exit_status
        summarise("finished")
        found = f", kNN top-1 {knn['knn_top1']:.3f}" if knn["knn_top1"] is not None else ""
        log.say(f"finished: {total_steps} steps{found}. {out / 'views.png'} {out / 'curves.png'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command. See ``fastssl.command_line.parse`` for its options."""
    try:
        return train(parse(sys.argv[1:] if argv is None else argv))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk is full ({error.filename or 'run folder'}); checkpoints written before are intact: "
            f"free some space and run the same command again"
        ) from None


if __name__ == "__main__":
    run_command(main)
