"""What runs, as a table."""

import time

from app.local.platform import Platform
from app.local.stack import Stack


def print_status(stack: Stack, platform: Platform) -> None:
    """Print the processes, and how the stack file splits the predictions."""
    groups = platform.supervisor.groups()
    if not groups:
        print("Nothing runs: `make up` starts it.")
        return
    for processes in groups.values():
        for process in processes:
            if process.pid or not process.name.startswith("gateway:"):  # One of the gateway's two places is empty.
                up = f"pid {process.pid}, up {time.time() - process.started:.0f} s" if process.pid else ""
                print(f"{process.name:40} {process.state:10} {up}")
    for name, model in stack.models.items():
        shares = ", ".join(f"{weight} % to v{version}" for version, weight in model.weights.items())
        print(f"{name:40} {shares}")
