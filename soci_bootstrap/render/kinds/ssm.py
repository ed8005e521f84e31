"""An SSM Command document (schema 2.2) that installs, examines or rolls back on a running fleet."""

from __future__ import annotations

from soci_bootstrap import paths
from soci_bootstrap.render.kinds.nodeclass import DEFAULT_CLUSTER
from soci_bootstrap.render.request import Document, set_arguments, stub_call, without_braces
from soci_bootstrap.render.text import yaml_block

_DOCUMENT = """\
# Create it:
#   aws ssm create-document --name %(name)s --document-type Command --document-format YAML \\
#     --target-type /AWS::EC2::Instance --content file://%(name)s.yaml
# Run it, a tenth of the nodes at a time, and stop after the first that fails:
#   aws ssm send-command --document-name %(name)s --parameters Action=install \\
#     --targets Key=tag:kubernetes.io/cluster/%(cluster)s,Values=owned \\
#     --max-concurrency 10%% --max-errors 0
schemaVersion: "2.2"
description: "Install, examine or roll back the SOCI snapshotter's parallel pull with soci-bootstrap"
parameters:
  Action:
    type: String
    description: "install, doctor (changes nothing) or rollback"
    default: doctor
    allowedValues:
      - install
      - doctor
      - rollback
mainSteps:
  - name: sociBootstrap
    action: aws:runShellScript
    precondition:
      StringEquals:
        - platformType
        - Linux
    inputs:
      runCommand:
        - """


def ssm_document(request: Document) -> str:
    """Render the YAML document; its step's status is the agent's, so --max-errors counts real failures."""
    head = _DOCUMENT % {
        "name": request.name,
        "cluster": request.options.cluster_name or DEFAULT_CLUSTER,
    }
    return head + yaml_block(_script(request), 10)


def _script(request: Document) -> str:
    force = ["--force"] if "--force" in request.arguments else []
    install = without_braces("ssm-document", set_arguments("install", request.arguments))
    prologue = (
        "case '{{ Action }}' in\n"
        f"  install) {install} ;;\n"
        f"  rollback) {set_arguments('rollback', force)} ;;\n"
        "  *) set -- doctor ;;\n"
        "esac\n"
        "# The agent that installed knows best what to undo, and needs no network.\n"
        f'if [ "$1" != install ] && [ -x {paths.AGENT} ]; then\n'
        f'  exec {paths.AGENT} "$@"\n'
        "fi\n"
    )
    without_braces("ssm-document", request.stub)
    return stub_call(request, prologue) + "exit $?\n"
