"""The tensors of a safetensors file as views of a memory map: read when used, and let go."""

import ctypes
import mmap
import sys
from pathlib import Path

import torch
from torch import Tensor

from encoder.errors import LoraFileError
from encoder.safetensors_header import Header, TensorInfo

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
        size = header.data_start + max((info.end for info in header.tensors.values()), default=0)
        try:
            # Private and not shared: pages are the file's as long as nobody writes to them.
            self._storage = torch.UntypedStorage.from_file(str(path), False, size)
        except RuntimeError as error:
            raise LoraFileError(path, "changed while it was read") from error

    def tensor(self, name: str) -> Tensor:
        """Return a tensor; nothing is read until it is computed with."""
        info = self._header.tensors[name]
        dtype = DTYPES[info.dtype]
        start = self._header.data_start + info.start
        empty = torch.empty(0, dtype=dtype)
        if start % dtype.itemsize == 0:
            return empty.set_(self._storage, start // dtype.itemsize, torch.Size(info.shape))
        # Headers are padded for this as a rule, not by law.
        return self._bytes(info).clone().view(dtype).view(info.shape)

    def release(self) -> None:
        """Give the memory of what was read back; it is read again when used again.

        Pages of a memory map stay with the process until somebody needs the memory. Only
        Linux promises that an untouched private page is read from its file again.
        """
        if sys.platform == "linux":
            libc = ctypes.CDLL(None)
            address, size = ctypes.c_void_p(self._storage.data_ptr()), self._storage.nbytes()
            libc.madvise(address, ctypes.c_size_t(size), mmap.MADV_DONTNEED)

    def _bytes(self, info: TensorInfo) -> Tensor:
        start = self._header.data_start + info.start
        whole = torch.empty(0, dtype=torch.uint8)
        return whole.set_(self._storage, start, torch.Size([info.end - info.start]))
