"""What differs between machines."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date, time
from difflib import get_close_matches
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_origin

from platformdirs import user_data_path
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from crawler.disk import DiskLimits
from crawler.manners import Manners
from encoder.captions.captioner import Language
from registry.errors import HomeUnknownError, SettingError, SettingsFileError, TokenPlaceError
from registry.local_copies import make_room

# A setting's variable is called so, and its name; or its line in this file of the folder at hand.
PREFIX = "REGISTRY_"
ENV_FILE = ".env"

HubName = Literal["modelscope", "huggingface", "civitai"]
# Whose pictures are blurred: what is rated mature and what nobody rated, the former only, or none.
Blur = Literal["unrated", "mature", "nothing"]
Token = Annotated[SecretStr | None, Field(repr=False)]
# Each token, and the address that it is for.
TOKENS = {
    "modelscope_token": "modelscope_endpoint",
    "hugging_face_token": "hugging_face_endpoint",
    "civitai_token": "civitai_endpoint",
    "caption_token": "caption_endpoint",
    "token": "url",
}


# What is meant where pydantic only names a type, by the type of its fault.
WANTED = {
    "list_type": 'it is a JSON list, as in ["a", "b"]',
    "dict_type": 'it is a JSON dictionary, as in {"a": "b"}',
    "time_parsing": "it is an hour of UTC, as in 03:00",
    "date_from_datetime_parsing": "it is a day, as in 2026-01-31",
    "int_parsing": "it is a whole number, without a unit",
    "bool_parsing": "it is true or false",
}

MOST_VALUE_LETTERS = 100

# How alike a name and a setting's are if it is meant: one wrong letter in a short one is .94.
NEAR = 0.9

# What a request's Host is without its port: a name in ASCII or an address, of which one of IPv6 has
# two colons at least.
_BARE_NAME = re.compile(r"[\w.-]+|[\da-fA-F]*:[\da-fA-F:.]*:[\da-fA-F.]*", re.ASCII)

# How shells and other readers of such files are told to fill in a variable.
_VARIABLE = re.compile(r"\$\{[^{}]*\}")


def _usual_home() -> Path:
    try:
        return user_data_path("autolora")
    except RuntimeError as error:
        raise HomeUnknownError from error


class Settings(BaseModel):
    """Built once, at an entry point, then passed on.

    Every field is an environment variable `REGISTRY_<NAME>` or a line of `.env`; lists and
    dictionaries are JSON, as in `REGISTRY_BASE_MODELS={"flux.1-dev": "/models/flux"}`.

    Read here rather than by pydantic-settings, whose import takes a sixth of what a search through
    a server may.
    """

    model_config = ConfigDict(extra="ignore", validate_default=True)

    # Holds the blobs and, unless `database_url` names another, the database.
    home: Path = Field(default_factory=_usual_home)
    # Any PostgreSQL with the extensions vector (0.8 or later) and pg_trgm; None = embedded. Secret,
    # since it has a password in it.
    database_url: str | None = Field(default=None, repr=False)
    # Where blobs are that several machines share, as s3://bucket/folder; None = a folder of `home`.
    # Keys and endpoint are those of the environment. Needs the extra `s3`.
    blobs_url: str | None = None
    modelscope_endpoint: str = "https://modelscope.cn"
    modelscope_token: Token = None
    hugging_face_endpoint: str = "https://huggingface.co"
    hugging_face_token: Token = None
    # civitai.com shows only what is safe for work.
    civitai_endpoint: str = "https://civitai.red"
    civitai_token: Token = None
    # Asked by sha256 for files that Civitai has lost, as https://civarchive.com/api; None: not.
    civarchive_endpoint: str | None = None
    # What hubs are crawled for; all of it where nothing is said. Of base models, tags and
    # licences one has to be an adapter's.
    crawl_base_models: list[str] = Field(default_factory=list)
    crawl_tags: list[str] = Field(default_factory=list)
    crawl_licences: list[str] = Field(default_factory=list)
    crawl_min_downloads: int = Field(default=0, ge=0)
    crawl_mature: bool | None = None
    crawl_updated_since: date | None = None
    # Of each hub: bytes of files a second (all that come where none are named), and downloads at a
    # time. Each process keeps to them by itself.
    hub_bytes_per_second: dict[HubName, PositiveInt] = Field(default_factory=dict)
    hub_downloads: dict[HubName, Annotated[int, Field(ge=1, le=32)]] = Field(default_factory=dict)
    # Adapter files above this are refused; so much stays free on the disk whatever is fetched
    # (None: 1 GiB, or a tenth of a smaller disk), since the database lives there too.
    max_file_bytes: int = Field(default=DiskLimits().max_file_bytes, ge=1)
    reserved_bytes: int | None = Field(default=None, ge=0)
    # Which adapters' files stay here once they are read: with "fusable" those for base models that
    # `base_models` can fuse. The others are searched as ever, by what was read of them.
    keep_files: Literal["all", "fusable", "none"] = "all"
    # One text encoder per index; another one needs captions and encoders made with it.
    text_encoder: str = "use-multilingual-v3"
    # A weight encoder's checkpoint, or a folder of them, registered at the next refresh.
    encoder_checkpoint: Path | None = None
    # The folder of a CLIP or SigLIP model, by which covers are compared with pictures.
    image_encoder: Path | None = None
    # What writes captions of covers: a model behind an OpenAI-compatible endpoint, with its key, or
    # one in a folder of this machine. None = captions are prompts only.
    caption_endpoint: str | None = None
    caption_model: str | None = None
    caption_token: Token = None
    caption_folder: Path | None = None
    # Images that the endpoint is asked about at a time.
    caption_concurrency: int = Field(default=4, ge=1, le=16)
    caption_languages: list[Language] = Field(default=["en"], min_length=1)
    # Images of each language that one refresh has captioned at most; the next one goes on.
    caption_limit: int = Field(default=1000, ge=0)
    # Covers that one refresh draws at most, for adapters that come without; 0: none.
    draw_covers: int = Field(default=0, ge=0)
    # What nights refresh, as `--source` takes it; none means the hub of `modelscope_endpoint`.
    sources: list[str] = Field(default_factory=list)
    # The hour of UTC, as in 03:00, at which `autolora serve` has a night done; None: never.
    nightly_at: time | None = None
    # After so many days a night lists all that a hub has, and retires what has vanished.
    full_listing_days: int = Field(default=7, ge=0)
    # A registry elsewhere that is asked, and its token. It draws the images too, unless
    # `base_models` are here to draw them with.
    url: str | None = None
    token: Token = None
    # The ComfyUI that recipes can be sent to, as in http://127.0.0.1:8188; None: to none.
    comfyui_url: str | None = None
    # Answers here, whatever `url` says and whether or not a server runs on `home`.
    local: bool = False
    # The diffusers folder of each base model, and the gates trained for it.
    base_models: dict[str, Path] = Field(default_factory=dict)
    gates: dict[str, Path] = Field(default_factory=dict)
    # What guidance leads away from where adapters are gated, if not what the base's default is.
    guide_from: dict[str, Literal["fused", "base"]] = Field(default_factory=dict)
    # Where images are made ("cpu", "cuda", "cuda:1", "mps"), and where weights wait meanwhile:
    # "model" or "layers" need less of the device's memory, and more time.
    device: str = "cpu"
    offload: Literal["none", "model", "layers"] = "none"
    # How much of the device's memory keeps adapters that may be used again.
    adapter_cache_bytes: int = Field(default=2**30, ge=0)
    # What images made over the API or on the page may take; beyond it the oldest are removed.
    image_history_bytes: int = Field(default=2 * 2**30, ge=0)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    # Whose pictures the pages blur, until a person says otherwise.
    blur: Blur = "unrated"
    # Lets everybody who can reach the server read: without it only this machine may. Nothing is
    # written and no image is made for them.
    public_read: bool = False
    # Lets everybody who can reach the server read its numbers at /metrics, as Prometheus does.
    public_metrics: bool = False
    # What an address may ask, and a token, where other machines can reach the server; 0: no limit.
    requests_per_minute: int = Field(default=1200, ge=0)
    images_per_minute: int = Field(default=20, ge=0)
    # Addresses of proxies whose X-Forwarded-For says who asks; nobody else's is believed.
    trusted_proxies: list[str] = Field(default_factory=list)
    # How servers, workers and nights log on stderr, and whether every request is a line.
    log_format: Literal["text", "json"] = "text"
    log_requests: bool = False
    # Tokens are asked for wherever other machines can reach the server; with this on loopback too,
    # as behind a proxy that lets others in.
    require_tokens: bool = False
    # Names the server is reached by, beside addresses and this machine's own name.
    allowed_hosts: list[str] = Field(default_factory=list)

    def __init__(self, **given: Any) -> None:
        """Take what the program gives, else what the environment says, else what `.env` does.

        Raises:
            TokenPlaceError: a token is from one place and its address from another.
            SettingError: a setting is none that it can be, or has a `${NAME}` in `.env`.
            SettingsFileError: there may be a `.env`, which cannot be read.
            HomeUnknownError: no home is set, and this user has no folder for one.
        """
        lines = _lines_of_file()
        _check_plain(lines)
        said, written = _settings_in(os.environ), _settings_in(lines)
        places = {"the program": given, "the environment": said, ENV_FILE: written}
        for token, address in TOKENS.items():
            _check_places(token, address, places)
        _check_password(places)
        try:
            super().__init__(**(written | said | given))
        except ValidationError as error:
            raise _setting_error(error, places) from error

    @classmethod
    def given_alone(cls, **given: Any) -> Self:
        """Take what the program gives, and defaults, whatever the environment and `.env` say.

        Raises pydantic's ValidationError; tokens are the caller's to place.
        """
        settings = cls.__new__(cls)
        BaseModel.__init__(settings, **given)
        return settings

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what is set to nothing, as an empty REGISTRY_HOME, which is the folder at hand.

        A token may be empty, and is none then. What should be JSON is told of as such.
        """
        name = str(info.field_name)
        empty = isinstance(value, str) and not value.strip()
        if empty and name not in TOKENS and not _is_json(cls.model_fields[name].annotation):
            raise PydanticCustomError("empty", "it is empty; give it a value, or unset it")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        """So that a later change of the working folder does not move the registry."""
        try:
            return home.expanduser().absolute()
        except RuntimeError as error:
            said = "whose home ~ stands for is not known; write the path in full"
            raise PydanticCustomError("home", said) from error

    @field_validator("nightly_at")
    @classmethod
    def _whole_minute_of_utc(cls, at: time | None) -> time | None:
        """Refuse a zone, which nothing heeds, and seconds, which those who do nights leave out."""
        if at is not None and (at.tzinfo or at.second or at.microsecond):
            raise PydanticCustomError("time_parsing", WANTED["time_parsing"])
        return at

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, proxies: list[str]) -> list[str]:
        """Refuse names: who asks is known by address, or is whoever it is."""
        return proxies if proxies == ["*"] else [_address(proxy) for proxy in proxies]

    @field_validator("allowed_hosts")
    @classmethod
    def _bare_names(cls, hosts: list[str]) -> list[str]:
        """Refuse what no request is compared with: its scheme and port are left out."""
        for host in hosts:
            if not _BARE_NAME.fullmatch(host):
                said = f"{host} is no bare name; leave out scheme, port and signs"
                raise PydanticCustomError("host", f"{said}, as in lora.example")
        return hosts

    @field_validator("base_models", "gates", "guide_from")
    @classmethod
    def _by_our_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Know base models by our names, as adapters are, however people write them."""
        if not given:
            return given
        # Reads what is known of every base model, which most commands need not.
        from encoder.base_models.names import find_base_model

        ours = {name: find_base_model(name) or name for name in given}
        twice = [name for name, count in Counter(ours.values()).items() if count > 1]
        if twice:
            raise PydanticCustomError("twice", f"it names {twice[0]} twice; leave one of them")
        return {ours[name]: value for name, value in given.items()}

    @property
    def nightly_sources(self) -> list[str]:
        return self.sources or [self.modelscope_endpoint]

    def manners(self, hub: str) -> Manners:
        """How a hub is treated, by its name."""
        name, usual = cast("HubName", hub), Manners()
        return Manners(
            bytes_per_second=self.hub_bytes_per_second.get(name),
            downloads=self.hub_downloads.get(name, usual.downloads),
        )

    @property
    def disk_limits(self) -> DiskLimits:
        copies = [self.remote_files] if self.blobs_url is None else [self.remote_files, self.blobs]
        room = partial(make_room, copies)
        return DiskLimits(self.max_file_bytes, self.reserved_bytes, make_room=room)

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"

    @property
    def remote_files(self) -> Path:
        return self.home / "remote"

    @property
    def postgres(self) -> Path:
        return self.home / "postgres"


def _address(written: str) -> str:
    """Return an address or a network as it is compared, of which any address may be given."""
    try:
        network = ip_network(written, strict=False)
    except ValueError as error:
        said = f"{written} is no address; write those of proxies or of networks, as in "
        raise PydanticCustomError("address", f"{said}172.18.0.0/16") from error
    return str(network if "/" in written else network.network_address)


def _lines_of_file() -> Mapping[str, str | None]:
    """Return what `.env` says, where there is one.

    Raises:
        SettingsFileError: it cannot be read, or nobody may tell whether there is one.
    """
    try:
        Path(ENV_FILE).stat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsFileError(ENV_FILE, error.strerror or str(error)) from error
    from dotenv import dotenv_values

    try:
        # With nothing of the environment filled in: a stranger's file would have its secrets sent.
        return dotenv_values(ENV_FILE, interpolate=False)
    except OSError as error:
        raise SettingsFileError(ENV_FILE, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise SettingsFileError(ENV_FILE, "it is no text in UTF-8") from error


def _check_plain(lines: Mapping[str, str | None]) -> None:
    """Refuse `${NAME}` in settings: it is filled in by other programs, and would be kept here."""
    ours = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name, value in lines.items():
        if name.upper() in ours and _VARIABLE.search(value or ""):
            said = "write what ${…} stands for; no variable is filled in here"
            raise SettingError(name.upper(), ENV_FILE, None, said)


def _settings_in(variables: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the settings among variables, whose names may be of small letters too."""
    values = {name.upper(): value for name, value in variables.items() if value is not None}
    return {
        name: _decoded(field.annotation, value)
        for name, field in Settings.model_fields.items()
        if (value := values.get(PREFIX + name.upper())) is not None
    }


def _decoded(annotation: Any, value: str) -> Any:
    """Return a value, out of JSON where it is a list or a dictionary.

    What is no JSON stays as it is, for pydantic to name it.
    """
    if not _is_json(annotation):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _is_json(annotation: Any) -> bool:
    return get_origin(annotation) in (list, dict)


def is_secret(name: str) -> bool:
    """Tell whether a setting's value is for nobody's eyes; such are left out of `repr`, too."""
    return not Settings.model_fields[name].repr


def misspelt_settings() -> dict[str, str]:
    """Return what is set here that nearly is one of our settings, each with the one meant.

    Other programs have variables that begin with REGISTRY_ too: only what is near counts.
    """
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    said = [*os.environ, *_lines_of_file()]
    meant = {}
    for name in sorted({name.upper() for name in said} - set(known)):
        if near := get_close_matches(name, known, 1, cutoff=NEAR):
            meant[name] = near[0]
    return meant


def _check_places(token: str, address: str, places: Mapping[str, Mapping[str, Any]]) -> None:
    """Let a token go only to the address that it was set with, or to the default one.

    Else a `.env` in the folder where somebody happens to work could send the environment's
    token to an address of its own.
    """

    of_token, of_address = _place_of(token, places), _place_of(address, places)
    if of_token and of_address and of_token != of_address:
        raise TokenPlaceError(token, of_token, address, of_address)


def _check_password(places: Mapping[str, Mapping[str, Any]]) -> None:
    """Let PGPASSWORD, which the database's driver reads by itself, go to no server of `.env`."""
    if _place_of("database_url", places) != ENV_FILE or not os.environ.get("PGPASSWORD"):
        return
    # An address with a password of its own has that sent.
    if not re.match(r"[\w+]+://[^/@?#]*:[^/@?#]+@", str(places[ENV_FILE]["database_url"])):
        said = "PGPASSWORD of the environment would be sent there; set both in the environment"
        raise SettingError("REGISTRY_DATABASE_URL", ENV_FILE, None, said)


def _place_of(name: str, places: Mapping[str, Mapping[str, Any]]) -> str | None:
    return next((place for place, values in places.items() if values.get(name)), None)


def _setting_error(error: ValidationError, places: Mapping[str, Mapping[str, Any]]) -> SettingError:
    """Say which setting is at fault, where it was set, and what it can be: the first one."""
    fault = error.errors(include_url=False)[0]
    name, *inside = map(str, fault["loc"])
    wanted = WANTED.get(fault["type"]) or fault["msg"][:1].lower() + fault["msg"][1:]
    # A key of a dictionary is told of as such beside itself.
    where = ", ".join([f"{PREFIX}{name.upper()}", *(part for part in inside if part != "[key]")])
    # An empty value is set as well.
    place = next(place for place, values in places.items() if name in values)
    value = None if is_secret(name) else repr(fault["input"])[:MOST_VALUE_LETTERS]
    return SettingError(where, place, value, wanted)
