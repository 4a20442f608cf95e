"""Giving pages of a mapped file back to the system once their bytes have been copied."""

from __future__ import annotations

import ctypes
import mmap
import sys

import torch


def drop_pages(tensor: torch.Tensor) -> None:
    """Takes the whole pages under `tensor` out of this process's resident memory; the next touch reads the file again.

    Only for a tensor that is an unwritten private mapping of a file: anonymous memory would come back as zeros. Does nothing
    outside Linux, where the advice has other meanings.
    """
    if not sys.platform.startswith("linux") or not tensor.is_contiguous():
        return
    page = mmap.PAGESIZE
    first = -(-tensor.data_ptr() // page) * page
    end = (tensor.data_ptr() + tensor.nbytes) // page * page
    if end > first:
        # Advice only: a refusal costs memory, not correctness.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)
