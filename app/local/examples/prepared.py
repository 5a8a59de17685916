"""The example models as files: trained when their programs are new, else as they were."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from app.local.errors import LocalError
from app.local.files import ROOT
from app.local.images import digest
from app.local.progress import Progress

EXAMPLES = {
    "clothing": ("clothing.py", "silhouettes.py", "saved_model.py"),
    "digits": ("digits.py", "saved_model.py"),
}
"""Each example with the files that make it what it is."""


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


def prepare(name: str, cache: Path, progress: Progress) -> Example:
    """Train the example into ``cache``, unless it is there; raises LocalError when it cannot be trained."""
    sources = (f"app/local/examples/{source}" for source in EXAMPLES[name])
    folder = cache / f"{name}-{digest(*sources)}"
    report = folder / "report.txt"
    if not folder.exists():
        progress.note(f"{name}: training, less than a minute")
        unfinished = Path(mkdtemp(prefix=".", dir=cache))
        (unfinished / report.name).write_text(_train(name, unfinished))
        try:
            unfinished.rename(folder)
        except OSError:  # Somebody else was faster.
            shutil.rmtree(unfinished)
    return Example(name, folder, report.read_text())


def _train(name: str, folder: Path) -> str:
    command = [sys.executable, "-m", f"app.local.examples.{name}", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise LocalError(f"training {name} failed: {done.stderr.strip().splitlines()[-1]}; try `{' '.join(command)}`")
    return done.stdout
