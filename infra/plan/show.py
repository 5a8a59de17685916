"""Values as they are shown: secrets masked, everything else as it is."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from infra.plan.evaluate import Secret


def shown(value: Any) -> Any:
    """A copy without secrets: each stands as a short fingerprint, so that a change of it can be seen and no more."""
    return _with_secrets(value, _mask)


def revealed(value: Any) -> Any:
    """A copy with the secrets in their places, for what reads them and shows nothing."""
    return _with_secrets(value, lambda secret: secret)


def _mask(secret: Any) -> str:
    return f"(secret {hashlib.sha256(f'model-serving {secret!r}'.encode()).hexdigest()[:8]})"


def _with_secrets(value: Any, replace: Callable[[Any], Any]) -> Any:
    match value:
        case Secret():
            return replace(value.value)
        case Mapping():
            return {key: _with_secrets(item, replace) for key, item in value.items()}
        case list():
            return [_with_secrets(item, replace) for item in value]
        case _:
            return value
