"""Write an encoder for another library: python -m fastssl.export RUN_OR_CHECKPOINT OUT --to LIBRARY"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from fastssl.export.load import LoadedEncoder, OpenedEncoder, open_encoder
from fastssl.export.norm_rescale import Which, anchor_of, rescale, rescale_effect
from fastssl.export.writers import EXPORTS, Files, Library
from fastssl.foreign.layouts import chosen_layout
from fastssl.run.versions import git_commit, versions
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import read_options
from pipelines.command.places import join_repeated
from pipelines.files.atomic import folder_aside, write_atomically, write_json

_PACKAGES = ("torch", "torchvision", "timm", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write an encoder for another library, with the numbers of its input transform."""

    encoder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER")]
    """Run folder, one of its checkpoints, or weights of another library."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """New file, or new folder for transformers; the description lies beside it, in OUT.json."""
    to: Library
    """Library that will load it."""
    layout: str = "auto"
    """Layout of weights of another library, as python -m fastssl.evaluate takes it."""
    norm_rescale: str = ""
    """Anchor of NormRescale: constant=FACTOR, or a run, checkpoint or file of weights of the same network."""
    tensors: Which = "weights-and-biases"
    """Tensors that NormRescale gives the anchor's norms; all: the running means and variances too."""
    data: str = ""
    """Images whose features are compared before and after NormRescale (linear CKA); left out, the run's."""


def main(argv: list[str] | None = None) -> int:
    """The command."""
    prog = "python -m fastssl.export"
    options = read_options(Options, prog, join_repeated(sys.argv[1:] if argv is None else argv))
    for option in ("--tensors" * (options.tensors == "all"), "--data" * bool(options.data)):
        if option and not options.norm_rescale:
            raise UserError(f"{option} tells of --norm-rescale ANCHOR: give one, or leave it out")
    out, about = _checked_out(options.out, options.to)
    opened = open_encoder(options.encoder, chosen_layout(options.layout))
    if options.norm_rescale:
        opened = _rescaled(opened, options)
    writer, _ = EXPORTS[options.to]
    files, more = writer(opened)
    try:
        _write(out, files)
        write_json(about, _description(opened, options.to, more))
    except OSError as error:
        raise UserError(
            f"cannot write {out} ({error.strerror}): free some space, or choose another"
        ) from None
    print(f"{out}: {opened.backbone.label}, {opened.encoder.feature_dim} features; its transform: {about}")
    for line in _loading(out, more):
        print(f"    {line}")
    return 0


def _checked_out(out: Path, to: str) -> tuple[Path, Path]:
    """The path to write and that of the description beside it.

    Raises:
        UserError: one of them exists, the folder around them does not, or the suffix is another library's.
    """
    suffix = EXPORTS[to][1]
    if suffix and out.suffix != suffix:
        raise UserError(f"a file for {to} ends in {suffix}: name it {out.name}{suffix}")
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent}: make it, or choose another place for {out.name}")
    about = out.with_suffix(".json") if suffix else out.with_name(f"{out.name}.json")
    for path in (out, about):
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} exists, and nothing is overwritten: choose another name, or remove it")
    return out, about


def _rescaled(opened: OpenedEncoder, options: Options) -> OpenedEncoder:
    """The encoder, changed in place; lines on stdout say how far apart norms and features were.

    Raises:
        UserError: there is no such anchor, or it has another architecture, or the images cannot be read.
    """
    anchor, which = options.norm_rescale, options.tensors
    before = copy.deepcopy(opened.encoder)
    print(f"NormRescale by {anchor}: {rescale(opened.encoder, anchor_of(anchor), which)}")
    told = {"anchor": anchor, "tensors": which, **_effect(before, opened, options.data)}
    return replace(opened, origin={**opened.origin, "norm_rescale": told})


def _effect(before: LoadedEncoder, opened: OpenedEncoder, data: str) -> dict[str, Any]:
    """CKA of the features before and after, on the images named or on the run's, where there are any."""
    where = data or (opened.config.machine.data if opened.config else "")
    if not where:
        print("    for the CKA of its features before and after: --data WHERE")
        return {}
    try:
        cka, images = rescale_effect(before, opened.encoder, before.transform.spec, where)
    except UserError as error:
        if data:
            raise
        print(f"    the CKA of its features before and after was not measured: {error}")
        return {}
    value = "undefined (all features are equal)" if math.isnan(cka) else f"{cka:.4f}"
    print(f"    linear CKA of the features before and after: {value}, {images} images of {where}")
    return {"cka": None if math.isnan(cka) else cka, "images": images, "data": where}


def _description(opened: OpenedEncoder, to: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON beside an export: architecture, input transform, origin, versions."""
    return {
        "library": to,
        "architecture": opened.backbone.label,
        "features": int(opened.encoder.feature_dim),
        "transform": opened.encoder.transform.description(),
        "origin": dict(opened.origin),
        "git_commit": git_commit(),
        "versions": versions(_PACKAGES),
        **more,
    }


def _write(out: Path, files: Files) -> None:
    """Write a file, or a folder of files, whole or not at all."""
    if "" in files:
        write_atomically(out, files[""])
        return
    with folder_aside(out) as folder:
        for name, content in files.items():
            write_atomically(folder / name, content)
        folder.rename(out)


def _loading(out: Path, more: Mapping[str, Any]) -> list[str]:
    """Lines that load it: code, or entries of detectron2's config."""
    lines = [f"{name}: {value}" for name, value in more.get("detectron2", {}).items()]
    lines += [more["load"]] if "load" in more else []
    return [line.replace("FILE", repr(str(out))) for line in lines]


if __name__ == "__main__":
    run_command(main)
