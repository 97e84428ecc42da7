"""Captions by a vision model: which images wait for them, who is at them, and what came of it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    all_,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session, aliased

from encoder.captions.captioner import Language
from registry.db.adapters import label
from registry.db.models import Adapter, Caption, CaptionEmbedding, Cover, ImageCaptions
from registry.db.pending import ALIVE

# Runs in which an image may fail before it is given up.
MOST_FAILURES = 3
# A description of so many characters says something; shorter ones are "my first LoRA".
GOOD_DESCRIPTION = 100


class CaptionVersion(NamedTuple):
    """What is asked for; captions of two versions stand side by side."""

    model: str
    prompt_version: str
    language: Language


class Wanted(NamedTuple):
    """Which images are to be captioned: those without captions of a version.

    What was tried at `before` or later is left out, for a bad answer waits for another run;
    `again` takes in what was given up.
    """

    version: CaptionVersion
    before: datetime
    again: bool = False


class PendingImage(NamedTuple):
    """An image to caption, named after one of the adapters that it is a cover of."""

    sha256: str
    adapter: str


class Texts(NamedTuple):
    """What was seen in an image, at three lengths."""

    short: str
    medium: str
    long: str


def _of(version: CaptionVersion) -> ColumnElement[bool]:
    return and_(
        ImageCaptions.model == version.model,
        ImageCaptions.prompt_version == version.prompt_version,
        ImageCaptions.language == version.language,
    )


def _waiting(wanted: Wanted) -> Select[str]:
    """Hashes of covers that wait for captions."""
    settled: ColumnElement[bool] = ImageCaptions.short.is_not(None)
    if not wanted.again:
        settled = or_(settled, ImageCaptions.failures >= MOST_FAILURES)
    is_done = exists().where(
        ImageCaptions.image_sha256 == Cover.sha256,
        _of(wanted.version),
        or_(settled, ImageCaptions.tried_at >= wanted.before),
    )
    return (
        select(Cover.sha256)
        .join(Adapter, Adapter.id == Cover.adapter_id)
        .where(ALIVE, ~is_done)
        .group_by(Cover.sha256)
    )


def count_waiting(session: Session, wanted: Wanted) -> int:
    """Return how many images wait for captions."""
    waiting = _waiting(wanted).subquery()
    return session.scalars(select(func.count()).select_from(waiting)).one()


def list_waiting(
    session: Session, wanted: Wanted, limit: int, *, but: Collection[str] = ()
) -> list[PendingImage]:
    """Return images that wait, `but` some: those first whose adapters have no good words.

    Then first covers before others, and what is downloaded most.
    """
    other = aliased(Cover)
    has_prompt = exists().where(other.adapter_id == Adapter.id, other.prompt != "")
    has_words = or_(has_prompt, func.length(Adapter.description) >= GOOD_DESCRIPTION)
    # One value, however many they are: a statement has 65,535 at most.
    left_out = literal(list(but), ARRAY(Text))
    waiting = _waiting(wanted).where(Cover.sha256 != all_(left_out))
    query = waiting.order_by(
        func.bool_and(has_words),
        func.min(Cover.position),
        func.max(Adapter.downloads).desc(),
        Cover.sha256,
    )
    return _named(session, query.limit(limit))


def still_waiting(session: Session, wanted: Wanted, hashes: Sequence[str]) -> list[PendingImage]:
    """Return those of some images that wait, in their order."""
    found = _named(session, _waiting(wanted).where(Cover.sha256.in_(hashes)))
    return sorted(found, key=lambda image: hashes.index(image.sha256))


def _named(session: Session, query: Select[str]) -> list[PendingImage]:
    rows = session.execute(query.add_columns(func.min(Adapter.id).label("adapter_id"))).all()
    named = session.execute(
        select(Adapter.id, Adapter.repo, Adapter.version).where(
            Adapter.id.in_({row.adapter_id for row in rows})
        )
    )
    labels = {row.id: label(row.repo, row.version) for row in named}
    return [PendingImage(row.sha256, labels[row.adapter_id]) for row in rows]


def store_failure(session: Session, version: CaptionVersion, sha256: str, reason: str) -> None:
    """Note why an image has no captions; `MOST_FAILURES` runs try it before it is given up."""
    key = {"image_sha256": sha256, **version._asdict()}
    tried = func.clock_timestamp()
    session.execute(
        insert(ImageCaptions)
        .values(**key, failures=1, reason=reason, tried_at=tried)
        .on_conflict_do_update(
            index_elements=list(key),
            set_={"failures": ImageCaptions.failures + 1, "reason": reason, "tried_at": tried},
            where=ImageCaptions.short.is_(None),
        )
    )


def store_captions(session: Session, version: CaptionVersion, sha256: str, texts: Texts) -> None:
    """Store what was seen in an image, for all covers that it is; search uses this from now on."""
    key = {"image_sha256": sha256, **version._asdict()}
    said = {**texts._asdict(), "reason": None, "tried_at": func.clock_timestamp()}
    session.execute(
        insert(ImageCaptions)
        .values(**key, **said)
        .on_conflict_do_update(index_elements=list(key), set_=said)
    )
    _copy(session, [sha256])
    covers = select(Cover.id).where(Cover.sha256 == sha256)
    is_this = and_(Caption.model == version.model, Caption.prompt_version == version.prompt_version)
    session.execute(
        update(Caption)
        .where(
            Caption.cover_id.in_(covers),
            Caption.source == "vlm",
            Caption.language == version.language,
        )
        .values(superseded=~is_this)
    )


def use_again(session: Session, version: CaptionVersion) -> None:
    """Let search use the captions of a version wherever there are some, however old they are.

    For who went back to an earlier model: those images are not captioned anew.
    """
    is_this = and_(Caption.model == version.model, Caption.prompt_version == version.prompt_version)
    has_these = exists().where(
        Cover.id == Caption.cover_id,
        ImageCaptions.image_sha256 == Cover.sha256,
        ImageCaptions.short.is_not(None),
        _of(version),
    )
    turned = (
        select(Caption.id)
        .where(
            Caption.source == "vlm",
            Caption.language == version.language,
            Caption.superseded == is_this,
            has_these,
        )
        # Whoever is captioning an image says itself what is used of it.
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(Caption).where(Caption.id.in_(turned)).values(superseded=~Caption.superseded)
    )


def forget_unsaid(session: Session) -> int:
    """Delete the embeddings of texts that no caption has any more; return how many.

    Those of superseded captions stay, for who goes back to an earlier model.
    """
    said = exists().where(Caption.text_md5 == CaptionEmbedding.text_md5)
    deleted = session.execute(delete(CaptionEmbedding).where(~said))
    return int(deleted.rowcount)  # type: ignore[attr-defined]


def copy_to_covers(session: Session) -> None:
    """Give covers the captions that their image has already: it is listed elsewhere, or moved."""
    _copy(session, None)


def _copy(session: Session, hashes: Collection[str] | None) -> None:
    """Insert what covers lack of their images' captions, of all images or of these."""
    newer = aliased(ImageCaptions)
    superseded = exists().where(
        newer.image_sha256 == ImageCaptions.image_sha256,
        newer.language == ImageCaptions.language,
        newer.short.is_not(None),
        newer.tried_at > ImageCaptions.tried_at,
    )
    version = (ImageCaptions.language, ImageCaptions.model, ImageCaptions.prompt_version)
    columns = ["cover_id", "source", "language", "model", "prompt_version", "superseded"]
    lacking = (
        select(Cover.id, literal("vlm"), *version, superseded)
        .join(ImageCaptions, ImageCaptions.image_sha256 == Cover.sha256)
        # A cover that a fetch replaces meanwhile is waited for, and left out.
        .with_for_update(of=Cover, read=True, key_share=True)
    )
    if hashes is not None:
        lacking = lacking.where(Cover.sha256.in_(hashes))
    for kind in Texts._fields:
        is_there = exists().where(
            Caption.cover_id == Cover.id,
            Caption.source == "vlm",
            Caption.kind == kind,
            tuple_(Caption.language, Caption.model, Caption.prompt_version) == tuple_(*version),
        )
        text = getattr(ImageCaptions, kind)
        texts = lacking.add_columns(literal(kind), text).where(text.is_not(None), ~is_there)
        session.execute(
            insert(Caption).from_select([*columns, "kind", "text"], texts).on_conflict_do_nothing()
        )


def count_given_up(session: Session, versions: Iterable[CaptionVersion]) -> int:
    """Return how many images failed too often to be tried again by themselves."""
    query = select(func.count()).where(
        or_(*(_of(version) for version in versions)),
        ImageCaptions.short.is_(None),
        ImageCaptions.failures >= MOST_FAILURES,
    )
    return session.scalars(query).one()
