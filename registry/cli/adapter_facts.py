"""All that is known of one adapter, for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crawler.counted import counted
from registry.cli.output import counts_in_words, first_of, print_facts, range_in_words, stdout

if TYPE_CHECKING:
    from registry.api.schemas.adapters import AdapterDetailAnswer

# Of layers: the others are in what programs get.
MOST_NAMES = 8


def print_detail(detail: "AdapterDetailAnswer") -> None:
    facts: dict[str, Any] = {
        "name": detail.name,
        "author": detail.author,
        "base model": detail.base_model,
        "claimed": _claimed(detail),
        "trigger words": ", ".join(detail.trigger_words),
        "strength": "" if detail.strength is None else f"{detail.strength:g}",
        "negative prompt": detail.negative_prompt,
        "tags": ", ".join(detail.tags),
        "licence": detail.licence or "not stated",
        "hub": f"{detail.hub} {detail.repo} {detail.version}".strip(),
        "page": detail.page_url or "",
        "downloads": detail.downloads,
        "updated": detail.updated_at.date(),
        "file": detail.file_name,
        "size": "" if detail.file_size is None else f"{detail.file_size:,} bytes",
        "sha256": detail.file_sha256 or "",
        "AutoV2": detail.autov2 or "",
        "AutoV3": detail.autov3 or "",
        "state": _state(detail),
        "description": detail.description,
    }
    print_facts(facts)
    if detail.verdict:
        stdout().print("\nwhat the file says", style="bold")
        print_facts(_verdict_facts(detail.verdict))
    for cover in detail.covers:
        line = f"cover {cover.position}: {cover.width}x{cover.height} {cover.prompt or ''}".strip()
        # A caption that was made of the prompt says the same again.
        said = [caption for caption in cover.captions if caption != cover.prompt]
        for text in (line, *(f"  {caption}" for caption in said)):
            stdout().print(text, markup=False, style="dim", soft_wrap=True)


def print_claim(detail: "AdapterDetailAnswer") -> None:
    """Say what an adapter is for now, by whose word, and what its file says to that."""
    facts: dict[str, Any] = {
        "adapter": detail.name,
        "base model": detail.base_model,
        "claimed": _claimed(detail),
        "evidence": (detail.verdict or {}).get("evidence", []),
        "fusable": _yes_or_no(detail.fusable),
        "state": _state(detail),
    }
    print_facts(facts)


def _claimed(detail: "AdapterDetailAnswer") -> str:
    if detail.claim is None:
        return ""
    base_model = detail.claim.base_model
    is_ruled_out = base_model in (detail.verdict or {}).get("ruled_out", ())
    doubt = "; not believed, for its layers rule it out: --withdraw takes it back"
    return f"{base_model}, by {detail.claim.who}{doubt if is_ruled_out else ''}"


def _state(detail: "AdapterDetailAnswer") -> str:
    return detail.state + (f": {detail.refusal}" if detail.refusal else "")


def _verdict_facts(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stored verdict says, without the names of all layers: those are for programs.

    What it does not know is empty.
    """
    said = {name: verdict.get(name) for name in ("format", "names", "base_model", "confidence")}
    return {
        "format": "{format}, {names} names".format(**said),
        "trainer": verdict.get("trainer"),
        "base model": "{base_model} ({confidence})".format(**said),
        "evidence": verdict.get("evidence"),
        "kinds": counts_in_words(verdict.get("kinds", {})),
        "ranks": range_in_words(verdict.get("ranks", ())),
        "scale": _scale(verdict.get("scales", ()), verdict.get("alpha", "")),
        "weights": verdict.get("dtype"),
        "parts": counts_in_words(verdict.get("parts", {})),
        "left alone": _layers(verdict.get("missing"), "more of the base's"),
        "zero layers": first_of(verdict.get("zero_layers", ()), MOST_NAMES),
        "damaged": first_of(verdict.get("damaged_layers", ()), MOST_NAMES),
        "unmatched": first_of(verdict.get("unmatched", ()), MOST_NAMES),
        "trigger words": ", ".join(verdict.get("trigger_words", ())),
        "loadable": _yes_or_no(verdict.get("loadable")),
        "fusable": _yes_or_no(verdict.get("fusable")),
        "note" if verdict.get("fusable") else "because": verdict.get("reasons"),
        "not compared": verdict.get("sketch_refusal"),
    }


def _layers(number: int | None, which: str) -> str:
    return f"{counted(number, 'layer')} {which}" if number else ""


def _scale(scales: Sequence[float], rule: str) -> str:
    """Say what changes are multiplied by, and by what rule; "1: …" says both."""
    return f"{range_in_words(scales)} ({rule})" if scales and not rule.startswith("1:") else rule


def _yes_or_no(value: object) -> str:
    return "yes" if value else "no"
