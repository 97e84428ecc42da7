"""The tensors of a safetensors file as views of a memory map: read when used, and let go."""

import ctypes
import hashlib
import math
import mmap
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, groupby
from operator import mul
from pathlib import Path

import torch
from torch import Tensor

from encoder.adapter.safetensors_header import Header
from encoder.errors import LoraFileError

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
}
# What may stay in memory of what was read: giving it back takes time for every page of the
# file, so not after each small tensor.
KEPT_BYTES = 16_000_000
# How much of the file is looked at in float32 at a time: 4 MB.
PART_ENTRIES = 1_000_000


class TensorFile:
    """A file of tensors whose header was checked. Keeps no descriptor open.

    Tensors must not be written to: `release` takes changes back.
    """

    def __init__(self, path: Path, header: Header) -> None:
        """Map the file.

        Raises:
            LoraFileError: it is gone, or shorter than its header was checked against.
        """
        self._header = header
        self._used_bytes = 0
        # All of the file as numbers of one type.
        self._whole: dict[torch.dtype, Tensor] = {}
        size = header.data_start + max((info.end for info in header.tensors.values()), default=0)
        try:
            # Private and not shared: pages are the file's as long as nobody writes to them.
            self._bytes = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        except RuntimeError as error:
            raise LoraFileError(path, "changed while it was read") from error

    def tensor(self, name: str) -> Tensor:
        """Return a tensor; nothing is read until it is computed with."""
        info = self._header.tensors[name]
        whole, dtype = self._whole, DTYPES[info.dtype]
        if (self._header.data_start + info.start) % dtype.itemsize:
            # Headers are padded for this as a rule, not by law.
            return self._values(dtype, info.start, info.end).view(info.shape)
        if dtype not in whole:
            whole[dtype] = self._bytes[: len(self._bytes) // dtype.itemsize * dtype.itemsize].view(
                dtype
            )
        place = (self._header.data_start + info.start) // dtype.itemsize
        return whole[dtype].as_strided(info.shape, _strides(info.shape), place)

    def norm(self) -> float:
        """Return the root of the sum of all squares of all tensors, in float32.

        NaN or infinity where some number is that, or its square too large for float32.
        """
        norm = 0.0
        tensors = sorted(self._header.tensors.values(), key=lambda info: info.start)
        # Tensors lie side by side without gaps: those of one type are read as one.
        for name, group in groupby(tensors, key=lambda info: info.dtype):
            infos = list(group)
            values = self._values(DTYPES[name], infos[0].start, infos[-1].end)
            for part in values.split(PART_ENTRIES):
                norm = math.hypot(norm, float(torch.linalg.vector_norm(part.float())))
        return norm

    def hash_body(self) -> str:
        """Return the sha256 of what follows the header, in hex."""
        digest = hashlib.sha256()
        for part in self._bytes[self._header.data_start :].split(KEPT_BYTES):
            digest.update(part.numpy())
            self.release()
        return digest.hexdigest()

    def used(self, tensors: Iterable[Tensor]) -> None:
        """Take note that tensors were read and are not needed again for a while."""
        if len(self._bytes) < KEPT_BYTES:
            return
        self._used_bytes += sum(tensor.nbytes for tensor in tensors)
        if self._used_bytes >= KEPT_BYTES:
            self.release()

    def release(self) -> None:
        """Give the memory of what was read back; it is read again when used again.

        Pages of a memory map stay with the process until somebody needs the memory. Only
        Linux promises that an untouched private page is read from its file again.
        """
        self._used_bytes = 0
        if sys.platform == "linux":
            address, size = self._bytes.data_ptr(), self._bytes.numel()
            _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.MADV_DONTNEED)

    def _values(self, dtype: torch.dtype, start: int, end: int) -> Tensor:
        """Return bytes `start` to `end` of the data as numbers."""
        data = self._bytes[self._header.data_start + start : self._header.data_start + end]
        if data.storage_offset() % dtype.itemsize:
            data = data.clone()
        return data.view(dtype)


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return how far apart neighbours of each axis lie, row by row."""
    return (*accumulate(reversed(shape[1:]), mul, initial=1),)[::-1] if shape else ()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
