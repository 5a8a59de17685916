"""Settings from what a stack file says; the only reader of ``pulumi.Config``."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pulumi
from pulumi.runtime import config as runtime_config
from pydantic import ValidationError

from infra import conventions
from infra.config import messages
from infra.config.rules import conflicts
from infra.config.settings import Settings

_NAMESPACE: Final = f"{conventions.PROJECT}:"
_SECRETS: Final = frozenset({f"{_NAMESPACE}apiKeys", f"{_NAMESPACE}objectStoreKeys"})
"""Keys that are read where they are used, as secrets, and never become part of the settings."""


class SettingsError(pulumi.RunError):
    """A stack file that cannot be used; the message has one line for each thing that is wrong.

    Pulumi shows the message of a RunError alone, without a traceback.
    """


def parse(document: Mapping[str, Any], *, stack: str, region: str | None = None, source: str = "") -> Settings:
    """Check a stack file's ``model-serving:`` values.

    Raises SettingsError; each line of its message names the key, the value, the rule and, where it is not plain from
    the rule, the fix.
    """
    try:
        # A key that is given by other means would be overwritten without a word.
        if given := sorted(document.keys() & messages.GIVEN.keys()):
            raise SettingsError(
                "\n".join(_in(source, f"{key} is not a setting here: {messages.GIVEN[key]} is") for key in given)
            )
        settings = Settings.model_validate({**document, "stack": stack, "region": region}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise SettingsError("\n".join(_in(source, line) for line in messages.lines(error.errors()))) from None
    if problems := [_in(source, problem) for problem in conflicts(settings)]:
        raise SettingsError("\n".join(problems))
    return settings


def _in(source: str, problem: str) -> str:
    """One line, whatever characters the stack file has brought into it."""
    line = "".join(it if it.isprintable() else repr(it)[1:-1] for it in problem)
    return f"{source}: {line}" if source else line


def load() -> Settings:
    """The settings of the stack that Pulumi runs; raises SettingsError as ``parse`` does."""
    return of_stack(pulumi.get_stack(), runtime_config.CONFIG.get())


def of_stack(stack: str, values: Mapping[str, str]) -> Settings:
    """The settings that Pulumi's values of a stack say, by their whole keys; raises SettingsError as ``parse`` does."""
    source = f"Pulumi.{stack}.yaml"
    # The cluster is reached with the AWS CLI's credentials, and those of a profile that only Pulumi knows are others.
    if profile := values.get("aws:profile"):
        raise SettingsError(_in(source, f"aws:profile is {profile}: remove it, and set AWS_PROFILE in the environment"))
    ours = {
        key.removeprefix(_NAMESPACE): _value(text)
        for key, text in values.items()
        if key.startswith(_NAMESPACE) and key not in _SECRETS
    }
    return parse(ours, stack=stack, region=values.get("aws:region"), source=source)


def api_keys() -> pulumi.Output[list[str]] | None:
    """The keys of clients, which are never told; none where the stack file has none."""
    return pulumi.Config().get_secret_object("apiKeys")


def object_store_keys() -> pulumi.Output[dict[str, str]] | None:
    """What ``cluster.objectStore`` asks for: accessKeyId and secretAccessKey; none where the stack file has none."""
    return pulumi.Config().get_secret_object("objectStoreKeys")


def _value(text: str) -> Any:
    """Pulumi hands over lists and maps as JSON, and all else as text, which may begin like JSON too."""
    try:
        return json.loads(text) if text.startswith(("{", "[")) else text
    except ValueError:
        return text
