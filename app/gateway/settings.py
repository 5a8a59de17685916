"""What can be set from outside: environment variables named ``GATEWAY_`` and the field's name in capitals."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

PREFIX = "GATEWAY_"

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]


class SettingsError(ValueError):
    """A setting cannot be used; the message is one line that names variable, value and rule."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's settings; durations in seconds, sizes in bytes."""

    routing_table: str
    """Path of the routing table, see ``routing``."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod's own address is not known beforehand
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9696
    listen_fd: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """An inherited listening socket to use instead of host and port: its queue outlives a restart of the gateway."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Threads that decode; 0 means one for each core that may be used."""
    max_in_flight: Count = 128
    """Images under way at once; whoever comes on top is refused."""
    max_batch: Count = 16
    """Images in one request."""
    max_body_bytes: Count = 20 * 1024 * 1024
    max_image_bytes: Count = 10 * 1024 * 1024
    """Of an image that is fetched."""
    upload_bytes_in_flight: Count = 40 * 1024 * 1024
    """Of all bodies together that are not decoded yet; whoever comes on top waits."""
    download_bytes_in_flight: Count = 20 * 1024 * 1024
    """Of all fetched images together that are not decoded yet; whoever comes on top waits."""
    max_pixels: Count = 50_000_000
    max_redirects: Annotated[int, msgspec.Meta(ge=0, le=20)] = 3
    request_timeout: Seconds = 20.0
    """The whole request, unless its own deadline is nearer."""
    image_timeout: Seconds = 10.0
    """The download of one image."""
    model_timeout: Seconds = 10.0
    """The model's answer."""
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0
    """How long requests are still accepted after SIGTERM, for load balancers to notice that /readyz fails."""
    access_log: bool = False

    def __post_init__(self) -> None:
        if self.max_batch > self.max_in_flight:
            raise ValueError(
                f"{PREFIX}MAX_BATCH is {self.max_batch}, more than {PREFIX}MAX_IN_FLIGHT={self.max_in_flight} images:"
                " lower the first or raise the second"
            )
        self._is_twice("UPLOAD_BYTES_IN_FLIGHT", "MAX_BODY_BYTES")
        self._is_twice("DOWNLOAD_BYTES_IN_FLIGHT", "MAX_IMAGE_BYTES")

    def _is_twice(self, all_together: str, one: str) -> None:
        total, largest = getattr(self, all_together.lower()), getattr(self, one.lower())
        if total < 2 * largest:
            raise ValueError(
                f"{PREFIX}{all_together} is {total}, less than twice {PREFIX}{one}={largest}:"
                " raise the first or lower the second"
            )


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises SettingsError, one line, for a missing, unknown or unusable one."""
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    known = {PREFIX + field.name.upper(): field.name for field in msgspec.structs.fields(Settings)}
    for name in sorted(given.keys() - known.keys()):
        raise SettingsError(
            f"{name}: there is no such setting; known are {', '.join(known)}"
            " (in Kubernetes, a Service called gateway makes such variables: set enableServiceLinks to false)"
        )
    if PREFIX + "ROUTING_TABLE" not in given:
        raise SettingsError(f"{PREFIX}ROUTING_TABLE is not set: give it the path of the routing table")
    values = {known[name]: value for name, value in given.items()}
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), values)) from None


def _explain(problem: str, values: Mapping[str, str]) -> str:
    rule, separator, place = problem.rpartition(" - at `$.")
    if not separator:
        return problem
    field = place.rstrip("`")
    return f"{PREFIX}{field.upper()}={values[field]!r}: {rule[:1].lower()}{rule[1:]}"
