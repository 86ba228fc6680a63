"""Which errors say that there was too little memory, on a GPU or here."""

from __future__ import annotations

import errno

import torch

_NO_MEMORY = (
    "DefaultCPUAllocator",  # torch's on a CPU
    "std::bad_alloc",
    "CUDA out of memory",  # torch's, as another error has its words
    "CUDA error: out of memory",  # the driver's: a context, a graph, or what a neighbour left
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "Triton Error [CUDA]: out of memory",
)
"""In the message of a `RuntimeError` for lack of memory that is no `torch.OutOfMemoryError`."""
_NO_HANDLE = ("CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED")
"""A library could not be started on the GPU: for lack of memory, unless the context is broken."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a run found too little memory. Asked of an error that no broken GPU is behind."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error)
    return isinstance(error, RuntimeError) and any(w in words for w in (*_NO_MEMORY, *_NO_HANDLE))
