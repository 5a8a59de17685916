"""Which addresses may be fetched from, held against Python's own reading of IANA's registries."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.gateway.addresses import Address, is_public, is_public_or_internal, parse

REFUSED_EVERYWHERE = [
    "0.0.0.0",  # unspecified: Linux connects it to itself
    "0.1.2.3",
    "169.254.169.254",  # metadata of AWS, Azure, Google Cloud and others
    "169.254.170.2",  # ECS credentials
    "169.254.170.23",  # EKS Pod Identity
    "169.254.0.1",  # link-local
    "168.63.129.16",  # Azure's platform
    "100.100.100.200",  # Alibaba Cloud's metadata
    "192.0.0.192",  # Oracle Cloud's metadata
    "192.0.2.1",  # documentation
    "198.18.0.1",  # benchmarks
    "224.0.0.1",  # multicast
    "239.255.255.250",
    "240.0.0.1",  # reserved
    "255.255.255.255",  # broadcast
    "::",  # unspecified
    "fd00:ec2::254",  # AWS's metadata
    "fd00:ec2::23",  # EKS Pod Identity
    "fd20:ce::254",  # Google Cloud's metadata
    "fe80::1",  # link-local
    "fe80::1%eth0",
    "fec0::1",  # site-local
    "ff02::1",  # multicast
    "2001:db8::1",  # documentation
    "100::1",  # discard
    "4000::1",  # not given out
    "::ffff:127.0.0.1",  # IPv4-mapped
    "::ffff:8.8.8.8",
    "::127.0.0.1",  # IPv4-compatible
    "::8.8.8.8",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:808:808::",
    "2001:0:7f00:1::",  # Teredo
    "64:ff9b::127.0.0.1",  # NAT64
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::224.0.0.1",
    "64:ff9b:1::8.8.8.8",  # NAT64 within one network
]
INTERNAL = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8"]

ANY = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@pytest.mark.parametrize("text", REFUSED_EVERYWHERE)
def test_no_host_may_have_such_an_address(text: str) -> None:
    assert not is_public(parse(text))
    assert not is_public_or_internal(parse(text))


@pytest.mark.parametrize("text", INTERNAL)
def test_only_private_hosts_may_have_internal_addresses(text: str) -> None:
    assert not is_public(parse(text))
    assert is_public_or_internal(parse(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_every_host_may_have_public_addresses(text: str) -> None:
    assert is_public(parse(text))
    assert is_public_or_internal(parse(text))


@given(ANY)
def test_public_addresses_are_global_unicast_by_pythons_reading(address: Address) -> None:
    assume(is_public(address) and address not in ipaddress.ip_network("64:ff9b::/96"))
    assert address.is_global
    kinds = [address.is_multicast, address.is_reserved, address.is_link_local, address.is_unspecified]
    assert not any(kinds)


@given(st.ip_addresses(v=4))
@example(IPv4Address("8.8.8.8"))
def test_every_global_ipv4_address_outside_the_special_blocks_is_public(address: IPv4Address) -> None:
    special = ["168.63.129.16/32", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24"]
    assume(not any(address in ipaddress.ip_network(network) for network in [*special, "192.0.0.0/24"]))
    assert is_public(address) == (address.is_global and not address.is_multicast)


@given(ANY)
def test_what_a_private_host_may_have_is_never_link_local_multicast_unspecified_or_reserved(address: Address) -> None:
    assume(is_public_or_internal(address) and address not in ipaddress.ip_network("64:ff9b::/96"))
    assert not any([address.is_link_local, address.is_multicast, address.is_unspecified])
    assert not address.is_reserved or address.is_loopback  # Python calls ::1 reserved, too


@given(ANY)
def test_what_a_public_host_may_have_a_private_one_may_have_as_well(address: Address) -> None:
    assert is_public_or_internal(address) or not is_public(address)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "::", "2002::", "2001::", "64:ff9b:1::"]))
def test_an_ipv4_address_inside_an_ipv6_one_does_not_pass(inner: IPv4Address, prefix: str) -> None:
    shift = 80 if prefix == "2002::" else 0
    outer = IPv6Address(int(IPv6Address(prefix)) | int(inner) << shift)
    assume(outer != IPv6Address("::1"))
    assert not is_public(outer)
    assert not is_public_or_internal(outer)


@given(st.ip_addresses(v=4))
@example(IPv4Address("169.254.169.254"))
def test_nat64_passes_what_its_ipv4_address_would_and_nothing_internal(inner: IPv4Address) -> None:
    outer = IPv6Address(int(IPv6Address("64:ff9b::")) | int(inner))
    assert is_public(outer) == is_public(inner)
    assert is_public_or_internal(outer) == is_public(inner)


@pytest.mark.parametrize(
    "text", ["2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "localhost", ""]
)
def test_only_the_canonical_form_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        parse(text)
