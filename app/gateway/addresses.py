"""Which network addresses pictures may be fetched from: pure rules, no input or output."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Rule = Callable[[Address], bool]
Networks = tuple[IPv4Network | IPv6Network, ...]


def _networks(*texts: str) -> Networks:
    return tuple(ip_network(text) for text in texts)


# IANA's registries of special-purpose addresses (RFC 6890): what is not globally reachable unicast.
_SPECIAL = _networks(
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared by carriers (CGNAT)
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, the metadata addresses of every cloud among them
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
    "2001::/23",  # protocol assignments, Teredo among them
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: an IPv4 address in disguise
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")  # all that IANA has given out as global unicast so far (RFC 4291)
_NAT64 = IPv6Network("64:ff9b::/96")  # how a network with IPv6 alone reaches IPv4 (RFC 6052)

_INTERNAL = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",  # pods, where a VPC has been given more addresses from here
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",  # unique local
)
# Credentials and configuration of machines, outside the link-local range that is refused already.
_METADATA = _networks(
    "100.100.100.200/32",  # Alibaba Cloud
    "168.63.129.16/32",  # Azure
    "fd00:ec2::/32",  # AWS: instance metadata, Pod Identity, DNS, time
    "fd20:ce::/32",  # Google Cloud
)


def _within(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could reach the address: global unicast, and no metadata service."""
    if address in _NAT64:
        return is_public(IPv4Address(address.packed[-4:]))
    if address.version == 6 and address not in _GLOBAL_UNICAST_V6:
        return False
    return not _within(address, _SPECIAL) and not _within(address, _METADATA)


def is_public_or_internal(address: Address) -> bool:
    """Whether the address is public, private, shared or loopback; never link-local, multicast or metadata."""
    return is_public(address) or (_within(address, _INTERNAL) and not _within(address, _METADATA))


def parse(text: str) -> Address:
    """The address in its own form, with an IPv6 zone if any; raises ValueError for anything else.

    Refuses what ``inet_aton`` takes as well: decimal, octal, hexadecimal and short forms.
    """
    return ip_address(text)
