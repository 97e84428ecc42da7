"""Addresses of a page that differ in what is asked for: links are all that filters need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Address:
    """A page's path and what is asked of it, in order; names may be there several times.

    Whatever changes leads to the first page again: cursors are of one question.
    """

    path: str
    asked: tuple[tuple[str, str], ...]

    def adding(self, name: str, value: str) -> str:
        """Return the address that asks for a value besides what there is."""
        kept = [pair for pair in self._first_page() if pair != (name, value)]
        return self._write([*kept, (name, value)])

    def removing(self, name: str, value: str) -> str:
        return self._write(pair for pair in self._first_page() if pair != (name, value))

    def setting(self, **values: str | int | None) -> str:
        """Return the address with these alone under their names, or without, where None."""
        kept = [(name, value) for name, value in self._first_page() if name not in values]
        given = [(name, str(value)) for name, value in values.items() if value is not None]
        return self._write([*kept, *given])

    def following(self, cursor: str) -> str:
        return self._write([*self._first_page(), ("cursor", cursor)])

    def without(self, names: Sequence[str]) -> str:
        return self._write(pair for pair in self._first_page() if pair[0] not in names)

    def _first_page(self) -> list[tuple[str, str]]:
        return [pair for pair in self.asked if pair[0] != "cursor"]

    def _write(self, asked: Iterable[tuple[str, str]]) -> str:
        query = urlencode(list(asked))
        return f"{self.path}?{query}" if query else self.path
