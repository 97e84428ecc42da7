"""Which addresses the crawler may visit: urls come from strangers, our network is ours."""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from crawler.errors import AddressRefusedError, SourceError
from crawler.foreign_text import one_line

Resolve = Callable[[str, int], list[str]]

# What is not the public internet, by IANA's registries of special-purpose addresses [1, 2].
# A table of our own: Python's differs from release to release, and allows what it lacks.
#
# - [1] https://www.iana.org/assignments/iana-ipv4-special-registry
# - [2] https://www.iana.org/assignments/iana-ipv6-special-registry
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; 100.100.100.200 is Alibaba's host agent
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, yet Azure's host agent
        "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' host agent
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols; 192.0.0.192 is Oracle's host agent
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# All that is given out so far lies in here; loopback, fc00::/7, fe80::/10, fec0::/10, multicast,
# 5f00::/16 and IPv4 in other clothes do not.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
]
# Networks without IPv4 of their own reach the IPv4 internet by these.
_IPV4_INSIDE = [
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64
    ipaddress.IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
]
_PORTS = {"https": 443, "http": 80}
# Also where somebody forgot the scheme.
_LOGIN = re.compile(r"^([^/?#@]*://)?[^/?#]*@")


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
    return one_line(without_login(url.split("?")[0].split("#")[0]), 200)


def without_login(url: str) -> str:
    """Return a url without a user and a password in it."""
    return _LOGIN.sub(r"\1", url)


def is_loopback(url: str) -> bool:
    """True where the url's host is this machine, by name or number."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """True where a host is this machine, by name or number."""
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_public(address: str) -> bool:
    """True for a numeric address out on the internet; what is not known to be is refused."""
    number = ipaddress.ip_address(address.split("%")[0])
    if isinstance(number, ipaddress.IPv4Address):
        return not any(number in network for network in _NOT_PUBLIC_4)
    if any(number in network for network in _IPV4_INSIDE):
        return is_public(str(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)))
    return number in _GLOBAL_UNICAST and not any(number in network for network in _NOT_PUBLIC_6)


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
                    raise AddressRefusedError(_why_not_public(host, address))
        return addresses

    def check(self, url: str) -> None:
        """Both checks at once, for clients that connect on their own."""
        self.check_url(url)
        parts = urlsplit(url)
        self.addresses(parts.hostname or "", parts.port or _PORTS[parts.scheme])


def _why_not_public(host: str, address: str) -> str:
    number = ipaddress.ip_address(address.split("%")[0])
    who = host if host == address else f"{host} ({address})"
    if number.is_loopback:
        return f"{who} is this machine itself and not on the public internet"
    return f"{who} is not on the public internet"
