"""A stack of this project, evaluated from its stack file."""

import json
import logging
from pathlib import Path
from typing import Final

from pulumi.runtime.config import set_all_config

from infra import config
from infra.plan import computed, stack_file
from infra.plan.evaluate import Evaluation, evaluate

_API_KEYS: Final = "model-serving:apiKeys"
_ACCOUNT: Final = "model-serving:account"
_STAND_INS: Final = {
    _API_KEYS: json.dumps(["0" * 64]),
    "model-serving:objectStoreKeys": json.dumps({"accessKeyId": "0" * 20, "secretAccessKey": "0" * 40}),
}
"""What a stack file may still lack when it is previewed."""

ROOT: Final = Path(__file__).resolve().parents[2]


def evaluate_stack(stack: str, folder: Path = ROOT) -> Evaluation:
    """What the program asks for with the stack file in ``folder``; raises SettingsError for what is wrong there."""
    file = stack_file.read(stack, folder)

    def program() -> None:
        values = {**_STAND_INS, **file.as_pulumi_config}
        set_all_config(values, sorted(file.secrets | _STAND_INS.keys()))
        settings = config.load()
        if isinstance(settings.ingress.authentication, config.ApiKey) and _API_KEYS not in file.config:
            logging.warning(
                "%s: %s is not set: the preview goes on without, `pulumi up` will not", file.path.name, _API_KEYS
            )
        # It brings the SDKs of all providers with it, and takes seconds: not before the settings are found to be good.
        from infra.program import build  # noqa: PLC0415

        build(settings).export()

    return evaluate(program, stack, account=str(file.config.get(_ACCOUNT, computed.ACCOUNT)))
