"""The fuzz target: any bytes as an event. `make fuzz` runs it from the kept corpus; it stops at the first input that breaks a promise.

Everything behind the script's name is libFuzzer's: corpus folders (new inputs go into the first), -max_total_time, -runs, ...
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["eventscore"]):
    import small_model
    from eventscore.artifact import load_artifact
    from eventscore.signing import Ed25519Verifier
    from eventscore.store.folder import FolderStore
    from fuzzed_events import EventCheck


def main() -> None:
    """Load the small model and hand over to libFuzzer, which ends the process."""
    import base64

    signer = small_model.new_signer()
    with tempfile.TemporaryDirectory() as folder:
        versions = small_model.publish(FolderStore(Path(folder)), signer)
        artifact = load_artifact(versions, "v1", Ed25519Verifier([base64.b64decode(signer.public_key)]))
    atheris.Setup(sys.argv, EventCheck(artifact).check)
    atheris.Fuzz()


main()
