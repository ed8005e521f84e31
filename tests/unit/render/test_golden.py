"""Every kind with options, byte for byte, and what it says without any.

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
    "ec2nodeclass-options.yaml": make(
        "ec2nodeclass",
        ARGUMENTS,
        node_config=NODE_CONFIG,
        instance_store_policy="RAID0",
        name="gpu-nodes",
        cluster_name="prod",
        ami_version="v20260724",
    ),
    "launch-template-options.json": make(
        "launch-template", ARGUMENTS, node_config=NODE_CONFIG, name="soci-nodes"
    ),
    "terraform-options.tf": make("terraform", ARGUMENTS, name="soci-nodes"),
    "ssm-document-options.yaml": make(
        "ssm-document", (*ARGUMENTS, "--force"), name="soci-fleet", cluster_name="prod"
    ),
    "image-builder-options.yaml": make("image-builder", ARGUMENTS, name="soci-eks"),
    "packer-options.pkr.hcl": make("packer", ARGUMENTS, name="soci-eks"),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_bytes_are_the_golden_files(name: str) -> None:
    text = render(CASES[name])
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_rendering_twice_gives_the_same_bytes() -> None:
    for case in CASES.values():
        assert render(case) == render(case)


def test_every_kind_has_a_golden_file_with_options() -> None:
    assert {case.options.kind for case in CASES.values() if case.arguments} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("ec2nodeclass", ['name: "soci"', "alias: al2023@latest", 'role: "KarpenterNodeRole-my-cluster"']),
        ("ec2nodeclass", ['karpenter.sh/discovery: "my-cluster"', "set -- install"]),
        ("launch-template", ['"LaunchTemplateName": "soci",']),
        ("terraform", ['default     = "soci"', "set -- install"]),
        ("ssm-document", ["install) set -- install ;;", "rollback) set -- rollback ;;"]),
        ("ssm-document", ["#   aws ssm send-command --document-name soci --parameters Action=install \\"]),
        ("ssm-document", ["#     --targets Key=tag:kubernetes.io/cluster/my-cluster,Values=owned \\"]),
        ("image-builder", ['name: "soci"', "set -- bake"]),
        (
            "packer",
            ['ami_name      = "soci-${var.kubernetes_version}-${var.arch}-${local.built}"', "set -- bake"],
        ),
    ],
)
def test_without_options_it_says_the_defaults(kind: str, lines: list[str]) -> None:
    found = [line.strip().removeprefix("- ") for line in render(make(kind)).splitlines()]
    assert set(lines) <= set(found)
