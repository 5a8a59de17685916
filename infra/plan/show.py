"""Values as they are shown: secrets masked, everything else as it is."""

import hashlib
from collections.abc import Mapping
from typing import Any

from infra.plan.evaluate import Secret


def shown(value: Any) -> Any:
    """A copy without secrets: each stands as a short fingerprint, so that a change of it can be seen and no more."""
    match value:
        case Secret():
            fingerprint = hashlib.sha256(f"model-serving {value.value!r}".encode()).hexdigest()[:8]
            return f"(secret {fingerprint})"
        case Mapping():
            return {key: shown(item) for key, item in value.items()}
        case list():
            return [shown(item) for item in value]
        case _:
            return value
