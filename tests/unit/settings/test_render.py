from __future__ import annotations

from dataclasses import fields

import pytest

from soci_bootstrap import render
from soci_bootstrap.errors import UsageError
from soci_bootstrap.settings import Settings, commandline, load
from soci_bootstrap.settings.commands import KINDS
from soci_bootstrap.settings.options import OPTIONS
from soci_bootstrap.settings.render import RenderOptions

URL = "https://host.example:8443/a/soci-bootstrap.pyz"


def loaded(*argv: str, **environ: str) -> Settings:
    def read_file(path: str) -> bytes:
        raise FileNotFoundError(path)

    return load(argv, environ, read_file)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("userdata", "zipapp-url", URL),
        ("userdata", "zipapp-url", "s3://my-bucket/a/b.pyz"),
        ("userdata", "zipapp-url", f"{URL}?versionId=a%2Fb&x=1"),
        ("userdata", "zipapp-url", "https://[fd00::1]/a.pyz"),
        ("userdata", "zipapp-url", "https://[fd00::1]:8443/a.pyz"),
        ("userdata", "node-config", "/any/file"),
        ("ec2nodeclass", "instance-store-policy", "RAID0"),
        ("ec2nodeclass", "name", "gpu-1"),
        ("ec2nodeclass", "cluster-name", "Prod_1"),
        ("ec2nodeclass", "ami-version", "v20260724"),
        ("ec2nodeclass", "ami-version", "latest"),
        ("ssm-document", "cluster-name", "prod"),
    ],
)
def test_good_values_are_taken_as_they_are(kind: str, name: str, value: str) -> None:
    options = loaded("render", kind, f"--{name}", value).render
    assert getattr(options, name.replace("-", "_")) == value


def test_a_digest_is_taken_in_lower_case() -> None:
    assert loaded("render", "userdata", "--zipapp-sha256", "AB" * 32).render.zipapp_sha256 == "ab" * 32


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("zipapp-url", "http://host.example/a.pyz", "expected an https:// or s3:// URL"),
        ("zipapp-url", "file:///a.pyz", "--zipapp-url"),
        ("zipapp-url", "https://host.example/a'b", "--zipapp-url"),
        ("zipapp-url", "https://host.example/${x}", "--zipapp-url"),
        ("zipapp-url", "https://user:pass@host.example/a", "--zipapp-url"),
        ("zipapp-url", "https://host.example/a\n", "--zipapp-url"),
        ("zipapp-url", "https://[fd00::1/a", "--zipapp-url"),
        ("zipapp-url", "https://[$(id)]/a", "--zipapp-url"),
        ("zipapp-sha256", "ab", "expected 64 hex digits"),
        ("instance-store-policy", "RAID1", "expected RAID0"),
        ("name", "Upper", "--name: found 'Upper', expected 3 to 63 lower-case letters"),
        ("name", "ab", "--name"),
        ("name", "a" * 64, "--name"),
        ("name", "nodes-", "--name"),
        ("cluster-name", "a b", "--cluster-name: found 'a b', expected at most 100 letters"),
        ("ami-version", "2023", "--ami-version: found '2023', expected latest or a release like"),
    ],
)
def test_a_bad_value_says_what_was_expected(name: str, value: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded("render", "ec2nodeclass", f"--{name}", value)
    (problem,) = caught.value.problems
    assert part in problem


@pytest.mark.parametrize("kind", KINDS)
def test_a_flag_that_the_document_has_no_place_for_is_refused(kind: str) -> None:
    given = {
        "node-config": "/f",
        "instance-store-policy": "RAID0",
        "name": "soci-nodes",
        "cluster-name": "prod",
        "ami-version": "latest",
    }
    argv = [word for name, value in given.items() for word in (f"--{name}", value)]
    text = "\n".join(commandline.parse(["render", kind, *argv]).problems)
    data = kind in ("userdata", "ec2nodeclass", "launch-template", "terraform")
    assert ("--node-config has no place" in text) is not data
    assert ("--instance-store-policy has no place" in text) is (kind != "ec2nodeclass")
    assert ("--cluster-name has no place" in text) is (kind not in ("ec2nodeclass", "ssm-document"))
    assert ("--ami-version has no place" in text) is (kind != "ec2nodeclass")
    assert ("--name has no place" in text) is (kind == "userdata")
    # In a file or the environment it may stand for the documents that have one.
    environ = {f"SOCI_BOOTSTRAP_{name.upper().replace('-', '_')}": value for name, value in given.items()}
    assert loaded("render", kind, **environ).render.cluster_name == "prod"


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        loaded("render", "packer", "--zipapp-url", "x", "--zipapp-sha256", "y", "--name", "Z")
    assert len(caught.value.problems) == 3


def test_the_table_has_the_options_of_render_and_the_kinds_that_are_rendered() -> None:
    flags = {option.attribute for option in OPTIONS if option.commands == ("render",)}
    assert flags == {field.name for field in fields(RenderOptions)} - {"kind"}
    assert tuple(render._RENDERERS) == KINDS
