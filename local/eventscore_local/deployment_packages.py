"""What `sam build` and `sam package` do, for this machine: folders become zips in S3, nested templates objects."""

import hashlib
import io
import json
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventscore_local.deployment_concessions import emulated
from eventscore_local.deployment_template import Template, read_template, transform
from eventscore_local.errors import BuildFailed
from eventscore_local.layers import HostLayers

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BUILD_TIMEOUT_S = 120


class Packages:
    """Uploads what a template refers to by a path. The bucket must exist; keys are digests, so the same folder has the same key."""

    def __init__(self, root: Path, s3: Any, bucket: str, endpoint_url: str, layers: HostLayers) -> None:
        self._root = root
        self._s3 = s3
        self._bucket = bucket
        self._endpoint_url = endpoint_url
        self._layers = layers
        self._layer_addresses: dict[Path | None, str] = {}
        self.left_out: dict[str, str] = {}
        """Resources of nested templates that the emulator cannot make: their names, with their types."""

    def package(self, template_path: Path) -> Template:
        """The template with addresses in S3 for its paths. Raises BuildFailed."""
        template = read_template(template_path)
        folder = template_path.parent
        for name, resource in template["Resources"].items():
            properties = resource.get("Properties", {})
            match resource["Type"]:
                case "AWS::Serverless::LayerVersion":
                    properties["ContentUri"] = self._layer(folder / properties["ContentUri"])
                case "AWS::Serverless::Function":
                    properties["CodeUri"] = self._zipped(_built_function(folder / properties["CodeUri"], name))
                case "AWS::Serverless::Application":
                    properties["Location"] = self._nested(folder / properties["Location"])
        return template

    def _layer(self, recipe: Path) -> str:
        built = next((folder for folder in self._layers.layers if folder.name.startswith(f"{recipe.name}-")), None)
        if built not in self._layer_addresses:
            # A layer that is not built for this machine (Kafka's) is uploaded empty: the stack's own condition leaves it out.
            self._layer_addresses[built] = self._zipped(dict(_files(built)) if built else {})
        return self._layer_addresses[built]

    def _nested(self, path: Path) -> str:
        packaged = self.package(path)
        # Of a nested template the transform sees the defaults only: its parameters are values of the outer stack's resources.
        whole = transform(self._root, packaged, {}) if "Transform" in packaged else packaged
        result = emulated(whole, {})
        self.left_out |= {f"{path.stem}.{name}": kind for name, kind in result.left_out.items()}
        return self.put_template(result.template)

    def put_template(self, template: Template) -> str:
        """Upload a template; returns its URL."""
        key = self._upload(json.dumps(template).encode(), "template")
        return f"{self._endpoint_url}/{self._bucket}/{key}"

    def _zipped(self, files: Mapping[str, bytes]) -> str:
        return f"s3://{self._bucket}/{self._upload(zip_archive(files), 'zip')}"

    def _upload(self, content: bytes, ending: str) -> str:
        key = f"{hashlib.sha256(content).hexdigest()}.{ending}"
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=content)
        return key


def zip_archive(files: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes hang on nothing but the files' names and contents. Stored, since it does not leave the machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name])
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def _built_function(source: Path, logical_name: str) -> dict[str, bytes]:
    """What the function's makefile copies, as `sam build` calls it."""
    with tempfile.TemporaryDirectory(prefix="eventscore-build-") as target:
        command = ["make", "-C", str(source), f"build-{logical_name}", f"ARTIFACTS_DIR={target}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildFailed(f"`{' '.join(command)}` failed: {error}") from error
        if done.returncode != 0:
            raise BuildFailed(f"`{' '.join(command)}` ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
        return dict(_files(Path(target)))
