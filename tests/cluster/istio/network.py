"""Pods' networks on this machine: a network namespace for each address, on one bridge that the machine itself is on."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NETWORK: Final = "198.18.0"
"""The first three numbers of all addresses: set aside for tests by https://www.rfc-editor.org/rfc/rfc2544"""
MACHINE: Final = f"{NETWORK}.1"
_BRIDGE: Final = "model-serving"
_ENDS: Final = "ms-"
_PROXY: Final = "1337"
"""The user of Istio's proxies, whose own connections are not captured."""


class NoNetworkError(Exception):
    """There can be no networks of pods here; the message says what is missing."""


class CommandError(Exception):
    """A command failed; the message is the command and what it said."""


@dataclass(frozen=True)
class Place:
    """A network namespace with an address."""

    address: str

    @property
    def _name(self) -> str:
        return f"{_BRIDGE}-{self.address.rpartition('.')[2]}"

    def command(self, program: Sequence[str | Path]) -> list[str]:
        """The command that runs a program here, as root."""
        return ["ip", "netns", "exec", self._name, *map(str, program)]

    def proxy_command(self, program: Sequence[str | Path], folder: Path) -> list[str]:
        """The command that runs a proxy here, as the proxies' user, in a folder; what it starts ends with it."""
        # It may read what the tests may, as if it lay in an image.
        rights = "+dac_override,+dac_read_search"
        user = [f"--reuid={_PROXY}", f"--regid={_PROXY}", "--clear-groups", f"--inh-caps={rights}"]
        return self.command(
            [
                *("unshare", "--pid", "--fork", "--kill-child"),
                *("setpriv", *user, f"--ambient-caps={rights}", "--pdeathsig=KILL"),
                *("env", f"--chdir={folder}", *program),
            ]
        )

    def run(self, *program: str | Path) -> str:
        """What a program says that runs here; raises CommandError where it fails."""
        return run(*self.command(program))


@contextmanager
def bridge() -> Iterator[None]:
    """The bridge, until the context ends, for one at a time on a machine; raises NoNetworkError."""
    missing = [tool for tool in ("ip", "iptables", "curl") if not shutil.which(tool)]
    if missing:
        raise NoNetworkError(f"{', '.join(missing)} is not here (Debian: iproute2 iptables curl)")
    if os.geteuid():
        raise NoNetworkError("only root can make networks of pods")
    with Path(f"/run/lock/{_BRIDGE}-tests").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_what_a_killed_run_left()
        try:
            run("ip", "link", "add", _BRIDGE, "type", "bridge")
        except CommandError as error:
            raise NoNetworkError(f"no bridge can be made here: {error}") from None
        try:
            run("ip", "address", "add", f"{MACHINE}/24", "dev", _BRIDGE)
            run("ip", "link", "set", _BRIDGE, "up")
            yield
        finally:
            run("ip", "link", "delete", _BRIDGE)


def _remove_what_a_killed_run_left() -> None:
    for name in (line.split()[0] for line in run("ip", "netns", "list").splitlines()):
        if name.startswith(f"{_BRIDGE}-"):
            run("ip", "netns", "delete", name)
    for link in Path("/sys/class/net").iterdir():
        if link.name == _BRIDGE or link.name.startswith(_ENDS):
            with suppress(CommandError):
                run("ip", "link", "delete", link.name)


@contextmanager
def place(address: str, *more: str) -> Iterator[Place]:
    """A network namespace with these addresses on the bridge, until the context ends."""
    made = Place(address)
    end = f"{_ENDS}{address.rpartition('.')[2]}"
    # There are no names here, which shall be clear at once: `ip netns exec` takes this for /etc/resolv.conf.
    resolver = Path("/etc/netns", made._name, "resolv.conf")
    resolver.parent.mkdir(parents=True, exist_ok=True)
    resolver.write_text("nameserver 127.0.0.1\n")
    run("ip", "netns", "add", made._name)
    try:
        run("ip", "link", "add", end, "master", _BRIDGE, "type", "veth", "peer", "name", "eth0", "netns", made._name)
        run("ip", "link", "set", end, "up")
        made.run("ip", "link", "set", "lo", "up")
        for own in (address, *more):
            made.run("ip", "address", "add", f"{own}/{24 if own == address else 32}", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        made.run("ip", "route", "add", "169.254.0.0/16", "dev", "eth0")
        # Whatever has no address here goes to the machine, if a proxy does not take it first.
        made.run("ip", "route", "add", "default", "via", MACHINE)
        made.run("sysctl", "--quiet", "--write", "net.ipv4.ip_unprivileged_port_start=0")
        yield made
    finally:
        # With the namespace it would go too, but only after a while.
        with suppress(CommandError):
            run("ip", "link", "delete", end)
        run("ip", "netns", "delete", made._name)
        shutil.rmtree(resolver.parent)


def run(*command: str | Path) -> str:
    """What a command says; raises CommandError where it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout
