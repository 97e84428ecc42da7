"""What each setting is, and where that was said."""

import json
import os
from typing import Any

from pydantic_core import to_jsonable_python

from crawler.addresses import without_login
from registry.config import ENV_FILE, PREFIX, Settings, is_secret

HIDDEN = "***"


def setting_facts() -> dict[str, dict[str, Any]]:
    """Return the value and the source of every setting by its variable; secrets stay hidden."""
    settings = Settings()
    return {
        f"{PREFIX}{name.upper()}": {
            "value": _shown(settings, name),
            "source": _source(settings, name),
        }
        for name in Settings.model_fields
    }


def _shown(settings: Settings, name: str) -> Any:
    value = to_jsonable_python(getattr(settings, name))
    if is_secret(name) and value is not None:
        return HIDDEN
    return without_login(value) if isinstance(value, str) and "://" in value else value


def words(value: Any) -> str:
    """Return a value as it is written in the environment; nothing, where it is not set."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _source(settings: Settings, name: str) -> str:
    if name not in settings.model_fields_set:
        return "default"
    in_environment = f"{PREFIX}{name.upper()}" in map(str.upper, os.environ)
    return "environment" if in_environment else ENV_FILE
