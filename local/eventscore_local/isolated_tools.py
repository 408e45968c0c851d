"""Where the emulators lie that `make setup` installs apart from the project's own environment (.tools/)."""

import os
import platform
import sys
from pathlib import Path

from eventscore_local.errors import ToolMissing

_RIE_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}


def tools_folder(root: Path) -> Path:
    """The folder of the isolated tools of the checkout `root`."""
    return root / ".tools"


def find_ministack(root: Path) -> Path:
    """The `ministack` command. Raises ToolMissing."""
    command = tools_folder(root) / "bin" / "ministack"
    if not command.exists():
        raise ToolMissing(f"ministack (S3, SQS, Kinesis on this machine) is not at {command}; run `make setup`")
    return command


def find_sam_python(root: Path) -> Path:
    """The Python that aws-sam-cli is installed for, which has SAM's transform. Raises ToolMissing."""
    python = tools_folder(root) / "aws-sam-cli" / "bin" / "python"
    if not python.exists():
        raise ToolMissing(f"aws-sam-cli (SAM's transform) is not at {python}; run `make setup`")
    return python


def find_runtime_interface_emulator(root: Path) -> Path | None:
    """Lambda's Runtime Interface Emulator for this machine, out of the aws-sam-cli wheel.

    None where no binary exists for the platform (it is a Linux program). Raises ToolMissing if aws-sam-cli is not
    installed.
    """
    architecture = _RIE_ARCHITECTURES.get(platform.machine().lower())
    if sys.platform != "linux" or architecture is None:
        return None
    pattern = f"aws-sam-cli/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{architecture}"
    binary = next(iter(sorted(tools_folder(root).glob(pattern))), None)
    if binary is None:
        raise ToolMissing(
            f"Lambda's Runtime Interface Emulator is not in {tools_folder(root)}/aws-sam-cli; run `make setup`"
        )
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return binary
