"""A stack of this project, evaluated from its stack file."""

from pathlib import Path
from typing import Final

from pulumi.runtime.config import set_all_config

from infra import config
from infra.plan import stack_file
from infra.plan.evaluate import Evaluation, evaluate

ROOT: Final = Path(__file__).resolve().parents[2]


def evaluate_stack(stack: str, folder: Path = ROOT) -> Evaluation:
    """What the program asks for with the stack file in ``folder``; raises SettingsError for what is wrong there."""
    file = stack_file.read(stack, folder)

    def program() -> None:
        set_all_config(file.as_pulumi_config, sorted(file.secrets))
        settings = config.load()
        # It brings the SDKs of all providers with it, and takes seconds: not before the settings are found to be good.
        from infra.program import build  # noqa: PLC0415

        build(settings)

    return evaluate(program, stack)
