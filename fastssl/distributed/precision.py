"""The precision of forward and backward passes, and what ``auto`` resolves to on a machine."""

from __future__ import annotations

import os
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16", "fp16"]

AUTOCAST: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_ISA_WITH_BF16 = ("BF16", "FP16", "AMX", "AVX10", "ALL", "DEFAULT")  # oneDNN's names, or parts of them


def bf16_instructions() -> str:
    """The processor's bf16 instructions as torch (2.9 or newer) reports them: AMX, AVX512-BF16, or ""."""
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else ""


def resolve_precision(precision: Precision, device: torch.device) -> tuple[Precision, str]:
    """Choose the precision of a run: bf16 where the device computes it natively, else fp32.

    Emulated bf16 is slower than fp32: on a CPU with AVX2 alone by a factor of ten and more. The variable
    ``ONEDNN_MAX_CPU_ISA`` (formerly ``DNNL_MAX_CPU_ISA``) bounds the instructions that torch's kernels use,
    which torch's report leaves out.

    Returns:
        The precision, never ``auto``, and the reason in a few words. Another one than ``auto`` stays.
    """
    if precision != "auto":
        return precision, "as told"
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        name = torch.cuda.get_device_name(device)
        return ("bf16", f"{name} computes it") if native else ("fp32", f"{name} has no bf16 units")
    if device.type != "cpu":
        return "fp32", f"bf16 is untested on {device.type}"
    instructions = bf16_instructions()
    if not instructions:
        return "fp32", "this CPU has no bf16 instructions"
    bound = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    if bound and not any(part in bound for part in _ISA_WITH_BF16):
        return "fp32", f"ONEDNN_MAX_CPU_ISA={bound} leaves bf16 instructions out"
    return "bf16", f"this CPU has {instructions}"
