"""Addresses of this API that its answers and its pages name."""


def cover_url(adapter_id: int, position: int, sha256: str) -> str:
    # The hash makes the address new when the image is, so browsers may keep it for good.
    return f"/v1/adapters/{adapter_id}/covers/{position}?v={sha256[:12]}"


def thumbnail_url(adapter_id: int, position: int, sha256: str) -> str:
    return f"{cover_url(adapter_id, position, sha256)}&thumbnail=1"
