"""The function's layers, and what the managed runtime brings, built as folders for this machine."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from eventscore_local.errors import BuildFailed

_MANAGED_RUNTIME = ("awslambdaric", "boto3")
"""What an AWS-managed Python runtime has installed, at the versions of the project's own environment."""

_BUILD_TIMEOUT_S = 600


@dataclass(frozen=True)
class HostLayers:
    """Folders that an execution environment is made of: `layers` each hold `python/`, `managed_runtime` is flat."""

    layers: tuple[Path, ...]
    managed_runtime: Path


def build_for_host(root: Path, python: Path = Path(sys.executable)) -> HostLayers:
    """Build all three folders under `build/host-layers/` of the checkout `root`; what is up to date is kept.

    Each folder's name holds the digest of what it was made from, so that a build never changes what a running function
    imports. Raises BuildFailed.
    """
    cache = root / "build" / "host-layers"
    return HostLayers(
        layers=(_core_layer(root, cache), _runtime_layer(root, cache, python)),
        managed_runtime=installed(root, "managed-runtime", _MANAGED_RUNTIME, python),
    )


def installed(root: Path, name: str, distributions: Sequence[str], python: Path = Path(sys.executable)) -> Path:
    """A folder ``build/host-layers/<name>-...`` with distributions and all that they need, at the versions that are installed here.

    Raises BuildFailed.
    """
    requirements = [f"{one}=={metadata.version(one)}" for one in distributions]
    folder = root / "build" / "host-layers" / f"{name}-{_digest(*(one.encode() for one in requirements))}"

    def build(target: Path) -> None:
        install = [_uv(), "pip", "install", "--quiet", "--compile-bytecode", "--only-binary", ":all:"]
        _run([*install, "--python", python, "--target", target, *requirements], root)

    return _once(folder, build)


def _core_layer(root: Path, cache: Path) -> Path:
    source = root / "layers" / "core" / "eventscore"
    files = sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    contents = [str(path.relative_to(source)).encode() + b"\0" + path.read_bytes() for path in files]
    folder = cache / f"core-{_digest(*contents)}"

    def build(target: Path) -> None:
        package = target / "python" / "eventscore"
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
        _run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", package], root)

    return _once(folder, build)


def _runtime_layer(root: Path, cache: Path, python: Path) -> Path:
    recipe = root / "layers" / "runtime"
    inputs = [(recipe / name).read_bytes() for name in ("Makefile", "requirements.txt", "trim.py")]
    folder = cache / f"runtime-{_digest(*inputs)}"

    def build(target: Path) -> None:
        _run(["make", "-C", recipe, "host", f"ARTIFACTS_DIR={target}", f"PYTHON={python}", f"UV={_uv()}"], root)

    return _once(folder, build)


def _once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Build into a folder beside `folder`, then rename: a build that was cut off leaves nothing behind that counts."""
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        build(unfinished)
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, which is as good
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _digest(*contents: bytes) -> str:
    host = f"{sys.implementation.cache_tag} {platform.system()} {platform.machine()}"
    digest = hashlib.sha256(host.encode())
    for content in contents:
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise BuildFailed(f"uv is neither at {beside} nor on PATH; run `make setup`")
    return found


def _run(command: list[str | Path], folder: Path) -> None:
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(parts, cwd=folder, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"`{' '.join(parts)}` failed: {error}") from error
    if done.returncode != 0:
        raise BuildFailed(f"`{' '.join(parts)}` ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
