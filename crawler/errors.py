"""What can go wrong between us and the outside world, and the root of all our errors.

The root is here because every other package may import the crawler, and it imports none. Its
children are the packages' base classes; `except AutoLoraError` is all that these packages
raise on purpose:

AutoLoraError
  CrawlerError
    SourceError
      AddressRefusedError
      GoneError
      FolderError
    DownloadError
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
    FingerprintError
    CheckpointError
    TrainingDataError
  RegistryError
    BusyError
    CursorError
    UsageError
    PortError
    DatabaseError
      DatabaseLostError
    RefreshUnderWayError
    DiskFullError
    BlobNotFoundError
    BlobMismatchError
    EncoderRejectedError
    EncoderNotFoundError
    PromotionError
    UnknownSourceError
    AdapterNotFoundError
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
      BaseModelError
      DeviceMemoryError
      SamplingError
      GenerationCancelledError
      RecipeError
      ExportError
    RemoteError
      RemoteUnreachableError
      RemoteRefusedError
    SearchError
      EmbeddingDimensionError
      EmptyQueryError
      QueryTooLongError
      UnknownBaseModelError
      NothingIndexedError
      NothingFoundError
"""

from pathlib import Path


class AutoLoraError(Exception):
    """Raised on purpose, by whichever package; its text is for people. Other errors are bugs."""


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


class GoneError(SourceError):
    """The hub says that there is no such thing (any more), or not for us."""


class DownloadError(CrawlerError):
    """A file cannot be had: unsafe name, broken transfer, full disk."""


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
