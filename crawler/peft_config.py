"""PEFT's adapter_config.json beside an adapter's file: only it says how strong the adapter is."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

CONFIG_NAME, MAX_CONFIG_BYTES = "adapter_config.json", 2**20
# The stem of the file that PEFT writes beside it.
PEFT_STEM = "adapter_model"


def read_config_beside(path: Path) -> str:
    """Return the config beside an adapter's file as it is written; "" if there is none.

    It belongs to the file that PEFT calls adapter_model.safetensors, and to a file that is the
    only one of its folder.

    Raises:
        ValueError: it is there and cannot be read, in words.
    """
    config = path.with_name(CONFIG_NAME)
    try:
        if not config.is_file() or not (path.stem == PEFT_STEM or _is_alone(path)):
            return ""
        if config.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"{CONFIG_NAME} beside it is larger than 1 MB")
        return decode_config(config.read_bytes())
    except OSError as error:
        raise ValueError(f"{CONFIG_NAME} beside it: {error.strerror or error}") from error


def decode_config(data: bytes) -> str:
    """Return a config as text.

    Raises:
        ValueError: it is not UTF-8, in words.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{CONFIG_NAME} beside it is not text in UTF-8") from error


def find_configs(names: Collection[str]) -> dict[str, str]:
    """Return which adapters among a repository's files have a config, and its name.

    The rule is that of `read_config_beside`.
    """
    adapters = [name for name in names if name.lower().endswith(".safetensors")]
    folders = Counter(PurePosixPath(name).parent for name in adapters)
    configs = {}
    for name in adapters:
        path = PurePosixPath(name)
        config = str(path.with_name(CONFIG_NAME))
        if config in names and (path.stem == PEFT_STEM or folders[path.parent] == 1):
            configs[name] = config
    return configs


def _is_alone(path: Path) -> bool:
    return not any(
        other.suffix.lower() == ".safetensors" and other.name != path.name
        for other in path.parent.iterdir()
    )
