"""What the platform remembers between two commands, beside what runs."""

from pathlib import Path

import msgspec

from app.local.files import write


class State(msgspec.Struct):
    """In ``run/state.json``; without it, everything is made anew."""

    ports: dict[str, int] = {}
    """The first port of each pod."""
    restarts: dict[str, int] = {}
    """How often somebody asked for a restart, of a model or of the gateway."""
    examples: dict[str, str] = {}
    """Which training each example in the model store is of."""
    gateway: str = ""
    """The hash of what the gateway ran when it was last started."""


def load(path: Path) -> State:
    """Read it, if it is there and whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return State()


def save(path: Path, state: State) -> None:
    """Write it."""
    write(path, msgspec.json.encode(state))
