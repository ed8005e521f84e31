"""A Terraform module for a launch template with our userData in it."""

from __future__ import annotations

from soci_bootstrap.render.kinds.userdata import (
    BOUNDARY,
    END,
    LIMIT,
    NODE_CONFIG_TYPE,
    open_user_data,
    user_data,
)
from soci_bootstrap.render.request import Document
from soci_bootstrap.render.text import hcl_heredoc, hcl_string

_VARIABLES = """\
variable "name" {
  description = "Name of the launch template."
  type        = string
  default     = %(name)s
}

variable "image_id" {
  description = "An AL2023 EKS AMI for self-managed nodes; null leaves the choice to the managed node group."
  type        = string
  default     = null
}

variable "instance_type" {
  description = "Instance type; null leaves the choice to the node group."
  type        = string
  default     = null
}

variable "instance_profile" {
  description = "Instance profile of self-managed nodes, by name; managed node groups bring their own."
  type        = string
  default     = null
}

variable "security_group_ids" {
  description = "Security groups of self-managed nodes; null leaves the choice to the managed node group."
  type        = list(string)
  default     = null
}

variable "node_config" {
  description = "NodeConfig YAML for self-managed nodes; managed node groups get theirs from EKS."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of the launch template."
  type        = map(string)
  default     = {}
}
"""

_RESOURCE = """\
resource "aws_launch_template" "soci" {
  name                   = var.name
  image_id               = var.image_id
  instance_type          = var.instance_type
  vpc_security_group_ids = var.security_group_ids
  user_data              = base64encode(local.soci_user_data)
  tags                   = var.tags

  dynamic "iam_instance_profile" {
    for_each = var.instance_profile == null ? [] : [var.instance_profile]
    content {
      name = iam_instance_profile.value
    }
  }

  lifecycle {
    precondition {
      # EC2 counts bytes, length() characters.
      condition     = length(replace(urlencode(local.soci_user_data), "/%%[0-9A-F]{2}/", "x")) <= %(limit)d
      error_message = "The userData is over EC2's limit of %(limit)d bytes before base64."
    }
  }
}

output "launch_template_id" {
  value = aws_launch_template.soci.id
}

output "launch_template_version" {
  value = aws_launch_template.soci.latest_version
}
"""


def terraform_module(request: Document) -> str:
    """Render the module as one file; the NodeConfig of self-managed nodes can be a variable of it."""
    user_data(request)  # refuses here what EC2 would refuse at apply
    node_config = f'"--{BOUNDARY}\\nContent-Type: {NODE_CONFIG_TYPE}\\n\\n${{var.node_config}}\\n"'
    return (
        'terraform {\n  required_version = ">= 1.2"\n  required_providers {\n'
        '    aws = {\n      source = "hashicorp/aws"\n    }\n  }\n}\n\n'
        + _VARIABLES % {"name": hcl_string(request.name)}
        + "\nlocals {\n"
        + f"  soci_parts = {hcl_heredoc(open_user_data(request))}\n\n"
        + '  soci_user_data = join("", [\n'
        + "    local.soci_parts,\n"
        + f'    var.node_config == "" ? "" : {node_config},\n'
        + f"    {hcl_string(END)},\n"
        + "  ])\n}\n\n"
        + _RESOURCE % {"limit": LIMIT}
    )
