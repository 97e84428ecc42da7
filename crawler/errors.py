"""What can go wrong between us and the outside world, and the root of all our errors.

The root is here because every other package may import the crawler, and it imports none. Its
children are the packages' base classes; `except AutoLoraError` is all that these packages
raise on purpose:

AutoLoraError
  CrawlerError
    SourceError
      AddressRefusedError
      NoAnswerError
      HubRestingError
      RangeError
      GoneError
      AccessDeniedError
        WithheldError
      NoAdapterError
      FolderError
    DownloadError
      FileTooLargeError
      NoRoomError
      HashMismatchError
    CoverError
  EncoderError
    LoraFileError
      NotSafetensorsError
      HeaderError
      UnsupportedLoraError
      BadWeightsError
    BaseWeightNeededError
    UnknownClaimError
    SketchError
    TextEncoderError
    ImageEncoderError
    FingerprintError
    CheckpointError
    TrainingDataError
    CaptionError
    CaptionerError
  RegistryError
    BusyError
    UploadsBusyError
    FilesBusyError
    StreamsBusyError
    UsageError
    PortError
    RemoteError
      RemoteUnreachableError
        RemoteBrokenOffError
      RemoteSenseError
      RemoteRefusedError
      RemoteLacksError
      RemoteFileError
    TokenPlaceError
    SettingError
    SettingsFileError
    DatabaseError
      DatabaseLostError
      DatabaseRoomError
      DatabaseGoneError
      DatabaseClosedError
      DatabaseAwayError
      DatabaseBusyError
    RefreshUnderWayError
    DatabaseRightsError
    NumberTooLargeError
    DiskError
      DiskClosedError
      DiskFullError
      BlobStoreError
    BlobNotFoundError
    UnknownFileError
    FileNotKeptError
    FileWithheldError
    BlobMismatchError
    FileInTheWayError
    FolderClosedError
    CaptionSettingsError
    EncoderRejectedError
    EncoderNotFoundError
    NotEnoughToLearnError
    PromotionError
    EncoderInUseError
    UnknownSourceError
    CrawlFilterError
    NotReadyError
      EncoderLostError
      EncoderUnreadableError
    BackupError
    AdapterNotFoundError
    TokenNameError
    TokenNotFoundError
    NoFolderError
    FolderNotWatchedError
    FileTakenError
    NotTrashedError
    ImageNotFoundError
    ImageNotDoneError
    HasCoverError
    NoPreviewError
    NotRemovedError
    ImageRequestError
    RequestKeyError
    RequestUnderWayError
    CoverNotFoundError
    StrengthsError
    NoBaseModelError
    NoGatesError
    AdapterNotReadyError
    MissingExtraError
    FusionError
      AdapterRefusedError
        FamilyMismatchError
        NotFusableError
        CorruptAdapterError
      LayerMismatchError
      AlreadyAttachedError
      CompiledBaseError
      MissingGateError
      GatesFileError
      GatesMismatchError
      GateDataError
      GatePictureError
      BaseModelError
      DeviceMemoryError
      SamplingError
      ImageNameError
      GenerationCancelledError
      RecipeError
      ExportError
      ComfyUIError
        ComfyUINotSetError
        ComfyUIUnreachableError
        ComfyUIMissingFilesError
        ComfyUIRefusedError
    SearchError
      EmbeddingDimensionError
      EmptyQueryError
      LikenessError
      PictureError
      QueryTooLongError
      UnknownBaseModelError
      FilterError
      UnknownFilterValueError
      CursorError
        OtherQuestionError
      NothingIndexedError
      CalledAdapterError
      NothingFoundError
"""

from pathlib import Path

from crawler.foreign_text import one_line


class AutoLoraError(Exception):
    """Raised on purpose, by whichever package; its text is one bounded, harmless line for people.

    Other errors are bugs.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class CrawlerError(AutoLoraError):
    """Base of everything the crawler raises on purpose."""


class SourceError(CrawlerError):
    """A hub cannot be reached, or its answer makes no sense.

    `retryable`: the same question may be answered a moment later. `retry_after_seconds`:
    how long the hub asked us to stay away, where it said so.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class AddressRefusedError(SourceError):
    """An address that we do not visit: not https, or inside our own network."""


class NoAnswerError(SourceError):
    """Nothing came, or a status that says no more than that; `cause` in a few words."""

    def __init__(
        self,
        where: str,
        cause: str,
        *,
        retryable: bool,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.cause = one_line(cause, 200)
        super().__init__(
            f"{where} cannot be fetched ({self.cause}). Check the network; running again "
            "continues from here.",
            retryable=retryable,
            retry_after_seconds=retry_after_seconds,
        )


class HubRestingError(SourceError):
    """A hub is not asked for a while: it failed several times in a row, or asked for that itself.

    `rests` counts those since it last answered.
    """

    def __init__(
        self, title: str, seconds: float, rests: int, *, is_asked_for: bool = False
    ) -> None:
        self.rests, self.is_asked_for = rests, is_asked_for
        why = "asked for a rest" if is_asked_for else "failed several times in a row"
        super().__init__(
            f"{title} {why} and rests for {seconds:.0f} seconds",
            retryable=True,
            retry_after_seconds=seconds,
        )


class RangeError(SourceError):
    """A server does not go on where we stopped; begin anew."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class GoneError(SourceError):
    """The hub says that there is no such thing (any more).

    `withdrawn`: it was there, and was taken away on purpose.
    """

    def __init__(self, message: str, *, withdrawn: bool = False) -> None:
        super().__init__(message)
        self.withdrawn = withdrawn


class AccessDeniedError(SourceError):
    """The hub gives this only to others: another account, or one that pays."""


class WithheldError(AccessDeniedError):
    """The hub gives a file to nobody, which its listing did not tell; the text is the reason."""


class NoAdapterError(SourceError):
    """A repository is there and tells its files, of which none is an adapter (any more)."""


class DownloadError(CrawlerError):
    """A file cannot be had: unsafe name, broken transfer, full disk."""


class FileTooLargeError(DownloadError):
    """A file is larger than files may be."""

    def __init__(self, name: str, size: int, limit: int) -> None:
        super().__init__(
            f"{name} has {size:,} bytes or more; files above {limit:,} are not fetched. Raise "
            "REGISTRY_MAX_FILE_BYTES if it is worth that."
        )


class NoRoomError(DownloadError):
    """A file would enter the space that stays free on its disk."""

    def __init__(self, name: str, size: int, free: int, reserved: int) -> None:
        super().__init__(
            f"{name} needs {size:,} bytes and the disk has {free:,}, of which {reserved:,} stay "
            "free (REGISTRY_RESERVED_BYTES). Free space, then run again."
        )


class HashMismatchError(DownloadError):
    """The bytes that came are not those that the hub announced."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(
            f"{name}: {cause}. Nothing was kept; the next crawl tries again, and if this stays "
            "the file is damaged at the hub."
        )


class FolderError(SourceError):
    """A folder given as a source cannot be read."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(f"folder {folder} cannot be crawled: {cause}")


class CoverError(CrawlerError):
    """A cover is not an image that we keep."""
