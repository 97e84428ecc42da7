"""PEFT's adapter_config.json beside an adapter's file: only it says how strong the adapter is."""

from pathlib import Path

CONFIG_NAME, MAX_CONFIG_BYTES = "adapter_config.json", 2**20


def read_config_beside(path: Path) -> str:
    """Return the config beside an adapter's file as it is written; "" if there is none.

    It belongs to the file that PEFT calls adapter_model.safetensors, and to a file that is the
    only one of its folder.

    Raises:
        ValueError: it is there and cannot be read, in words.
    """
    config = path.with_name(CONFIG_NAME)
    try:
        if not config.is_file() or not (path.stem == "adapter_model" or _is_alone(path)):
            return ""
        if config.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"{CONFIG_NAME} beside it is larger than 1 MB")
        return config.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{CONFIG_NAME} beside it is not text in UTF-8") from error
    except OSError as error:
        raise ValueError(f"{CONFIG_NAME} beside it: {error.strerror or error}") from error


def _is_alone(path: Path) -> bool:
    return not any(
        other.suffix.lower() == ".safetensors" and other.name != path.name
        for other in path.parent.iterdir()
    )
