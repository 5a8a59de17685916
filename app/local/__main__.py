"""``python -m app.local up | down | promote | weight | restart | upload | status``: the platform on this machine."""

import argparse
import os
import sys
from pathlib import Path

from app.local import stack as stack_file
from app.local.errors import LocalError
from app.local.files import ROOT, Folders

_STEPS = 8


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m app.local", description="The platform as processes on this machine.")
    parser.add_argument("--stack", type=Path, default=ROOT / "local.yaml", help="the stack file")
    parser.add_argument("--state", type=Path, default=ROOT / ".local", help="the folder everything lives in")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="make it what the stack file says")
    commands.add_parser("down", help="end everything")
    commands.add_parser("status", help="say what runs")
    promote = commands.add_parser("promote", help="make a model's canary its stable version")
    promote.add_argument("model")
    weight = commands.add_parser("weight", help="give a model's canary another share of the predictions")
    weight.add_argument("model")
    weight.add_argument("percent", type=int)
    restart = commands.add_parser("restart", help="replace the processes of a model, or the gateway, one by one")
    restart.add_argument("what", help="a model's name, or gateway")
    upload = commands.add_parser("upload", help="put a SavedModel into the model store of this machine")
    upload.add_argument("model")
    upload.add_argument("directory", type=Path)
    upload.add_argument("--version", type=int)
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    # Slow to import, and nothing of it is needed to explain the arguments.
    from app.local.demo import Demo  # noqa: PLC0415
    from app.local.platform import Platform  # noqa: PLC0415
    from app.local.progress import Progress  # noqa: PLC0415
    from app.local.status import print_status  # noqa: PLC0415
    from app.local.store import ModelBucket  # noqa: PLC0415

    source = Path(os.path.relpath(arguments.stack))
    platform = Platform(Folders(arguments.state.absolute()))
    if arguments.command == "status":
        print_status(stack_file.load(source), platform)
        return
    with platform.alone():
        match arguments.command:
            case "down":
                platform.down()
                print("Nothing runs any more.")
                return
            case "upload":
                bucket = ModelBucket(stack_file.load(source).ports.store, platform.folders)
                if not bucket.is_up:
                    raise LocalError("the model store is not up: `make up` first")
                print(bucket.upload(arguments.model, arguments.directory.absolute(), arguments.version), end="")
                bucket.keep()
                return
            case "promote":
                version = stack_file.promote(source, arguments.model)
                print(f"{source}: {arguments.model}'s stable version is now {version}, without a canary")
            case "weight":
                stack_file.set_weight(source, arguments.model, arguments.percent)
                print(f"{source}: {arguments.model}'s canary now gets {arguments.percent} % of the predictions")
            case "restart":
                platform.ask_for_restart(arguments.what, stack_file.load(source))
        stack = stack_file.load(source)
        progress = Progress(_STEPS)
        platform.up(stack, source, progress)
        Demo(stack, platform.folders).show(progress, platform.supervisor)


def main() -> None:
    """Run one command; a failure is one line."""
    arguments = _arguments()
    try:
        _run(arguments)
    except LocalError as error:
        sys.exit(f"{arguments.command}: {error}")
    except OSError as error:  # A full disk, a folder that may not be written.
        sys.exit(f"{arguments.command}: {error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. `make up` goes on from here; `make down` ends what runs.")


if __name__ == "__main__":
    main()
