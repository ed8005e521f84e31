"""An EC2 launch template, in the shape of ``aws ec2 create-launch-template --cli-input-json``."""

from __future__ import annotations

import base64
import json

from soci_bootstrap.render.kinds.userdata import user_data
from soci_bootstrap.render.request import Document


def launch_template(request: Document) -> str:
    """Render the JSON document; userData is its only setting, so that a managed node group adds the rest."""
    encoded = base64.b64encode(user_data(request).encode()).decode("ascii")
    document = {
        "LaunchTemplateName": request.name,
        "VersionDescription": f"soci-bootstrap, zipapp {request.zipapp_sha256}",
        "LaunchTemplateData": {"UserData": encoded},
    }
    return json.dumps(document, indent=2) + "\n"
