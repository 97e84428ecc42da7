"""What can go wrong in the registry."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.counted import counted
from crawler.errors import AutoLoraError

if TYPE_CHECKING:
    from pydantic import ValidationError


class RegistryError(AutoLoraError):
    """Base of the registry's errors; its text is one line: what, which, what to do."""


class TokenPlaceError(RegistryError):
    """A token was set in one place, and the address that it would go to in another."""

    def __init__(self, token: str, of_token: str, address: str, of_address: str) -> None:
        token, address = f"REGISTRY_{token.upper()}", f"REGISTRY_{address.upper()}"
        super().__init__(
            f"{token} is set in {of_token} and {address} in {of_address}; a token goes only to "
            f"the address that it was set with. Set both in {of_token}, or unset one."
        )


class SettingError(RegistryError):
    """A setting is none that it can be; `value` is None where it is a secret."""

    def __init__(self, name: str, place: str, value: str | None, wanted: str) -> None:
        said = "" if value is None else f" is {value}"
        super().__init__(
            f"{name}, set in {place},{said or ' cannot be used'}: {wanted}. "
            "docs/operations.md lists the settings."
        )


class SettingsFileError(RegistryError):
    """The file of settings in the folder at hand cannot be read."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"the settings in {name} of this folder cannot be read: {why}. Mend it or its "
            "permissions, or work in another folder."
        )


class HomeUnknownError(RegistryError):
    """No home is set, and the user has no folder that it would lie in."""

    def __init__(self) -> None:
        super().__init__(
            "this user has no name here and no HOME, so the registry has no folder to lie in. "
            "Set REGISTRY_HOME to one."
        )


class DatabaseError(RegistryError):
    """The database cannot be started, reached or migrated."""


class DatabaseLostError(DatabaseError):
    """The database went away while it was in use. Nothing half done was stored."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"the database connection was lost ({cause}). What was stored is safe: "
            "see that PostgreSQL runs, then run the same command again."
        )


class RefreshUnderWayError(RegistryError):
    """Two refreshes of one origin would each take the other's adapters for vanished."""

    def __init__(self, hub: str, endpoint: str) -> None:
        super().__init__(
            f"another process is refreshing {hub} at {endpoint}; this one did nothing. "
            "Run it again when that one has ended (`autolora serve` shows runs at /v1/runs)."
        )


class DatabaseRoomError(DatabaseError):
    """The database cannot be made or started for lack of room on its disk."""

    def __init__(self, path: Path, free: int, needed: int) -> None:
        super().__init__(
            f"PostgreSQL cannot start: the disk of {path} has {free // 2**20} MB free, and it "
            f"needs some {needed // 2**20} MB. Free that much, then run the same command again: "
            "what was stored is safe."
        )


class DatabaseGoneError(DatabaseError):
    """The embedded database's folder was there, and is not any more."""

    def __init__(self, data: Path) -> None:
        super().__init__(
            f"the database's folder {data} is gone: it was moved or removed, or its disk is not "
            "mounted. Bring it back and go on, or restore a backup into another REGISTRY_HOME."
        )


class DatabaseClosedError(DatabaseError):
    """The embedded database's folder lies where this user may not look."""

    def __init__(self, data: Path, why: str) -> None:
        super().__init__(
            f"the database's folder {data} cannot be looked at: {why}. Run as its owner, or set "
            "REGISTRY_HOME to a folder of your own."
        )


class DatabaseAwayError(DatabaseError):
    """A home has blobs and no database, which one that was used has."""

    def __init__(self, data: Path, blobs: Path) -> None:
        super().__init__(
            f"there is no database in {data}, but what one counts on is in {blobs}: it was moved "
            "or removed, or its disk is not mounted. Bring it back, or restore a backup into "
            f"another REGISTRY_HOME. To begin with an empty one, move {blobs} away as well."
        )


class DatabaseRightsError(RegistryError):
    """The database does not let its role do something, or takes no changes."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"the database does not allow this: {cause}. REGISTRY_DATABASE_URL has to name a "
            "server that takes changes, and the role that owns the tables or one with its rights."
        )


class DatabaseBusyError(DatabaseError):
    """Too many wait for the database."""

    def __init__(self) -> None:
        super().__init__("the database does not keep up; try again in a moment.")


class NumberTooLargeError(RegistryError):
    """A number that was given is larger than any that the database holds."""

    def __init__(self, said: str) -> None:
        super().__init__(f"a number is too large to be that of anything here ({said}).")


class DiskError(RegistryError):
    """Nothing can be stored where blobs lie, whatever it is."""


class DiskClosedError(DiskError):
    """A disk, or a folder of ours on it, lets nothing be written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"nothing can be written to {path}: {why}. Mend its permissions or its mount, then run "
            "the same command again: it goes on where it stopped."
        )


class DiskFullError(DiskError):
    """A disk has no room left for what had to be written."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"no space left on the disk of {path}. Free some, or point REGISTRY_HOME at a "
            "larger disk, then run the same command again: it goes on where it stopped."
        )


class BlobNotFoundError(RegistryError):
    """The blob store does not hold these bytes."""

    def __init__(self, sha256: str) -> None:
        super().__init__(
            f"the blob store has no {sha256}. Run `autolora refresh --full`, with the `--source` "
            "that it came from, to fetch it again."
        )


class UnknownFileError(RegistryError):
    """No adapter here has a file of this hash, or none that is ready."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"no adapter that is ready here has a file with the hash {sha256}.")


class FileNotKeptError(RegistryError):
    """A file was read here and not kept, and something needs it."""

    def __init__(self, sha256: str, page_url: str | None) -> None:
        place = f" It is at {page_url}." if page_url else ""
        super().__init__(
            f"the file {sha256[:12]}… was read and is not kept here (REGISTRY_KEEP_FILES).{place} "
            "To have it here set REGISTRY_KEEP_FILES=all, or =fusable with its base model in "
            "REGISTRY_BASE_MODELS, and run `autolora refresh`."
        )


class BlobStoreError(DiskError):
    """The blob store that machines share does not do what it is asked, of whichever blob."""

    def __init__(self, url: str, said: str) -> None:
        super().__init__(
            f"the blob store {url} answers: {said.rstrip('.')}. Check REGISTRY_BLOBS_URL, and the "
            "keys and the endpoint in the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL)."
        )


class FileWithheldError(RegistryError):
    """A file is here that must not be handed out."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the file of {name} was refused and is not handed out: {reason}")


class BlobMismatchError(RegistryError):
    """Bytes do not have the hash they were announced with."""

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(f"{name} has sha256 {got}, not {expected} as announced; not stored.")


class FileInTheWayError(RegistryError):
    """A file would replace another one."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is another file; move it away, or choose another folder.")


class FolderClosedError(RegistryError):
    """A file cannot be written where it was to go."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(
            f"nothing can be written to {folder.absolute()}: {cause}. Make that folder, or choose "
            "another."
        )


class CaptionSettingsError(RegistryError):
    """The settings name nothing that writes captions, or too much."""


class EncoderRejectedError(RegistryError):
    """A weight encoder cannot serve this registry."""


class EncoderNotFoundError(RegistryError):
    """No weight encoder has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        there = f"There are: {', '.join(known)}." if known else "None is registered."
        super().__init__(f"there is no encoder {name!r}. {there}")


class NotEnoughToLearnError(RegistryError):
    """The index has too little to train an encoder on."""


class PromotionError(RegistryError):
    """An encoder may not serve, or there is none to go back to."""


class EncoderInUseError(RegistryError):
    """An encoder cannot be removed: search uses it, or a rollback would."""


class UnknownSourceError(RegistryError):
    """Nothing here takes an address that adapters should come from."""

    def __init__(self, address: str, possible: Sequence[str]) -> None:
        why = "no source takes it" if "://" in address else "there is no such folder here"
        if address.lower().endswith(".safetensors"):
            why = "a file is taken with the folder that it lies in"
        if not address.strip():
            why = "it is empty"
        super().__init__(f"cannot crawl {address!r}: {why}. Possible are: {'; '.join(possible)}.")


class CrawlFilterError(RegistryError):
    """A crawl is asked for a base model that hubs have no word for."""

    def __init__(self, base_model: str, known: Sequence[str]) -> None:
        super().__init__(
            f"cannot crawl for base model {base_model!r}: it is not known here. Known are: "
            f"{', '.join(sorted(known))}."
        )


class NotReadyError(RegistryError):
    """The registry answers, but not as it should."""


class EncoderLostError(NotReadyError):
    """The blob store has no checkpoint of an encoder that search uses."""

    def __init__(self, name: str, base_model: str) -> None:
        super().__init__(
            f"the checkpoint of encoder {name} is not in the blob store. Register it again by "
            "`autolora encoders add FILE`, or go back to the one before by "
            f"`autolora encoders rollback {base_model}`."
        )


class EncoderUnreadableError(NotReadyError):
    """The checkpoint of an encoder that search uses is damaged, or of another version."""

    def __init__(self, name: str, base_model: str, fault: str) -> None:
        super().__init__(
            f"encoder {name} cannot be read: its checkpoint is damaged, or was written by another "
            f"version ({fault[:200]}). Register one that this version reads by "
            "`autolora encoders add FILE`, or go back to the one before by "
            f"`autolora encoders rollback {base_model}`."
        )


class BackupError(RegistryError):
    """A backup cannot be made there, or is none that can be restored here."""


class AdapterNotFoundError(RegistryError):
    """No adapter has this id."""

    def __init__(self, adapter_id: int) -> None:
        super().__init__(f"there is no adapter {adapter_id}. `autolora list` lists the ones here.")


class TokenNameError(RegistryError):
    """A token is to be made for nobody."""

    def __init__(self) -> None:
        super().__init__(
            "a token needs a name, by which it is found when it is to be revoked; say whose it is, "
            "or what for."
        )


class TokenNotFoundError(RegistryError):
    """No token of this id opens anything."""

    def __init__(self, token_id: int) -> None:
        super().__init__(f"no token {token_id} is valid. `autolora token list` lists them.")


class NoFolderError(RegistryError):
    """A path cannot be watched."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"{path!r} cannot be added: {cause}.")


class FolderNotWatchedError(RegistryError):
    """A folder was never added, or was removed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path!r} is not among the folders that are watched.")


class FileTakenError(RegistryError):
    """A file that was sent cannot be kept."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name!r} is not taken: {cause}.")


class NotTrashedError(RegistryError):
    """A file cannot be moved to the trash."""

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(f"{what} is not moved to the trash: {cause}.")


class ImageNotFoundError(RegistryError):
    """No image of this id was asked for, or it was removed."""

    def __init__(self, image_id: int) -> None:
        super().__init__(f"there is no image {image_id}; it may have been removed.")


class ImageNotDoneError(RegistryError):
    """An image has no picture: it waits, is drawn, or came to nothing."""

    def __init__(self, image_id: int, state: str) -> None:
        super().__init__(f"image {image_id} has no picture; its state is: {state}.")


class HasCoverError(RegistryError):
    """A cover is to be drawn for an adapter that came with one."""

    def __init__(self, name: str, adapter_id: int) -> None:
        super().__init__(
            f"adapter {adapter_id} ({name}) came with a cover; only those without are drawn one."
        )


class NoPreviewError(RegistryError):
    """There is no look at an image before it is done."""

    def __init__(self, image_id: int) -> None:
        super().__init__(
            f"there is no preview of image {image_id}: only what this server has drawn for a "
            "second has one, until it is done."
        )


class NotRemovedError(RegistryError):
    """An adapter is to be taken back that was not taken out."""

    def __init__(self, adapter_id: int) -> None:
        super().__init__(f"adapter {adapter_id} was not taken out by a person.")


class ImageRequestError(RegistryError):
    """Images are asked for in a way that makes no sense."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"no image can be drawn: {cause}.")


class RequestKeyError(RegistryError):
    """A key that names a request came with another one."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was sent with another request; take a fresh one.")


class RequestUnderWayError(RegistryError):
    """A request is sent again while it is being answered."""

    def __init__(self) -> None:
        super().__init__("this request is being answered; send it again in a moment.")


class CoverNotFoundError(RegistryError):
    """An adapter has no cover at this position."""

    def __init__(self, adapter_id: int, position: int) -> None:
        super().__init__(f"adapter {adapter_id} has no cover {position}.")


class StrengthsError(RegistryError):
    """Strengths do not go with the adapters."""

    def __init__(self, strengths: int, adapters: int) -> None:
        super().__init__(
            f"{counted(strengths, 'strength was', 'strengths were')} given for "
            f"{counted(adapters, 'adapter')}; "
            "give one for each adapter that is named, in the same order."
        )


class NoBaseModelError(RegistryError):
    """There is no folder to load a base model from."""

    def __init__(self, base_model: str) -> None:
        super().__init__(
            f"no folder is configured for base model {base_model!r}; set "
            f"""REGISTRY_BASE_MODELS='{{"{base_model}": "/path/to/diffusers/folder"}}'."""
        )


class NoGatesError(RegistryError):
    """Fusing by gates needs gates trained for the base model."""

    def __init__(self, base_model: str) -> None:
        super().__init__(
            f"no gates are configured for base model {base_model!r}; set "
            f"""REGISTRY_GATES='{{"{base_model}": "/path/to/gates.safetensors"}}', """
            "or choose mode 'average'."
        )


class AdapterNotReadyError(RegistryError):
    """An adapter has no file here to load."""

    def __init__(self, name: str, adapter_id: int) -> None:
        super().__init__(
            f"adapter {adapter_id} ({name}) has no file here; "
            f"`autolora show {adapter_id}` says why."
        )


class MissingExtraError(RegistryError):
    """Libraries for making images are not installed."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"making images needs {', '.join(missing)}, not installed here; "
            "install them with `pip install 'autolora-registry[fusion]'`."
        )


def first_fault(error: "ValidationError") -> str:
    """Say where what was given is at fault, and how: the first of its faults."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}"
