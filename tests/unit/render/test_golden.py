"""Every kind, with and without options, byte for byte.

After a deliberate change: ``UPDATE_GOLDEN=1 pytest tests/unit/render/test_golden.py``, then read the diff.
"""

from __future__ import annotations

import os

import pytest

from soci_bootstrap.render import render
from soci_bootstrap.settings.commands import KINDS
from tests.support.render_requests import ARGUMENTS, GOLDEN, NODE_CONFIG, make

CASES = {
    "userdata.txt": make("userdata"),
    "userdata-options.txt": make("userdata", ARGUMENTS, node_config=NODE_CONFIG),
    "ec2nodeclass.yaml": make("ec2nodeclass"),
    "ec2nodeclass-options.yaml": make(
        "ec2nodeclass",
        ARGUMENTS,
        node_config=NODE_CONFIG,
        instance_store_policy="RAID0",
        name="gpu-nodes",
        cluster_name="prod",
        ami_version="v20260724",
    ),
    "launch-template.json": make("launch-template"),
    "launch-template-options.json": make(
        "launch-template", ARGUMENTS, node_config=NODE_CONFIG, name="soci-nodes"
    ),
    "terraform.tf": make("terraform"),
    "terraform-options.tf": make("terraform", ARGUMENTS, name="soci-nodes"),
    "ssm-document.yaml": make("ssm-document"),
    "ssm-document-options.yaml": make(
        "ssm-document", (*ARGUMENTS, "--force"), name="soci-fleet", cluster_name="prod"
    ),
    "image-builder.yaml": make("image-builder"),
    "image-builder-options.yaml": make("image-builder", ARGUMENTS, name="soci-eks"),
    "packer.pkr.hcl": make("packer"),
    "packer-options.pkr.hcl": make("packer", ARGUMENTS, name="soci-eks"),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_bytes_are_the_golden_files(name: str) -> None:
    text = render(CASES[name])
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_rendering_twice_gives_the_same_bytes(name: str) -> None:
    assert render(CASES[name]) == render(CASES[name])


def test_every_kind_has_a_golden_file_with_and_without_options() -> None:
    for kind in KINDS:
        mine = [case for case in CASES.values() if case.options.kind == kind]
        assert any(not case.arguments for case in mine), kind
        assert any(case.arguments for case in mine), kind
