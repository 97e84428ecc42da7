"""What `autolora inspect` knows of a file."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.adapter.file_hashes import FileHashes
    from encoder.adapter.verdict import Verdict
    from encoder.sketches.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of a file; of a remote one, only what its header tells."""

    name: str
    verdict: "Verdict"
    hashes: "FileHashes | None" = None
    fingerprint: "Fingerprint | None" = None

    def to_json(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"name": self.name, "header_only": self.hashes is None}
        facts |= self.verdict.to_json()
        if self.hashes:
            facts["hashes"] = {
                "sha256": self.hashes.sha256,
                "body_sha256": self.hashes.body_sha256,
                "autov2": self.hashes.autov2,
                "autov3": self.hashes.autov3,
            }
        if self.fingerprint:
            facts["fingerprint"] = {
                "version": self.fingerprint.version,
                "short": self.fingerprint.short(),
                "log_norm": self.fingerprint.log_norm,
                "base64": base64.b64encode(self.fingerprint.to_bytes()).decode(),
            }
        return facts
