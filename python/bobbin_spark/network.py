"""The network that the ranks of a job use: the one between the executors, and no other."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct

from .errors import BobbinError

_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B
LOOPBACK = "127.0.0.0/8"


def address_of(host: str) -> str:
    """The IPv4 address of a host, as this machine sees it."""
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise BobbinError(f"{host}: cannot find the address of this executor: {error}") from None


def network_of(address: str) -> str:
    """The network of the interface that has this address, in the notation ``10.0.0.0/24``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                found = fcntl.ioctl(probe, _SIOCGIFADDR, request)[20:24]
                mask = fcntl.ioctl(probe, _SIOCGIFNETMASK, request)[20:24]
            except OSError:
                continue  # It is down, or has no IPv4 address.
            if socket.inet_ntoa(found) == address:
                network = f"{address}/{socket.inet_ntoa(mask)}"
                return str(ipaddress.ip_network(network, strict=False))
    raise BobbinError(
        f"{address}: no interface of this machine has the address under which Spark knows its "
        "executor: set SPARK_LOCAL_IP to one that the other executors reach"
    )


def common(addresses: list[str], networks: list[str]) -> str:
    """What Open MPI's ``if_include`` is to be: loopback if all ranks share a machine."""
    if len(set(addresses)) == 1:
        return LOOPBACK
    return ",".join(sorted(set(networks)))
