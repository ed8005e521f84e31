"""JSON schemas of the rendered documents' consumers, written from their documentation.

Everything that a document doesn't use is left out, and unknown properties are refused, so that a
misspelt or misplaced field fails here as it would there.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def closed(required: list[str], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


TEXT: Schema = {"type": "string", "minLength": 1}
TAGS: Schema = {"type": "object", "minProperties": 1, "maxProperties": 20, "additionalProperties": TEXT}


def terms(**properties: Schema) -> Schema:
    # The CRD's CEL rules: at least one selector, and an id or an alias excludes the others.
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": 30,
        "items": {**closed([], **properties), "minProperties": 1, "maxProperties": 1},
    }


# karpenter.k8s.aws/v1, from its CRD's OpenAPI schema.
EC2_NODE_CLASS = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "karpenter.k8s.aws/v1"},
    kind={"const": "EC2NodeClass"},
    metadata=closed(
        ["name"], name={"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 253}
    ),
    spec=closed(
        ["amiSelectorTerms", "subnetSelectorTerms", "securityGroupSelectorTerms", "role"],
        amiSelectorTerms=terms(
            alias={"type": "string", "maxLength": 30, "pattern": r"^al2023@(latest|v[0-9]{8})$"}
        ),
        subnetSelectorTerms=terms(tags=TAGS),
        securityGroupSelectorTerms=terms(tags=TAGS),
        instanceStorePolicy={"enum": ["RAID0"]},
        role=TEXT,
        userData={"type": "string"},
    ),
)

# Systems Manager, "Data elements and parameters" of Command documents, and aws:runShellScript.
SSM_DOCUMENT = closed(
    ["schemaVersion", "mainSteps"],
    schemaVersion={"const": "2.2"},
    description=TEXT,
    parameters={
        "type": "object",
        "propertyNames": {"pattern": r"^[a-zA-Z0-9]+$"},
        "additionalProperties": closed(
            ["type"],
            type={"enum": ["String", "StringList", "Boolean", "Integer", "MapList", "StringMap"]},
            description=TEXT,
            default={"type": "string"},
            allowedValues={"type": "array", "items": TEXT, "minItems": 1},
        ),
    },
    mainSteps={
        "type": "array",
        "minItems": 1,
        "items": closed(
            ["name", "action", "inputs"],
            name={"type": "string", "pattern": r"^[a-zA-Z0-9_]+$"},
            action={"const": "aws:runShellScript"},
            precondition=closed(
                ["StringEquals"],
                StringEquals={
                    "type": "array",
                    "prefixItems": [{"const": "platformType"}, {"const": "Linux"}],
                },
            ),
            inputs=closed(["runCommand"], runCommand={"type": "array", "items": TEXT, "minItems": 1}),
        ),
    },
)

# EC2 Image Builder, the component document of AWSTOE with its ExecuteBash action.
IMAGE_BUILDER_COMPONENT = closed(
    ["schemaVersion", "phases"],
    name=TEXT,
    description=TEXT,
    schemaVersion={"const": 1.0},
    phases={
        "type": "array",
        "minItems": 1,
        "items": closed(
            ["name", "steps"],
            name={"enum": ["build", "validate", "test"]},
            steps={
                "type": "array",
                "minItems": 1,
                "items": closed(
                    ["name", "action", "inputs"],
                    name=TEXT,
                    action={"const": "ExecuteBash"},
                    inputs=closed(["commands"], commands={"type": "array", "items": TEXT, "minItems": 1}),
                ),
            },
        ),
    },
)

# EC2's CreateLaunchTemplate, the members that we use.
LAUNCH_TEMPLATE = closed(
    ["LaunchTemplateName", "LaunchTemplateData"],
    LaunchTemplateName={"type": "string", "pattern": r"^[a-zA-Z0-9().\-/_]{3,128}$"},
    VersionDescription={"type": "string", "maxLength": 255},
    LaunchTemplateData=closed(["UserData"], UserData={"type": "string", "contentEncoding": "base64"}),
)
