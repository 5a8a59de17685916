"""Ports on the loopback address: free ones found, taken ones explained."""

import socket

import psutil

from app.local.errors import LocalError

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether one could listen there."""
    with socket.socket() as probe:
        # As servers do; without it, a port would count as taken for a minute after its last connection.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def first_free(first: int, step: int, needed: int, taken: set[int]) -> int:
    """The lowest of ``first``, ``first + step``, ... not in ``taken`` with so many free ports from it on.

    Raises LocalError when there is none.
    """
    for port in range(first, 65536 - step, step):
        if port not in taken and all(is_free(port + offset) for offset in range(needed)):
            return port
    raise LocalError(f"there are no free ports from {first} on: lower ports.serving in the stack file")


def listeners(port: int) -> set[int]:
    """The processes that listen there, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return set()
    return {
        connection.pid
        for connection in connections
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid
    }


def by_whom(port: int) -> str:
    """`` by process 1234 (name)``, if that can be told."""
    for pid in listeners(port):
        try:
            return f" by process {pid} ({psutil.Process(pid).name()})"
        except psutil.NoSuchProcess:
            continue
    return ""
