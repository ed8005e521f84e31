"""An EC2 Image Builder component: bake in the build phase, doctor in the validate and test phases."""

from __future__ import annotations

from soci_bootstrap.render.request import Document, bake_script, check_script, without_braces
from soci_bootstrap.render.text import yaml_block

_HEAD = """\
# Create it:
#   aws imagebuilder create-component --name %(name)s --semantic-version 1.0.0 --platform Linux \\
#     --supported-os-versions "Amazon Linux 2023" --data file://%(name)s.yaml
name: "%(name)s"
description: "The SOCI snapshotter's parallel pull, baked into an EKS AMI by soci-bootstrap"
schemaVersion: 1.0
phases:
"""


def image_builder_component(request: Document) -> str:
    """Render the YAML document; a step fails with the agent's status, which ends the build."""
    bake = without_braces("image-builder", bake_script(request))
    return (
        _HEAD % {"name": request.name}
        + _phase("build", "Bake", bake)
        + _phase("validate", "Doctor", check_script())
        + _phase("test", "Doctor", check_script())
    )


def _phase(phase: str, step: str, script: str) -> str:
    return (
        f"  - name: {phase}\n"
        "    steps:\n"
        f"      - name: {step}\n"
        "        action: ExecuteBash\n"
        "        inputs:\n"
        "          commands:\n"
        f"            - {yaml_block(script, 14)}"
    )
