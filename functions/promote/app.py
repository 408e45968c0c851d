"""The promote function: points the stack's channel at a version that the training has published, if the version proves itself here."""

import os
from typing import Any

from eventscore.artifact import load_artifact
from eventscore.settings import CHANNEL, MODEL, STORE, TRUSTED_KEYS
from eventscore.signing import Ed25519Verifier, parse_trusted_keys
from eventscore.store.location import open_store
from eventscore.store.versions import ModelVersions


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Move the channel to ``event["version"]``. The model and the channel are the stack's, whatever the event says."""
    told = os.environ
    version, channel = str(event["version"]), told[CHANNEL]
    versions = ModelVersions(open_store(told[STORE]), told[MODEL])
    seen = versions.channels()
    # As the score function will: signature, digests, golden events.
    load_artifact(versions, version, Ed25519Verifier(parse_trusted_keys(told[TRUSTED_KEYS])))
    versions.promote(version, channel, seen)
    return {"channel": channel, "version": version, "was": seen.versions.get(channel)}
