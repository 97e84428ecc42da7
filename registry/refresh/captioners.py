"""What writes captions here, by the settings."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from encoder.captions.captioner import Captioner
from encoder.captions.endpoint import ATTEMPTS, TIMEOUT_SECONDS, EndpointCaptioner
from encoder.captions.local import LocalCaptioner
from registry.config import Settings
from registry.errors import CaptionSettingsError

# A description of one picture takes a large model some seconds.
WAITED_SECONDS = 30.0

HOW_TO = (
    "set REGISTRY_CAPTION_ENDPOINT and REGISTRY_CAPTION_MODEL, or REGISTRY_CAPTION_FOLDER "
    "(docs/captions.md)"
)


def what_is_missing(settings: Settings) -> str:
    """Say in one line what has to be set for captions to be written; "" if nothing."""
    endpoint, folder = settings.caption_endpoint, settings.caption_folder
    if endpoint and folder:
        return (
            "REGISTRY_CAPTION_ENDPOINT and REGISTRY_CAPTION_FOLDER are both set; unset one of them"
        )
    if endpoint and not settings.caption_model:
        return "REGISTRY_CAPTION_MODEL has to name a model of REGISTRY_CAPTION_ENDPOINT"
    return "" if endpoint or folder else f"no vision model is set up; {HOW_TO}"


def name_of_captioner(settings: Settings) -> str:
    """Return what the captioner of the settings is called in the database, without opening it.

    Raises:
        CaptionSettingsError: there is none, with what to set.
    """
    if missing := what_is_missing(settings):
        raise CaptionSettingsError(missing)
    return settings.caption_model or Path(str(settings.caption_folder)).name


@contextmanager
def open_captioner(settings: Settings, *, patient: bool = True) -> Iterator[Captioner]:
    """Give the captioner of the settings; a model is loaded when the first image comes.

    An endpoint is asked again and waited for, unless not `patient`, as where a person waits too.

    Raises:
        CaptionSettingsError: there is none, with what to set.
        CaptionerError: its address is none.
    """
    name = name_of_captioner(settings)
    captioner: Captioner
    if settings.caption_endpoint:
        token = settings.caption_token
        captioner = EndpointCaptioner(
            settings.caption_endpoint,
            name,
            token.get_secret_value() if token else None,
            concurrency=settings.caption_concurrency,
            timeout_seconds=TIMEOUT_SECONDS if patient else WAITED_SECONDS,
            attempts=ATTEMPTS if patient else 1,
        )
    else:
        assert settings.caption_folder is not None
        captioner = LocalCaptioner(settings.caption_folder, name, device=settings.device)
    with closing(captioner):
        yield captioner
