"""Adapters in a PostgreSQL of their own, and what it takes for duplicates of them."""

from pathlib import Path

import numpy as np
from rich.progress import track
from sqlalchemy import insert
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.search.world import DAY
from demo.listing import BASE_MODEL
from encoder.adapter.file_hashes import hash_adapter
from encoder.adapter.lora_file import read
from encoder.sketches.fingerprint import fingerprint
from registry.db.models import Adapter, File
from registry.retrieval.duplicates import find_duplicates


class Index:
    """Adapters by what they are, in the order of their ids."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self.sessions = sessions
        self.what: list[tuple[str, str]] = []  # (key of the original, how it was written)

    def add(self, path: Path, key: str, what: str) -> None:
        hashes, taken = hash_adapter(path), fingerprint(read(path))
        self.what.append((key, what))
        number = len(self.what)
        file = {
            "sha256": f"{number:02d}{hashes.sha256}",
            "size": 1,
            "base_model": BASE_MODEL,
            "body_sha256": hashes.body_sha256,
            "fingerprint": taken.direction.tolist(),
            "log_norm": taken.log_norm,
        }
        words = dict.fromkeys(("author", "description", "version", "page_url", "words"), "")
        adapter = {
            "id": number,
            "hub": "zoo",
            "repo": str(number),
            "file_name": "",
            "name": what,
            "trigger_words": [],
            "tags": [],
            "base_model": BASE_MODEL,
            "downloads": 0,
            "hub_created_at": DAY,
            "hub_updated_at": DAY,
            "file_sha256": file["sha256"],
            "state": "ready",
            **words,
        }
        with self.sessions.begin() as session:
            session.execute(insert(File), [file])
            session.execute(insert(Adapter), [adapter])

    def ask(self) -> tuple[dict[str, list[tuple[str, float]]], int, int]:
        """Ask every original; return by kind of variant what it was found as, and false finds.

        Of variants that were not found the answer is ("", nan).
        """
        found: dict[str, list[tuple[str, float]]] = {}
        wrong = total = 0
        variants: dict[str, list[int]] = {}
        for number, (key, what) in enumerate(self.what, start=1):
            if what != "original":
                variants.setdefault(key, []).append(number)
        with self.sessions() as session:
            for number, (key, what) in enumerate(track(self.what, "Asking"), start=1):
                if what != "original":
                    continue
                answers = {one.adapter_id: one for one in find_duplicates(session, number)}
                total += len(answers)
                wrong += sum(self.what[id_ - 1][0] != key for id_ in answers)
                for variant in variants.get(key, []):
                    answer = answers.get(variant)
                    as_what = (answer.kind, answer.similarity) if answer else ("", float("nan"))
                    found.setdefault(self.what[variant - 1][1], []).append(as_what)
        return found, wrong, total


def largest_similarity(sessions: sessionmaker[Session], originals: int) -> list[float]:
    """Return the largest similarity of each adapter with any of another making, sorted."""
    with sessions() as session:
        rows = session.query(File.fingerprint).limit(originals).all()
    vectors = np.stack([np.asarray(row.fingerprint, np.float32) for row in rows])
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    return sorted(similarity.max(axis=1).tolist())
