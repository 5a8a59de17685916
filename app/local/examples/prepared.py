"""The example models as files: trained when their programs are new, else as they were."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from app.local.errors import LocalError
from app.local.files import ROOT, Folders
from app.local.images import digest
from app.local.progress import Progress

EXAMPLES = {
    "clothing": ("clothing.py", "silhouettes.py", "saved_model.py"),
    "digits": ("digits.py", "saved_model.py"),
}
"""Each example with the files that make it what it is."""

PICTURES_TO_TRY = {"clothing": "pants.jpg", "digits": "digit-3-1.png"}
"""For each example a picture of its own that one would try first."""


@dataclass(frozen=True)
class Example:
    """A trained example: ``folder`` has ``models/<version>/`` and ``pictures/``."""

    name: str
    folder: Path
    report: str
    """What the training said, a line for each version."""

    @property
    def versions(self) -> dict[int, Path]:
        """The SavedModels."""
        return {int(path.name): path for path in sorted((self.folder / "models").iterdir())}

    @property
    def pictures(self) -> list[Path]:
        """Pictures that the model has not seen."""
        return sorted((self.folder / "pictures").iterdir())


def prepare(name: str, folders: Folders, progress: Progress) -> Example:
    """Train the example, unless it is there already; raises LocalError when it cannot be trained."""
    sources = (f"app/local/examples/{source}" for source in EXAMPLES[name])
    folder = folders.examples / f"{name}-{digest(*sources)}"
    report = folder / "report.txt"
    if not folder.exists():
        progress.note(f"{name}: training, less than a minute")
        unfinished = Path(mkdtemp(prefix=".", dir=folders.examples))
        (unfinished / report.name).write_text(_train(name, unfinished, folders.environment))
        try:
            unfinished.rename(folder)
        except OSError:  # Somebody else was faster.
            shutil.rmtree(unfinished)
    return Example(name, folder, report.read_text())


def _train(name: str, folder: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", f"app.local.examples.{name}", str(folder)]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LocalError(f"training {name} failed: {done.stderr.strip().splitlines()[-1]}; try `{' '.join(command)}`")
    return done.stdout
