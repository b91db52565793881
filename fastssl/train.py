"""Pre-train an encoder: python -m fastssl.train [RECIPE] [--data WHERE] [--out DIR] [--epochs N] [...]

One straight line: data, weights, run folder, loader, steps, summary. A run is a function of its experiment;
where it was stopped leaves no trace in its weights. A GPU is waited for where values are shown: at log lines,
after the first step, and on a terminal every few seconds.
Under torchrun or srun each process trains on its share of every batch, and rank 0 does what is done once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import torch

from fastssl.command_line import parse
from fastssl.config import Config
from fastssl.distributed.collectives import all_gather_objects, any_rank
from fastssl.distributed.device import choose_device
from fastssl.distributed.dist_env import DistEnv, dist_env
from fastssl.distributed.processes import own_cores, process_group
from fastssl.evaluate.features import FeatureConfig
from fastssl.evaluate.monitor import KnnMonitor, open_monitor
from fastssl.export.encoder_file import save_encoder
from fastssl.methods import build_encoder
from fastssl.metrics.collapse import collapse_warning
from fastssl.optim.optimizer import learning_rates
from fastssl.run.build import build_on_device, training_batches
from fastssl.run.data import TrainingData, open_training_data
from fastssl.run.divergence import DIVERGED, read_divergence, write_divergence
from fastssl.run.failures import failure_recorder, machine_failures
from fastssl.run.fetch_meter import FetchMeter
from fastssl.run.fit import fit_line, size_warnings
from fastssl.run.folder import BEST, LAST
from fastssl.run.init import take_weights
from fastssl.run.interrupt import Interrupt
from fastssl.run.log import RunLog, SilentLog
from fastssl.run.open_run import open_run
from fastssl.run.pictures import save_curves, save_views
from fastssl.run.replay import replay
from fastssl.run.state import RunState
from fastssl.run.verdict import verdict
from fastssl.run.wandb_board import check_wandb
from pipelines.backends.choose import choose_pipeline, open_loader
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import user_path
from pipelines.files.kernels import are_compiled
from pipelines.sources.notes import untold


def train(config: Config, env: DistEnv = DistEnv()) -> int:  # noqa: B008  (frozen)
    """Train a run, or resume it. Returns the exit status: 0 (its end, or --pause-after), or 128 + the signal
    that stopped it.

    Raises:
        UserError: something the user can mend; what was saved before is intact.
    """
    machine = config.machine
    cores = own_cores()
    torch.set_num_threads(machine.threads or cores)
    config = replace(config, machine=replace(machine, workers=machine.workers or cores))
    device = choose_device(machine.device, env.local_rank)
    compiles = not are_compiled()

    if machine.logger == "wandb":
        check_wandb()

    # ---- data --------------------------------------------------------------------------------------------
    data = open_training_data(config, env)
    asked, config = config.experiment, data.config

    # ---- weights -----------------------------------------------------------------------------------------
    # before the run folder: a config that does not fit the data must not claim one
    experiment = config.experiment
    torch.manual_seed(experiment.seed)
    method = build_on_device(experiment, data, device)
    taken = None
    if experiment.init and not (config.out / LAST).exists():
        taken = take_weights(method, user_path(experiment.init))

    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())

        # ---- run folder ----------------------------------------------------------------------------------
        run = open_run(stack, config, method, data, env, device)
        config, experiment, machine, out = run.config, run.config.experiment, run.config.machine, config.out
        if run.finished:
            steps, knn_top1 = run.finished["steps_done"], run.finished["knn_top1"]
            if env.is_main:
                print(f"{out} is finished: {steps} steps, {run.finished.get('verdict') or f'kNN {knn_top1}'}")
            return 0
        stack.push(failure_recorder(run, env))
        log: RunLog | SilentLog = RunLog(out, run.step, run.total_steps) if env.is_main else SilentLog()
        stack.enter_context(log)
        if run.step == 0:
            log.describe(config)
        if machine.logger == "wandb":
            log.use_wandb(config)
        for line in (
            *_opening_lines(run, data, env, device),
            *fit_line(asked, data.config.experiment, data.plan.count),
            *(f"warning: {line}" for line in size_warnings(config, data.plan.count, run.total_steps)),
        ):
            log.say(line)
        if taken is not None:
            log.say(taken)
        if compiles:
            log.say("compiling kernels (once)")
        monitor = None
        if env.is_main and machine.monitor_every:
            where = machine.monitor_data or machine.data
            monitor, monitor_line = open_monitor(where, _monitor_features(run, device))
            if monitor is None and machine.monitor_data:
                raise UserError(f"--monitor-data {where}: {monitor_line}")
            log.say(monitor_line)
        if machine.keep_best and env.is_main and not _is_held_out(monitor, machine.monitor_data):
            raise UserError(
                "--keep-best chooses by kNN on images held out of training: give --data with a test split, "
                "or --monitor-data WHERE, and --monitor-every above 0"
            )
        start = "initial" if experiment.init else "untrained"
        if monitor is not None and run.knn["knn_top1_untrained"] is None:
            with run.clock.pause("evaluation"), log.other_work():
                _measure_baselines(run, monitor, device)
            log.say(
                f"kNN top-1: pixels {run.knn['knn_top1_pixels']:.3f}, "
                f"{start} encoder {run.knn['knn_top1_untrained']:.3f}"
            )
            log.baselines(0, run.baselines)

        # ---- loader --------------------------------------------------------------------------------------
        pipeline, why = choose_pipeline(machine.pipeline, data.source, device)
        log.say(f"pipeline: {pipeline} ({why})")
        loading = training_batches(config, data, device, run.bad_images, start=run.step, stop=run.stop_step)
        loader = stack.enter_context(open_loader(replace(loading, pipeline=pipeline)))

        # ---- steps ---------------------------------------------------------------------------------------
        if env.is_main:
            run.summarize("running")
        fetch_meter = FetchMeter(data.source, env)
        batches = run.clock.waiting_for(loader)
        run.clock.restart()
        saved_at = time.monotonic()
        warned = False
        stopping, overdue = any_rank(bool(interrupt.signal), False)
        while run.step < run.stop_step and not stopping:
            batch, metrics = run.train_step(batches, run.step, data.learning_rate(run.step))
            run.advance(metrics)
            late = env.is_main and time.monotonic() - saved_at > 60 * machine.checkpoint_minutes
            stopping, overdue = any_rank(bool(interrupt.signal), late)

            logs = run.step % machine.log_every == 0 or run.is_done
            measures = run.ends_epochs(machine.monitor_every) or (run.is_done and machine.monitor_every > 0)
            saves = run.ends_epochs(1) or overdue or stopping or run.step == run.stop_step
            if logs or measures or saves or run.losses.is_full:
                _stop_if_diverged(run, data, env, weights=measures or saves)

            if env.is_main and not (out / "views.png").exists():
                with run.clock.pause("pictures"):
                    save_views(out / "views.png", batch, experiment.views, data.source)
                    log.picture(out / "views.png")
            glance = log.wants_glance(run.step)
            if logs:
                values = _values(run) | fetch_meter.lap()
                log.metrics(run.step, run.epoch, values)
                warning = collapse_warning(values, run.step, run.total_steps)
                if warning is not None and not warned:
                    log.say(warning)
                    warned = True
            elif glance:
                log.glance(run.step, run.epoch, run.means.peek())
            if monitor is not None and measures:
                with run.clock.pause("evaluation"), log.other_work():
                    log.baselines(run.step, run.baselines)
                    run.knn["knn_top1"] = knn_top1 = monitor.encoder(method.encoder)
                log.metrics(run.step, run.epoch, {"knn_top1": knn_top1, **run.clock.spent()})
                if machine.keep_best and run.keeps_best(knn_top1):
                    with run.clock.pause("checkpoint"):
                        run.save(out / BEST)
            if run.ends_epochs(1):
                log.epoch(run.step, run.epoch)
                for line in fetch_meter.epoch_line(run.epoch):
                    log.say(line)
            if saves:
                with run.clock.pause("checkpoint"):
                    run.bad_images.extend(all_gather_objects(run.bad_images.news()))
                    if env.is_main:
                        run.save(out / LAST)
                        if run.ends_epochs(machine.keep_every):
                            run.save(out / "checkpoints" / f"epoch-{round(run.epoch):04d}.pt")
                        run.summarize("running")
                saved_at = time.monotonic()

        # ---- summary -------------------------------------------------------------------------------------
        how_to_load: list[str] = []
        if env.is_main:
            save_curves(out / "curves.png", out / "metrics.jsonl", config.recipe, run.baselines)
            log.picture(out / "curves.png")
            if run.is_done:
                how_to_load = save_encoder(out, method.encoder, config, run.step)
                words = verdict(run.knn, monitor.queries if monitor else 0, log.last, start=start)
                run.summarize("finished", verdict=words)
            elif run.step >= run.stop_step:
                run.summarize("paused", pause_after=machine.pause_after)
            else:
                run.summarize("interrupted")
        if run.stop_step <= run.step < run.total_steps:
            log.say(f"paused at step {run.step} of {run.total_steps}, as --pause-after says")
            return 0
        if not run.is_done:
            log.say(f"stopped at step {run.step} of {run.total_steps}; the same command resumes there")
            return interrupt.exit_status if interrupt.signal else 128 + signal.SIGTERM  # another one's signal
        if len(run.bad_images):
            log.say(f"warning: {len(run.bad_images)} images could not be decoded: {out / 'bad_images.txt'}")
        for line in how_to_load:
            log.say(line)
        log.say(f"finished: {run.total_steps} steps. {out / 'views.png'} {out / 'curves.png'}")
        if env.is_main:
            log.say(words)
    return 0


def _opening_lines(run: RunState, data: TrainingData, env: DistEnv, device: torch.device) -> Iterator[str]:
    index = data.source.index
    experiment = run.config.experiment
    several = f" in {env.world_size} processes" if env.world_size > 1 else ""
    resumed = f", resumed at step {run.step}" if run.step else ""
    yield (
        f"{run.config.recipe}: {run.total_steps} steps of {experiment.batch_size} images, "
        f"{len(index)} images, {device.type}{several}, run folder {run.config.out}{resumed}"
    )
    yield f"data: {index.summary()}"
    yield from untold(index.notes)
    if data.fetch_note is not None:
        yield data.fetch_note
    yield f"precision: {experiment.precision} ({run.precision_because})"
    if experiment.optimizer.warmup_epochs >= experiment.epochs:
        yield "warning: the warm-up outlasts the run, so that the learning rate never reaches its peak"


def _monitor_features(run: RunState, device: torch.device) -> FeatureConfig:
    experiment = run.config.experiment
    return FeatureConfig(
        spec=experiment.evaluation_view,
        device=device,
        precision=experiment.precision,
        workers=run.config.machine.workers,
        bad_images=run.bad_images,
    )


def _measure_baselines(run: RunState, monitor: KnnMonitor, device: torch.device) -> None:
    """Measure pixels and the untrained encoder: a copy, as its batch norms ask no other process."""
    experiment = run.config.experiment
    alone = build_encoder(experiment.method, experiment.backbone)
    alone = alone.to(device).to(memory_format=torch.channels_last)
    alone.load_state_dict(run.method.encoder.state_dict())
    run.knn["knn_top1_pixels"] = monitor.pixels()
    run.knn["knn_top1_untrained"] = monitor.untrained(alone)


def _values(run: RunState) -> dict[str, float]:
    """Everything that is logged of the steps since the last line. Waits for the device."""
    values = run.means.read()
    images_per_s, data_wait = run.clock.lap()
    values |= learning_rates(run.train_step.optimizer) | run.method.schedules(run.step - 1)
    return values | {"images_per_s": images_per_s, "data_wait": data_wait, **run.clock.spent()}


def _is_held_out(monitor: KnnMonitor | None, monitor_data: str) -> bool:
    """True if kNN is measured on images that are not trained on."""
    return monitor is not None and (bool(monitor_data) or monitor.has_test_split)


def _stop_if_diverged(run: RunState, data: TrainingData, env: DistEnv, *, weights: bool) -> None:
    """Stop a run whose loss, or one of whose weights, is not finite. Waits for the device."""
    found = run.diverged(weights=weights)
    if found is None:
        return
    (step, what), out = found, run.config.out
    if env.is_main:
        write_divergence(out, step, data)
    last = out / LAST
    kept = f"{last} is kept as it was before: choose another --out" if last.exists() else f"{out} is free"
    raise UserError(
        f"the {what} not finite at step {step}, the run has diverged: start anew with a lower "
        f"--optimizer.base-lr; {kept}. --replay {out / DIVERGED} takes that step again"
    )


def main(argv: list[str] | None = None) -> int:
    """The command. See ``fastssl.command_line.parse`` for its options."""
    env, more = dist_env(os.environ)
    words = list(sys.argv[1:] if argv is None else argv)
    if "--replay" in words:
        return _replay(words)
    try:
        config = parse(words)
    except UserError:
        if env.is_main:
            raise
        time.sleep(5)  # torchrun ends all as soon as one has ended: first rank 0 says so
        return 2
    device = choose_device(config.machine.device, env.local_rank).type
    with process_group(env, more, minutes=config.machine.wait_minutes, device=device):
        remedy = "lower --batch-size, raise --accumulation-steps, or take smaller views"
        with machine_failures(config.out, config.experiment.batch_size, remedy):
            return train(config, env)


def _replay(words: list[str]) -> int:
    """``--replay FILE [options]``: the config is that of the folder of FILE, but for the options."""
    place = words.index("--replay")
    if place or len(words) == 1:
        raise UserError(f"--replay comes first: python -m fastssl.train --replay RUN/{DIVERGED} [options]")
    file = user_path(words[1])
    read_divergence(file)  # before its folder
    for line in replay(parse([str(file.absolute().parent), *words[2:]]), file):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    run_command(main)
