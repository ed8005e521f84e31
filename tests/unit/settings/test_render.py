from __future__ import annotations

import pytest

from soci_bootstrap.settings.options import OPTIONS, RENDER_KINDS
from soci_bootstrap.settings.render import KINDS, RenderOptions, problems

URL = "https://host.example:8443/a/soci-bootstrap.pyz"


@pytest.mark.parametrize(
    "options",
    [
        {"zipapp_url": URL},
        {"zipapp_url": "s3://my-bucket/a/b.pyz"},
        {"zipapp_url": f"{URL}?versionId=a%2Fb&x=1"},
        {"zipapp_url": "https://[fd00::1]/a.pyz"},
        {"zipapp_url": "https://[fd00::1]:8443/a.pyz"},
        {"zipapp_sha256": "AB" * 32},
        {"node_config": "/any/file"},
        {"kind": "ec2nodeclass", "instance_store_policy": "RAID0", "name": "gpu-1", "cluster_name": "Prod_1"},
        {"kind": "ec2nodeclass", "ami_version": "v20260724"},
        {"kind": "ssm-document", "cluster_name": "prod"},
    ],
)
def test_good_options_have_no_problems(options: dict[str, str]) -> None:
    assert problems(RenderOptions(**{"kind": "userdata", **options})) == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"kind": "cloudformation"}, "expected one of userdata"),
        ({"kind": ""}, "found 'no kind'"),
        ({"zipapp_url": "http://host.example/a.pyz"}, "expected an https:// or s3:// URL"),
        ({"zipapp_url": "file:///a.pyz"}, "--zipapp-url"),
        ({"zipapp_url": "https://host.example/a'b"}, "--zipapp-url"),
        ({"zipapp_url": "https://host.example/${x}"}, "--zipapp-url"),
        ({"zipapp_url": "https://user:pass@host.example/a"}, "--zipapp-url"),
        ({"zipapp_url": "https://host.example/a\n"}, "--zipapp-url"),
        ({"zipapp_url": "https://[fd00::1/a"}, "--zipapp-url"),
        ({"zipapp_url": "https://[$(id)]/a"}, "--zipapp-url"),
        ({"zipapp_sha256": "ab"}, "expected 64 hex digits"),
        ({"kind": "ec2nodeclass", "instance_store_policy": "RAID1"}, "expected RAID0"),
        ({"kind": "ec2nodeclass", "name": "Upper"}, "--name"),
        ({"kind": "ec2nodeclass", "name": "ab"}, "--name"),
        ({"kind": "ec2nodeclass", "name": "a" * 64}, "--name"),
        ({"kind": "ec2nodeclass", "name": "nodes-"}, "--name"),
        ({"kind": "ec2nodeclass", "cluster_name": "a b"}, "--cluster-name"),
        ({"kind": "ec2nodeclass", "ami_version": "2023"}, "--ami-version"),
    ],
)
def test_a_bad_value_says_what_was_expected(options: dict[str, str], part: str) -> None:
    (problem,) = problems(RenderOptions(**{"kind": "userdata", **options}))
    assert part in problem


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_the_document_has_no_place_for_is_refused(kind: str) -> None:
    everything = RenderOptions(
        kind=kind,
        node_config="/f",
        instance_store_policy="RAID0",
        name="soci-nodes",
        cluster_name="prod",
        ami_version="latest",
    )
    text = "\n".join(problems(everything))
    data = kind in ("userdata", "ec2nodeclass", "launch-template", "terraform")
    assert ("--node-config has no place" in text) is not data
    assert ("--instance-store-policy has no place" in text) is (kind != "ec2nodeclass")
    assert ("--cluster-name has no place" in text) is (kind not in ("ec2nodeclass", "ssm-document"))
    assert ("--name has no place" in text) is (kind == "userdata")


def test_all_problems_are_told_at_once() -> None:
    options = RenderOptions(kind="packer", zipapp_url="x", zipapp_sha256="y", name="Z")
    assert len(problems(options)) == 3


def test_the_command_line_knows_the_same_kinds_and_options() -> None:
    from dataclasses import fields

    assert RENDER_KINDS == KINDS
    flags = {option.attribute for option in OPTIONS if option.commands == ("render",)}
    assert flags == {field.name for field in fields(RenderOptions)} - {"kind"}
