"""Which addresses the crawler may visit: urls come from strangers, our network is ours."""

import ipaddress
import socket
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from crawler.errors import AddressRefusedError, SourceError

Resolve = Callable[[str, int], list[str]]

# Public by its number, yet a cloud's host agent: Azure's wire server.
_HOST_AGENTS = {ipaddress.ip_address("168.63.129.16")}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"https": 443, "http": 80}


def resolve(host: str, port: int) -> list[str]:
    """Return the numeric addresses of a host name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"the name {host!r} cannot be resolved ({error}). Check the network and the name.",
            retryable=True,
        ) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def origin(url: str) -> str:
    """Return "scheme://host:port" of a url, lower case, its port spelled out.

    Raises:
        AddressRefusedError: there is no such part, or it is not http.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        raise AddressRefusedError(f"{shown(url)} is not an address: {error}") from error
    if not parts.hostname or port is None:
        raise AddressRefusedError(f"{shown(url)} is not an http address")
    return f"{parts.scheme}://{parts.hostname}:{port}"


def shown(url: str) -> str:
    """Return a url for messages and logs: no user, no query (signatures), not endless."""
    bare = url.split("?")[0].split("#")[0]
    scheme, separator, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"[:200]


def is_loopback(url: str) -> bool:
    """True where the url's host is this machine, by name or number."""
    host = (urlsplit(url).hostname or "").split("%")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """True for a numeric address out on the internet."""
    number = ipaddress.ip_address(address.split("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        # A private IPv4 address can hide in several kinds of IPv6 address.
        if number in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)))
        if number.sixtofour or number.teredo:
            return False
        if number.ipv4_mapped:
            return is_public(str(number.ipv4_mapped))
    return number.is_global and not number.is_multicast and number not in _HOST_AGENTS


class AddressGuard:
    """Says which urls and addresses may be visited.

    Only https to the public internet, except for the origins that the operator named
    ("http://127.0.0.1:8090"): those may be anything.
    """

    def __init__(self, allowed_origins: Collection[str] = (), resolve: Resolve = resolve) -> None:
        self._allowed = {origin(url) for url in allowed_origins}
        self._resolve = resolve

    def check_url(self, url: str) -> None:
        """Refuse what can be refused before a name is resolved.

        Raises:
            AddressRefusedError: with the reason.
        """
        found = origin(url)
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise AddressRefusedError(f"{shown(url)} carries a user name or password")
        if found not in self._allowed and parts.scheme != "https":
            raise AddressRefusedError(
                f"{shown(url)} is not https; plain http is spoken only to an endpoint that "
                "the settings name"
            )

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, all of them checked: connect to these, by number.

        Raises:
            AddressRefusedError: one of them is not on the public internet.
            SourceError: the name cannot be resolved.
        """
        addresses = self._resolve(host, port)
        if not {f"{scheme}://{host}:{port}".lower() for scheme in _PORTS} & self._allowed:
            for address in addresses:
                if not is_public(address):
                    raise AddressRefusedError(
                        f"{host} leads to {address}, which is not on the public internet"
                    )
        return addresses

    def check(self, url: str) -> None:
        """Both checks at once, for clients that connect on their own."""
        self.check_url(url)
        parts = urlsplit(url)
        self.addresses(parts.hostname or "", parts.port or _PORTS[parts.scheme])
