"""Each rendered document, read by its consumer's own kind of parser and schema."""

from __future__ import annotations

import base64
import io
import json
import shlex
from typing import Any

import hcl2
import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from soci_bootstrap.errors import UsageError
from soci_bootstrap.render import render
from soci_bootstrap.render.kinds.userdata import user_data
from soci_bootstrap.render.request import Document, bake_script, check_script
from tests.support import render_schemas as schemas
from tests.support.render_requests import ARGUMENTS, NODE_CONFIG, heredoc, make

AWKWARD_STUB = """\
#!/bin/sh
main() {
\tcat <<'X'
   indented: "yes" # not a comment
%{ if true } ${HOME} $$ \\n \\\\ 'x' "y"

X
}
main "$@"
"""


def read_yaml(text: str) -> Any:
    """What YAML 1.1 (PyYAML, as AWS's Python tools) and YAML 1.2 (ruamel, as Kubernetes) agree on."""
    old = yaml.safe_load(text)
    parser = YAML(typ="safe", pure=True)
    parser.version = (1, 2)
    assert parser.load(io.StringIO(text)) == old
    return old


def hcl_local(request: Document) -> str:
    local: str = hcl2.loads(render(request))["locals"][0]["soci_parts"]
    return local


@pytest.mark.parametrize("stub", [None, AWKWARD_STUB])
@pytest.mark.parametrize("arguments", [(), ARGUMENTS])
class TestWithStubs:
    def request_for(
        self, kind: str, arguments: tuple[str, ...], stub: str | None, **options: str
    ) -> Document:
        return make(kind, arguments, **({"stub": stub} if stub else {}), **options)

    def test_an_ec2nodeclass_fits_the_crd_and_carries_the_user_data(
        self, arguments: tuple[str, ...], stub: str | None
    ) -> None:
        request = self.request_for("ec2nodeclass", arguments, stub, instance_store_policy="RAID0")
        manifest = read_yaml(render(request))
        jsonschema.validate(manifest, schemas.EC2_NODE_CLASS)
        assert manifest["spec"]["userData"] == user_data(request)

    def test_a_launch_template_carries_the_user_data(
        self, arguments: tuple[str, ...], stub: str | None
    ) -> None:
        request = self.request_for("launch-template", arguments, stub, node_config=NODE_CONFIG)
        template = json.loads(render(request))
        jsonschema.validate(template, schemas.LAUNCH_TEMPLATE)
        decoded = base64.b64decode(template["LaunchTemplateData"]["UserData"], validate=True)
        assert decoded.decode() == user_data(request)

    def test_terraform_parses_and_carries_the_user_data(
        self, arguments: tuple[str, ...], stub: str | None
    ) -> None:
        request = self.request_for("terraform", arguments, stub)
        module = hcl2.loads(render(request))
        head = heredoc(hcl_local(request))
        assert f"{head}--SOCI-BOOTSTRAP--\n" == user_data(request)
        assert '"aws_launch_template"' in module["resource"][0]
        # What self-managed nodes need, and what an Auto Scaling group can't add to a template.
        names = {name.strip('"') for variable in module["variable"] for name in variable}
        assert names >= {"image_id", "instance_type", "instance_profile", "security_group_ids", "node_config"}

    def test_packer_parses_and_carries_the_script(self, arguments: tuple[str, ...], stub: str | None) -> None:
        request = self.request_for("packer", arguments, stub)
        (build,) = hcl2.loads(render(request))["build"]
        scripts = [heredoc(provisioner['"shell"']["inline"][0]) for provisioner in build["provisioner"]]
        assert scripts == [bake_script(request), check_script()]

    def test_an_ssm_document_fits_its_schema(self, arguments: tuple[str, ...], stub: str | None) -> None:
        document = read_yaml(render(self.request_for("ssm-document", arguments, stub)))
        jsonschema.validate(document, schemas.SSM_DOCUMENT)
        parameter = document["parameters"]["Action"]
        assert parameter["allowedValues"] == ["install", "doctor", "rollback"]
        assert parameter["default"] == "doctor"

    def test_an_image_builder_component_fits_its_schema(
        self, arguments: tuple[str, ...], stub: str | None
    ) -> None:
        component = read_yaml(render(self.request_for("image-builder", arguments, stub)))
        jsonschema.validate(component, schemas.IMAGE_BUILDER_COMPONENT)
        assert [phase["name"] for phase in component["phases"]] == ["build", "validate", "test"]


def test_an_ec2nodeclass_names_the_cluster_in_role_and_tags() -> None:
    spec = read_yaml(render(make("ec2nodeclass", cluster_name="1234")))["spec"]
    assert spec["role"] == "KarpenterNodeRole-1234"
    for field in ("subnetSelectorTerms", "securityGroupSelectorTerms"):
        assert spec[field] == [{"tags": {"karpenter.sh/discovery": "1234"}}]
    assert "instanceStorePolicy" not in spec


def test_names_that_yaml_would_read_as_something_else_stay_names() -> None:
    assert read_yaml(render(make("ec2nodeclass", name="null")))["metadata"]["name"] == "null"
    assert read_yaml(render(make("image-builder", name="yes")))["name"] == "yes"


def test_the_ssm_command_line_stands_in_the_document() -> None:
    comments = [line for line in render(make("ssm-document")).splitlines() if line.startswith("#")]
    text = " ".join(line.strip("# \\") for line in comments)
    assert "aws ssm send-command --document-name soci --parameters Action=install" in text
    assert "--max-concurrency 10% --max-errors 0" in text


def test_terraform_adds_the_users_node_config_as_a_part_of_its_own() -> None:
    local = hcl2.loads(render(make("terraform")))["locals"][0]["soci_user_data"]
    assert 'var.node_config == "" ? ""' in local
    assert r"--SOCI-BOOTSTRAP\nContent-Type: application/node.eks.aws\n\n${var.node_config}\n" in local


@pytest.mark.parametrize("kind", ["ssm-document", "image-builder", "packer"])
def test_braces_that_the_engine_would_replace_are_refused(kind: str) -> None:
    with pytest.raises(UsageError, match=r"can't carry '\{\{'"):
        render(make(kind, ("--mirror", "/m/{{x}}")))


@pytest.mark.parametrize("kind", ["terraform", "packer"])
@pytest.mark.parametrize(
    ("text", "why"),
    [("/m/\nSOCI_BOOTSTRAP_EOT\n", "ends its heredoc"), ("$${x}", "can't escape"), ("%%{x}", "can't escape")],
)
def test_text_that_hcl_can_not_hold_is_refused(kind: str, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        render(make(kind, ("--mirror", text)))


REFUSED = ("$${", "%%{", "{{", "--SOCI-BOOTSTRAP", "SOCI_BOOTSTRAP_EOT")
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).filter(
    lambda text: not any(hostile in text for hostile in REFUSED)
)


@settings(max_examples=30, deadline=None)
@given(arguments=st.lists(PRINTABLE, max_size=6))
def test_any_argument_comes_out_of_every_document_as_it_went_in(arguments: list[str]) -> None:
    asked = make("userdata", arguments)
    data = user_data(asked)
    (line,) = (line for line in data.splitlines() if line.startswith("set -- "))
    assert shlex.split(line) == ["set", "--", "install", *arguments]
    assert yaml.safe_load(render(make("ec2nodeclass", arguments)))["spec"]["userData"] == data
    assert heredoc(hcl_local(make("terraform", arguments))) + "--SOCI-BOOTSTRAP--\n" == data
    bake = yaml.safe_load(render(make("image-builder", arguments)))["phases"][0]["steps"][0]["inputs"][
        "commands"
    ]
    assert bake == [bake_script(asked)]
