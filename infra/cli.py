"""``python -m infra.cli``: the Pulumi command line of the version that the program is tested with.

It goes into a folder of this project, where `make` finds it before any other, and nothing else of the machine changes.
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Final

from pulumi import automation
from semver import VersionInfo

from infra.plan.stack import ROOT

FOLDER: Final = ROOT / ".cli"
VERSION: Final = VersionInfo.parse(importlib.metadata.version("pulumi"))


class CliError(RuntimeError):
    """Why there is no command line, in one line."""


def install(folder: Path) -> VersionInfo:
    """Install the command line into ``folder``, unless it is there, and return its version.

    From https://get.pulumi.com, by Pulumi's own script. Raises CliError where that cannot be had, or does not run.
    """
    try:
        installed = automation.PulumiCommand.install(root=str(folder), version=VERSION)
    except (OSError, subprocess.CalledProcessError, automation.InvalidVersionError) as error:
        raise CliError(
            f"Pulumi {VERSION} could not be installed ({' '.join(str(error).split())}):"
            " https://www.pulumi.com/docs/iac/download-install/ has other ways"
        ) from None
    return installed.version or VERSION


def main() -> None:
    """Install it and say where it is; exits with 1 where it cannot be had."""
    try:
        version = install(FOLDER)
    except CliError as error:
        sys.exit(str(error))
    print(f"Pulumi {version} is in {FOLDER.name}/bin, where make finds it; for a shell: PATH={FOLDER}/bin:$PATH")


if __name__ == "__main__":
    main()
