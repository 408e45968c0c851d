"""SAM's transform, as CloudFormation runs it on AWS. A program for the aws-sam-cli's own Python: JSON in, JSON out.

CloudFormation hands the values of a stack's parameters to the transform; SAM decides by them what it makes and what a
published version's name is. ministack would hand over none, so the transform runs here and not there.
"""

import json
import os
import sys
from typing import Any

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform


class _NoManagedPolicies:
    """The names of AWS's managed policies would be read from IAM; the stack uses none by name."""

    def load(self) -> dict[str, str]:
        return {}


def main() -> None:
    """Read {"template", "parameters", "region"}; write the transformed template, or a message to standard error."""
    request: dict[str, Any] = json.load(sys.stdin)
    os.environ["AWS_DEFAULT_REGION"] = request["region"]
    try:
        transformed = transform(request["template"], request["parameters"], _NoManagedPolicies())
    except InvalidDocumentException as error:
        causes = "; ".join(str(cause.message) for cause in error.causes)
        sys.exit(f"SAM refuses the template: {causes or error}")
    json.dump(transformed, sys.stdout)


if __name__ == "__main__":
    main()
