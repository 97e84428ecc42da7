"""TLS before a PostgreSQL that has none, as a server elsewhere has it."""

import select
import socket
import ssl
import struct
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import make_url

# What asks for TLS before anything else [1].
# - [1] https://www.postgresql.org/docs/current/protocol-message-formats.html
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsDoor:
    """Lets in whoever asks for TLS, and counts who does not."""

    def __init__(self, database_url: str, folder: Path) -> None:
        database = make_url(database_url)
        self._behind = f"{database.query['host']}/.s.PGSQL.{database.query['port']}"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(_self_signed(folder))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = database.set(
            host="127.0.0.1", port=self._door.getsockname()[1], query={}
        ).render_as_string()
        self.in_the_clear = 0
        self._letting_in = threading.Thread(target=self._let_in)

    def __enter__(self) -> Self:
        self._letting_in.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone leaves whoever waits there waiting.
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._letting_in.join()

    def _let_in(self) -> None:
        with suppress(OSError):
            while True:
                guest, _ = self._door.accept()
                if guest.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                    self.in_the_clear += 1
                    guest.close()
                    continue
                guest.sendall(b"S")
                threading.Thread(target=self._serve, args=[guest]).start()

    def _serve(self, guest: socket.socket) -> None:
        with (
            self._context.wrap_socket(guest, server_side=True) as inside,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.connect(self._behind)
            others: dict[socket.socket, socket.socket] = {inside: server, server: inside}
            with suppress(OSError):
                while True:
                    for giver in select.select(list(others), [], [])[0]:
                        data = giver.recv(65_536)
                        if not data:
                            return
                        others[giver].sendall(data)


def _self_signed(folder: Path) -> Path:
    """Write a key and its certificate into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    day = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(day - timedelta(days=1))
        .not_valid_after(day + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "door.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return path
