import re
from pathlib import Path
from typing import get_origin

import pytest

from crawler.manners import Manners
from registry.config import TOKENS, Settings
from registry.errors import HomeUnknownError, SettingError, SettingsFileError, TokenPlaceError
from tests.registry.conftest import another_user

# Each token and the address that it goes to.
PAIRS = [
    ("MODELSCOPE_TOKEN", "MODELSCOPE_ENDPOINT"),
    ("CAPTION_TOKEN", "CAPTION_ENDPOINT"),
    ("TOKEN", "URL"),
]


@pytest.fixture(autouse=True)
def nothing_set(settings: Settings) -> None:
    """Neither the environment nor a `.env` of this machine says anything."""


@pytest.mark.parametrize(("token", "address"), PAIRS)
def test_a_token_of_the_environment_does_not_go_where_a_file_says(
    token: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder to work in may be a stranger's, with a `.env` of his."""
    monkeypatch.setenv(f"REGISTRY_{token}", "secret")
    Path(".env").write_text(f"REGISTRY_{address}=https://evil.example\n")

    with pytest.raises(TokenPlaceError, match=f"REGISTRY_{address} in .env") as caught:
        Settings()

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("token", "address"), PAIRS)
def test_nor_does_a_token_of_a_file_go_where_the_environment_says(
    token: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"REGISTRY_{address}", "https://other.example")
    Path(".env").write_text(f"REGISTRY_{token}=secret\n")

    with pytest.raises(TokenPlaceError):
        Settings()


@pytest.mark.parametrize(
    "lines",
    [
        "REGISTRY_URL=https://evil.example\nREGISTRY_TOKEN=${CLOUD_KEY}\n",
        "registry_civarchive_endpoint='https://evil.example/${CLOUD_KEY}'\n",
        "REGISTRY_DATABASE_URL=postgresql://evil.example/${NOT_SET:-${CLOUD_KEY}}\n",
        'REGISTRY_SOURCES=["https://evil.example/${CLOUD_KEY}"]\n',
    ],
)
def test_a_file_gets_no_secret_of_the_environment(
    lines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_KEY", "secret")
    Path(".env").write_text(lines)

    with pytest.raises(SettingError, match=r"set in \.env, cannot be used: write what") as caught:
        Settings()

    assert "secret" not in str(caught.value)


def test_a_password_of_the_environment_does_not_go_where_a_file_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libpq reads PGPASSWORD by itself, and sends it to whichever server asks."""
    monkeypatch.setenv("PGPASSWORD", "secret")
    Path(".env").write_text("REGISTRY_DATABASE_URL=postgresql://x@evil.example/d\n")

    with pytest.raises(SettingError, match="PGPASSWORD of the environment") as caught:
        Settings()

    assert "secret" not in str(caught.value)
    Path(".env").write_text("REGISTRY_DATABASE_URL=postgresql://x:own@db.example/d\n")
    assert Settings().database_url
    monkeypatch.setenv("REGISTRY_DATABASE_URL", "postgresql://x@db.example/d")
    assert Settings().database_url == "postgresql://x@db.example/d"


def test_lines_of_other_programs_may_name_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a `$` in a password is one."""
    monkeypatch.setenv("CLOUD_KEY", "secret")
    Path(".env").write_text(
        "HOME=${CLOUD_KEY}\nREGISTRY_PASSWORD=${CLOUD_KEY}\nREGISTRY_HOST=$CLOUD_KEY\n"
    )

    assert Settings().host == "$CLOUD_KEY"


@pytest.mark.parametrize(("token", "address"), PAIRS)
def test_a_token_goes_to_the_address_that_it_was_set_with(
    token: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else a file says: the environment wins."""
    Path(".env").write_text(f"REGISTRY_{address}=https://evil.example\n")
    monkeypatch.setenv(f"REGISTRY_{token}", "secret")
    monkeypatch.setenv(f"REGISTRY_{address}", "https://mine.example")

    settings = Settings()

    assert getattr(settings, address.lower()) == "https://mine.example"
    assert getattr(settings, token.lower()).get_secret_value() == "secret"


@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_token_alone_goes_to_the_default_address(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "environment":
        monkeypatch.setenv("REGISTRY_MODELSCOPE_TOKEN", "secret")
    else:
        Path(".env").write_text("REGISTRY_MODELSCOPE_TOKEN=secret\n")

    assert Settings().modelscope_endpoint == "https://modelscope.cn"


def test_an_address_without_a_token_may_stand_in_a_file() -> None:
    Path(".env").write_text("REGISTRY_MODELSCOPE_ENDPOINT=http://127.0.0.1:8090\n")

    assert Settings().modelscope_endpoint == "http://127.0.0.1:8090"


def test_a_hub_is_treated_as_its_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_HUB_BYTES_PER_SECOND", '{"civitai": 5000}')
    monkeypatch.setenv("REGISTRY_HUB_DOWNLOADS", '{"huggingface": 2}')

    settings = Settings()

    assert settings.manners("civitai") == Manners(bytes_per_second=5000)
    assert settings.manners("huggingface") == Manners(downloads=2)
    assert settings.manners("modelscope") == Manners()
    monkeypatch.setenv("REGISTRY_HUB_DOWNLOADS", '{"hugging-face": 2}')
    with pytest.raises(SettingError, match="hugging-face"):
        Settings()


def test_the_program_counts_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "REGISTRY_PORT=1\nREGISTRY_HOST=a\nregistry_blur=mature\nREGISTRY_URL\n"
    )
    assert Settings().model_dump(include={"port", "host", "blur", "url"}) == {
        "port": 1,
        "host": "a",
        "blur": "mature",
        "url": None,
    }
    monkeypatch.setenv("registry_port", "2")
    monkeypatch.setenv("REGISTRY_HOST", "b")

    settings = Settings(port=3)

    assert (settings.port, settings.host) == (3, "b")
    assert settings.model_fields_set == {"port", "host", "blur"}


def test_lists_and_dictionaries_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_CRAWL_TAGS", '["a", "b"]')
    monkeypatch.setenv("REGISTRY_BASE_MODELS", '{"flux.1-dev": "/models/flux"}')

    settings = Settings()

    assert settings.crawl_tags == ["a", "b"]
    assert settings.base_models == {"flux.1-dev": Path("/models/flux")}
    assert {
        name
        for name, field in Settings.model_fields.items()
        if "list[" in str(field.annotation) or "dict[" in str(field.annotation)
    } == {
        name
        for name, field in Settings.model_fields.items()
        if get_origin(field.annotation) in (list, dict)
    }


def test_base_models_are_known_however_they_are_written() -> None:
    named = {"FLUX.1 dev": Path("/flux"), "my-own-base": Path("/own")}

    settings = Settings(base_models=named, gates={"Flux_1-Dev": "/g"}, guide_from={"SDXL": "base"})

    assert settings.base_models == {"flux.1-dev": Path("/flux"), "my-own-base": Path("/own")}
    assert settings.gates == {"flux.1-dev": Path("/g")}
    assert settings.guide_from == {"sdxl-1.0": "base"}


def test_a_base_model_that_is_named_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_BASE_MODELS", '{"flux.1-dev": "/a", "FLUX.1 dev": "/b"}')

    with pytest.raises(SettingError, match=r"^REGISTRY_BASE_MODELS.*names flux\.1-dev twice"):
        Settings()


@pytest.mark.parametrize("value", ["a", "{", ""])
def test_what_should_be_json_and_is_none_is_named(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_CRAWL_TAGS", value)

    with pytest.raises(SettingError, match=f"^REGISTRY_CRAWL_TAGS.* is '{value}': .* JSON list"):
        Settings()


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("PORT", "abc", "a whole number"),
        ("MAX_FILE_BYTES", "8GB", "without a unit"),
        ("NIGHTLY_AT", "3", "as in 03:00"),
        ("NIGHTLY_AT", "03:00+08:00", "an hour of UTC, as in 03:00"),
        ("NIGHTLY_AT", "03:00:30", "an hour of UTC, as in 03:00"),
        ("NIGHTLY_AT", "03:00:00.5", "an hour of UTC, as in 03:00"),
        ("CRAWL_UPDATED_SINCE", "yesterday", "as in 2026-01-31"),
        ("SOURCES", "/my/loras", 'as in ["a", "b"]'),
        ("BASE_MODELS", "/my/base", 'as in {"a": "b"}'),
        ("PUBLIC_READ", "perhaps", "true or false"),
        ("KEEP_FILES", "some", "'all', 'fusable' or 'none'"),
    ],
)
def test_a_wrong_setting_is_told_with_what_it_can_be(
    variable: str, value: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"REGISTRY_{variable}", value)

    with pytest.raises(SettingError) as raised:
        Settings()

    said = str(raised.value)
    assert said.startswith(f"REGISTRY_{variable}, set in the environment, is '{value}': ")
    assert wanted in said


@pytest.mark.parametrize("proxy", ["nginx", "http://127.0.0.1", "127.0.0.1:80", "*"])
def test_a_proxy_that_would_never_be_believed_is_refused(proxy: str) -> None:
    """Who asks is known by address, so everybody behind it would have one limit."""
    with pytest.raises(SettingError, match=rf"TRUSTED_PROXIES.*: {re.escape(proxy)} is no address"):
        Settings(trusted_proxies=["127.0.0.1", proxy])


def test_proxies_are_addresses_and_networks_or_all() -> None:
    written = ["127.0.0.1", "172.18.0.1/16", "FD00::1", "fd00::/8"]

    stored = Settings(trusted_proxies=written).trusted_proxies

    assert stored == ["127.0.0.1", "172.18.0.0/16", "fd00::1", "fd00::/8"]
    assert Settings(trusted_proxies=["*"]).trusted_proxies == ["*"]


@pytest.mark.parametrize(
    "host", ["lora.example:80", "cafe:80", "https://lora.example", "*.example", "[fd00::1]"]
)
def test_a_host_that_no_request_names_is_refused(host: str) -> None:
    """Names are compared without scheme and port."""
    with pytest.raises(SettingError, match=rf"ALLOWED_HOSTS.*: {re.escape(host)} is no bare name"):
        Settings(allowed_hosts=["lora.example", host])


def test_hosts_are_names_and_addresses() -> None:
    hosts = ["Lora.example", "my_box", "192.168.0.2", "fd00::1"]

    assert Settings(allowed_hosts=hosts).allowed_hosts == hosts


@pytest.mark.parametrize("name", ["HOME", "DATABASE_URL", "BLOBS_URL", "URL", "HOST", "PORT"])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_an_empty_setting_is_said_to_be_empty(
    place: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty home is the folder at hand, and an empty host every address of the machine."""
    if place == "environment":
        monkeypatch.setenv(f"REGISTRY_{name}", "")
    else:
        Path(".env").write_text(f"REGISTRY_{name}=\n")

    with pytest.raises(SettingError, match=f"^REGISTRY_{name}, set in .*it is empty; give it"):
        Settings()


@pytest.mark.parametrize("token", ["REGISTRY_TOKEN", "REGISTRY_CIVITAI_TOKEN"])
def test_an_empty_token_is_none(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(token, "")

    settings = Settings()

    assert not settings.token
    assert not settings.civitai_token


def test_a_wrong_part_of_a_setting_is_told_with_its_place() -> None:
    Path(".env").write_text('REGISTRY_HUB_DOWNLOADS={"civitai": 99}\n')

    with pytest.raises(SettingError, match=r"^REGISTRY_HUB_DOWNLOADS, civitai, set in .env, is 99"):
        Settings()


@pytest.mark.parametrize("name", ["database_url", *TOKENS])
def test_a_wrong_secret_is_not_repeated(name: str) -> None:
    with pytest.raises(SettingError, match="set in the program, cannot be used") as raised:
        Settings(**{name: ["hush"]})

    assert "hush" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_told_of_in_one_line() -> None:
    """As one of root's, or one in another encoding."""
    Path(".env").write_text("REGISTRY_PORT=1\n")
    assert Settings().port == 1
    Path(".env").chmod(0o000)

    with another_user(), pytest.raises(SettingsFileError, match="Permission denied") as caught:
        Settings()
    assert "\n" not in str(caught.value)

    Path(".env").chmod(0o600)
    Path(".env").write_bytes("REGISTRY_HOST=für".encode("latin-1"))
    with pytest.raises(SettingsFileError, match="UTF-8"):
        Settings()


def test_nor_is_a_folder_passed_over_that_may_hold_one(
    closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `sudo -u` is typed in a folder of one's own."""
    closed_folder.chmod(0o700)
    monkeypatch.chdir(closed_folder)
    closed_folder.chmod(0o000)

    with another_user(), pytest.raises(SettingsFileError, match="another folder"):
        Settings()


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_folder_is_told_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HomeUnknownError, match="Set REGISTRY_HOME"):
        Settings()
    monkeypatch.setenv("REGISTRY_HOME", "~nobody9/x")
    with pytest.raises(SettingError, match=r"^REGISTRY_HOME, .* is '~nobody9/x': .* in full"):
        Settings()

    monkeypatch.setenv("REGISTRY_HOME", "/x")
    assert Settings().home == Path("/x")
