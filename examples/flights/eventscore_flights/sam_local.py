"""Every file of ``events/`` through ``sam local invoke``, each record accounted for.

Lambda's own container image runs the function and the layers as ``sam build`` left them; an AWS on this machine holds the model and the
queues. Every record must be scored, rejected for a reason, or returned, and the sample records must not be returned.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eventscore.sources.recognise import is_direct, is_warm_up, recognise
from eventscore_flights.demo.far_ends import receive
from eventscore_flights.demo.stack import BUCKET, DemoStack, function_variables, set_up, sync_folder
from eventscore_local.container_network import NETWORK, ContainerNetwork, docker
from eventscore_local.errors import EmulatorFailed, ToolMissing
from eventscore_local.isolated_tools import tools_folder
from eventscore_local.ministack import CREDENTIALS, Ministack

FUNCTION = "ScoreFunction"
MODEL = "flight-delay"
_INVOKE_TIMEOUT_S = 300


@dataclass(frozen=True)
class Invoked:
    """What became of the records of one file. ``rejected`` counts by reason; ``answer`` is the function's."""

    file: str
    records: int
    scored: int
    rejected: Counter[str]
    returned: int
    answer: Any

    @property
    def complaint(self) -> str | None:
        """What is wrong with it, None if nothing is."""
        if isinstance(self.answer, dict) and "errorType" in self.answer:
            return f"the function failed: {self.answer['errorType']}: {self.answer.get('errorMessage')}"
        if self.returned:
            return f"{self.returned} records came back: {json.dumps(self.answer)}"
        ended = self.scored + self.rejected.total()
        return None if ended == self.records else f"{self.records} records went in, {ended} came out"


def run_all(root: Path, template: Path, trusted_keys: str, files: Sequence[Path]) -> Iterator[Invoked]:
    """Invoke the function of the built ``template`` with each of ``files`` in turn.

    Raises:
        ToolMissing: no Docker, no SAM command line, no emulator.
        EmulatorFailed: one of them did not start.

    """
    image = base_image(template)
    with Ministack(root) as aws, ContainerNetwork(aws.port, image, _python_in(image)) as network:
        stack = set_up(aws)
        sync_folder(stack.s3, root / "model_store", BUCKET)
        variables = {
            name: value.replace(aws.endpoint_url, network.url)
            for name, value in function_variables(aws, stack, MODEL, trusted_keys).items()
        }
        with tempfile.TemporaryDirectory(prefix="eventscore-sam-local-") as scratch:
            configured = _with_variables(template, variables, Path(scratch))
            for file in files:
                yield account(file, _invoke(root, configured, file), stack)


def account(file: Path, answer: Any, stack: DemoStack) -> Invoked:
    """What became of the records in ``file``, by the function's answer and what lies in the queues now; empties them."""
    event = json.loads(file.read_text(encoding="utf-8"))
    if is_warm_up(event):
        return Invoked(file.name, 0, 0, Counter(), 0, answer)
    if is_direct(event):
        answers = answer if isinstance(answer, list) else []
        rejected = Counter(str(one["rejected"]["reason"]) for one in answers if "rejected" in one)
        return Invoked(file.name, len(event), len(answers) - rejected.total(), rejected, 0, answer)
    records = len(list(recognise(event).records(event)))
    failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else []
    scored = len(_drain(stack.sqs, stack.scores_url))
    rejections = [body for body in _drain(stack.sqs, stack.rejects_url) if body["part"] == 1]
    reasons = Counter(str(body["reason"]) for body in rejections)
    return Invoked(file.name, records, scored, reasons, len(failures), answer)


def architecture() -> str:
    """This machine's processor, as Lambda calls it."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def base_image(template: Path) -> str:
    """The image in which SAM runs the function of ``template``.

    Raises:
        ToolMissing: no daemon answers.
        EmulatorFailed: the image cannot be had.

    """
    properties = _read(template)["Resources"][FUNCTION]["Properties"]
    image = f"public.ecr.aws/lambda/{str(properties['Runtime']).replace('python', 'python:')}"
    if not docker("images", "--quiet", image):
        docker("pull", image)
    return image


def _python_in(image: str) -> str:
    return f"/var/lang/bin/python{image.rpartition(':')[2]}"


def _read(template: Path) -> dict[str, Any]:
    if not template.is_file():
        raise ToolMissing(f"{template} is not there: build it with `sam build`, or run `make sam-local`, which does")
    document: dict[str, Any] = yaml.safe_load(template.read_text(encoding="utf-8"))
    return document


def _with_variables(template: Path, variables: Mapping[str, str], scratch: Path) -> Path:
    """``template`` with these environment variables; SAM's own ``--env-vars`` takes only names that the template has."""
    document = _read(template)
    for resource in document["Resources"].values():
        for place in ("ContentUri", "CodeUri", "Location"):
            if isinstance(resource.get("Properties", {}).get(place), str):
                resource["Properties"][place] = str((template.parent / resource["Properties"][place]).resolve())
    passed = {name: value for name, value in variables.items() if name not in CREDENTIALS}
    document["Resources"][FUNCTION]["Properties"]["Environment"] = {"Variables": passed}
    configured = scratch / "template.yaml"
    configured.write_text(yaml.safe_dump(document), encoding="utf-8")
    return configured


def _invoke(root: Path, template: Path, file: Path) -> Any:
    sam = tools_folder(root) / "bin" / "sam"
    if not sam.exists():
        raise ToolMissing(f"the SAM command line is not at {sam}; run `make setup`")
    options = ["--template", str(template), "--event", str(file), "--docker-network", NETWORK, "--skip-pull-image"]
    options += ["--parameter-overrides", f"Architecture={architecture()}"]
    # SAM asks STS about any credentials that it finds, for seconds; what the function needs, it makes up itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [str(sam), "local", "invoke", FUNCTION, *options],
        cwd=root,
        env=environment | {"AWS_DEFAULT_REGION": CREDENTIALS["AWS_REGION"], "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        timeout=_INVOKE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise EmulatorFailed(f"`sam local invoke` with {file.name} failed:\n{done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _drain(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []
    while messages := receive(sqs, queue_url, wait_s=0):
        bodies += [json.loads(message["Body"]) for message in messages]
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    return bodies
