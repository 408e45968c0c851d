"""What a Lambda function is configured with: its code, its layers, its variables, its limits."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FunctionConfiguration:
    """A function as an execution environment sees it.

    `layers` are folders that hold `python/` (what /opt is made of), `managed_runtime` the folder with the packages that
    the managed runtime brings. Nothing else is importable. `variables` is all that the function's environment holds
    beside what Lambda sets itself.
    """

    folder: Path
    managed_runtime: Path
    layers: tuple[Path, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    name: str = "score"
    handler: str = "app.handler"
    timeout_s: int = 30
    memory_mb: int = 1769
    python: Path = Path(sys.executable)

    @property
    def import_path(self) -> list[Path]:
        """Folders on PYTHONPATH in Lambda's order: the function, its layers, the managed runtime."""
        return [self.folder, *(layer / "python" for layer in self.layers), self.managed_runtime]

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables of the function's process."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": os.pathsep.join(str(folder) for folder in self.import_path),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            **self.variables,
        }
