"""The example models as files: trained when their programs are new, else as they were."""

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryFile, mkdtemp

from app.local.errors import LocalError
from app.local.files import ROOT, Folders
from app.local.images import digest
from app.local.progress import Progress

EXAMPLES = {
    "clothing": ("clothing.py", "silhouettes.py", "saved_model.py", "training.py"),
    "digits": ("digits.py", "saved_model.py", "training.py"),
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
        progress.note(f"{name}: training, about half a minute")
        unfinished = Path(mkdtemp(prefix=".", dir=folders.examples))
        (unfinished / report.name).write_text(_train(name, unfinished, folders.environment, progress))
        try:
            unfinished.rename(folder)
        except OSError:  # Somebody else was faster.
            shutil.rmtree(unfinished)
    return Example(name, folder, report.read_text())


def _train(name: str, folder: Path, environment: dict[str, str], progress: Progress) -> str:
    """Train; a line that ends in ... is about the training, the others are its report."""
    command = [sys.executable, "-m", f"app.local.examples.{name}", str(folder)]
    report = []
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=PIPE, stderr=complaints, text=True) as training,  # noqa: S603
    ):
        for line in training.stdout or ():
            if line.endswith("...\n"):
                progress.passing(line.rstrip())
            else:
                report.append(line)
        if training.wait():
            complaints.seek(0)
            why = (complaints.read().strip() or "it said nothing").splitlines()[-1]
            raise LocalError(f"training {name} failed: {why}; try `{shlex.join(command)}`")
    return "".join(report)
