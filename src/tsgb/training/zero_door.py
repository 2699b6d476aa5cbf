"""The one door to DeepSpeed: what has to be set before it is loaded, and switched off before it compiles.

Three things would be compiled at first use, for minutes or only where there is a compiler: shared-memory collectives on
a CPU, its own AdamW, and kernels of another optimizer. None is needed: collectives are gloo's, AdamW is torch's.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch

from tsgb.errors import SettingsError


@lru_cache(maxsize=1)
def deepspeed() -> Any:
    """DeepSpeed, ready to use; raises `SettingsError` where it is not installed."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("DS_SKIP_CUDA_CHECK", "1")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    try:
        module = import_module("deepspeed")
    except ImportError as error:
        raise SettingsError(f"ZeRO needs DeepSpeed ({error}); install tsgb[worker].") from error
    module.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return module


def init_communication() -> None:
    """Let DeepSpeed talk over the world that `training.world.join` has formed."""
    deepspeed().init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
