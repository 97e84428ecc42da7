"""The hashes by which others name an adapter's file, in one pass over it.

- sha256 of the whole file: git LFS, Hugging Face, ModelScope, Civitai's SHA256. Its first ten
  digits are AutoV2.
- sha256 of what follows the header: sd-scripts' `sshs_model_hash` [1], which survives edits of
  metadata. Its first twelve digits are AutoV3 [2], by which web UIs name a LoRA in images.

Both short forms are written in capitals, as Civitai publishes them.

- [1] https://github.com/kohya-ss/sd-scripts/pull/102
- [2] https://github.com/civitai/civitai/issues/742
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from encoder.adapter.safetensors_header import read_header
from encoder.errors import HeaderError

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class FileHashes:
    """Digests in lower-case hex, both of 64 digits."""

    sha256: str
    body_sha256: str

    @property
    def autov2(self) -> str:
        return self.sha256[:10].upper()

    @property
    def autov3(self) -> str:
        return self.body_sha256[:12].upper()


def hash_adapter(path: Path) -> FileHashes:
    """Return the hashes of a safetensors file.

    Raises:
        LoraFileError: the file cannot be read or is no safetensors.
    """
    start = read_header(path).data_start
    whole, body = hashlib.sha256(), hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            header = file.read(start)
            whole.update(header)
            while count := file.readinto(buffer):
                whole.update(buffer[:count])
                body.update(buffer[:count])
    except OSError as error:
        raise HeaderError(path, f"cannot be read: {error.strerror or error}") from error
    return FileHashes(whole.hexdigest(), body.hexdigest())
