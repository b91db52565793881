"""Measure a run: python -m fastssl.evaluate knn|linear RUN_OR_CHECKPOINT [--data WHERE] [...]"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from fastssl.config import Config
from fastssl.distributed.device import choose_device
from fastssl.evaluate.data import LabelledData, labelled_data
from fastssl.evaluate.features import Extraction, encoder_features
from fastssl.evaluate.knn import NEIGHBOURS, TEMPERATURE, knn_top1
from fastssl.evaluate.linear import SETTINGS, linear_top1
from fastssl.run.folder import load_encoder, read_summary
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import later, one_line_complaints
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.files.atomic import write_json
from pipelines.views import evaluation_spec

Run = Annotated[Path, tyro.conf.Positional]
Device = Literal["auto", "cpu", "cuda"]


def _extraction(config: Config, data: LabelledData, device: Device, workers: int) -> Extraction:
    if workers < 0:
        raise UserError(f"--workers must not be negative, not {workers}")
    experiment, limit = config.experiment, config.machine.max_bad_images
    if limit is None:
        limit = default_limit(len(data.bank.index) + len(data.queries.index))
    return Extraction(
        spec=evaluation_spec(experiment.views[0].spec, experiment.center_fraction),
        device=choose_device(device),
        precision=experiment.precision,
        workers=workers,
        bad_images=BadImages(None, limit),
    )


def _save(run: Path, protocol: str, values: dict[str, Any]) -> None:
    """Write eval/PROTOCOL.json of the run; a measurement of an older checkpoint carries its name."""
    folder, name = run, protocol
    if run.is_file():
        folder = run.parent.parent if run.parent.name == "checkpoints" else run.parent
        name = protocol if run.stem == "last" else f"{protocol}-{run.stem}"
    path = folder / "eval" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, values)
    print(path)


def _about(run: Path, step: int, where: str, data: LabelledData) -> dict[str, Any]:
    return {
        "run": str(run),
        "step": step,
        "data": where,
        "train_images": len(data.bank.index),
        "test_images": len(data.queries.index),
        "test_images_are": data.queries_are,
        "fingerprints": [data.bank.index.fingerprint, data.queries.index.fingerprint],
    }


def knn(run: Run, /, data: str = "", device: Device = "auto", workers: int = 0) -> None:
    """k nearest neighbours (k 20 and 200, cosine, votes weighted by exp(s / 0.07)).

    Args:
        run: run folder, or one of its checkpoints.
        data: labelled images; left out, those of the training.
        device: where to compute.
        workers: loader threads; 0 takes every core.
    """
    config, encoder, step = load_encoder(run)
    where = data or config.machine.data
    labelled = labelled_data(where)
    how = _extraction(config, labelled, device, workers)
    encoder.to(how.device).to(memory_format=torch.channels_last)
    bank = encoder_features(encoder, labelled.bank, how, "kNN: bank")
    queries = encoder_features(encoder, labelled.queries, how, "kNN: queries")
    found = knn_top1(*bank, *queries, labelled.num_classes)
    baselines = read_summary(run) if run.is_dir() and not data else {}
    print(f"{'kNN top-1':<20}" + "".join(f"{f'k={k}':>8}" for k in NEIGHBOURS))
    for name, key in (("raw pixels", "knn_top1_pixels"), ("untrained encoder", "knn_top1_untrained")):
        if baselines.get(key) is not None:
            print(f"{name:<20}{'':>8}{baselines[key]:>8.3f}")
    print(f"{'trained encoder':<20}" + "".join(f"{found[k]:>8.3f}" for k in NEIGHBOURS))
    settings = {"temperature": TEMPERATURE, "similarity": "cosine", "precision": how.precision}
    result = {f"top1_k{k}": accuracy for k, accuracy in found.items()}
    _save(
        run, "knn", {"protocol": "knn", **_about(run, step, where, labelled), "settings": settings, **result}
    )


def linear(
    run: Run,
    /,
    data: str = "",
    setting: Literal["auto", "sgd", "lars"] = "auto",
    augmentation: Literal["auto", "flip", "crop"] = "auto",
    epochs: int = 0,
    seed: int = 0,
    device: Device = "auto",
    workers: int = 0,
) -> None:
    """A linear classifier on frozen features; the accuracy after the last epoch.

    Args:
        run: run folder, or one of its checkpoints.
        data: labelled images; left out, those of the training.
        setting: schedule of the papers for encoders trained with SGD or LARS; auto looks at the run.
        augmentation: crop, or cached features of the image and its mirror image; auto caches below 64 pixels.
        epochs: 0 keeps the setting's.
        seed: of the order and the views.
        device: where to compute.
        workers: loader threads; 0 takes every core.
    """
    config, encoder, step = load_encoder(run)
    where = data or config.machine.data
    labelled = labelled_data(where)
    how = _extraction(config, labelled, device, workers)
    encoder.to(how.device).to(memory_format=torch.channels_last)
    trained = config.experiment.optimizer.kind
    name = setting if setting != "auto" else trained if trained in SETTINGS else "sgd"
    chosen = SETTINGS[name]
    if epochs < 0:
        raise UserError(f"--epochs must not be negative, not {epochs}")
    if epochs:
        drops = tuple(round(drop * epochs / chosen.epochs) for drop in chosen.drops)
        chosen = dataclasses.replace(chosen, epochs=epochs, drops=drops)
    result = linear_top1(encoder, labelled, how, chosen, augmentation, seed)
    how_long = f"{result['augmentation']}, {chosen.epochs} epochs"
    print(f"linear top-1 {result['top1']:.3f} ({name} setting, {how_long})")
    settings = {"setting": name, **dataclasses.asdict(chosen), "seed": seed, "precision": how.precision}
    _save(
        run,
        "linear",
        {"protocol": "linear", **_about(run, step, where, labelled), "settings": settings, **result},
    )


def main(argv: list[str] | None = None) -> int:
    """The command."""
    prog = "python -m fastssl.evaluate"
    with one_line_complaints(prog):
        evaluate = tyro.extras.subcommand_cli_from_dict(
            {"knn": later(knn), "linear": later(linear)},
            prog=prog,
            description="Measure a run's encoder; results go to eval/*.json of the run folder.",
            args=sys.argv[1:] if argv is None else argv,
        )
    evaluate()
    return 0


if __name__ == "__main__":
    run_command(main)
