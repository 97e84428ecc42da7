import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.addresses import AddressGuard, is_loopback, is_loopback_host, is_public, shown
from crawler.errors import AddressRefusedError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:0:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::1",
        "5f00::1",
        "4000::1",
    ],
)
def test_our_own_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "47.92.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2408:4001::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_the_internet_is_public(address: str) -> None:
    """Also by NAT64, as networks without IPv4 of their own see it."""
    assert is_public(address)


@given(st.ip_addresses())
@example(ipaddress.ip_address("192.0.0.9"))
def test_nothing_is_public_that_python_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Two tables, one of them ours: where they differ, ours refuses."""
    has_ipv4_inside = int(address) >> 32 in (0xFFFF, 0x64FF9B << 64)
    if address.version == 4 or not has_ipv4_inside:
        assert address.is_global or not is_public(str(address))


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("Localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::1%lo", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_name_and_number(host: str, is_ours: bool) -> None:
    """As a host in the settings and in an address alike."""
    address = f"http://[{host}]:8000/" if ":" in host else f"http://{host}:8000/"

    assert (is_loopback_host(host), is_loopback(address)) == (is_ours, is_ours)


def test_messages_show_no_secrets() -> None:
    assert shown("https://user:pw@host/path?token=1#x") == "https://host/path"
    assert shown("user:p@w@host/path") == "host/path"
    assert shown("https://host/package@1.0") == "https://host/package@1.0"


def test_an_address_in_a_message_is_harmless_and_short() -> None:
    assert shown("https://host/\x1b[2J" + "x" * 1000).isprintable()
    assert len(shown("https://host/" + "x" * 1000)) <= 200


@pytest.mark.parametrize(
    ("host", "address", "said"),
    [
        (
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1 is this machine itself and not on the public internet",
        ),
        ("own.test", "::1", "own.test (::1) is this machine itself and not on the public internet"),
        ("10.0.0.7", "10.0.0.7", "10.0.0.7 is not on the public internet"),
        ("nas.test", "10.0.0.7", "nas.test (10.0.0.7) is not on the public internet"),
    ],
)
def test_an_address_that_is_refused_is_named_once(host: str, address: str, said: str) -> None:
    guard = AddressGuard(resolve=lambda *_: [address])

    with pytest.raises(AddressRefusedError) as refused:
        guard.addresses(host, 443)

    assert str(refused.value) == said
