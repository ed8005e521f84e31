terraform {
  required_version = ">= 1.2"
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "name" {
  description = "Name of the launch template."
  type        = string
  default     = "soci-nodes"
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

locals {
  soci_parts = <<SOCI_BOOTSTRAP_EOT
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="SOCI-BOOTSTRAP"

--SOCI-BOOTSTRAP
Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/sh
# Turns on the SOCI snapshotter's parallel pull; whatever fails here, the node joins on overlayfs.
{
(
set -- install --mirror 's3://my-bucket/soci mirror' --set max_concurrent_unpacks_per_image=8 --deadline 60
export SOCI_BOOTSTRAP_ZIPAPP_URL='https://artifacts.example.com/soci-bootstrap/0.1.0/soci-bootstrap.pyz'
export SOCI_BOOTSTRAP_ZIPAPP_SHA256='3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
# Stands in for scripts/bootstrap.sh, so that a change there leaves the golden files alone.
set -eu

main() {
  url=$${SOCI_BOOTSTRAP_ZIPAPP_URL:-}
  digest=$${SOCI_BOOTSTRAP_ZIPAPP_SHA256:-}
  printf '%s %s %s\n' "$url" "$digest" "$*"
  exit "$${STUB_STATUS:-0}"
}

main "$@"
)
echo "soci-bootstrap: install ended with status $?"
} || :

SOCI_BOOTSTRAP_EOT

  soci_user_data = join("", [
    local.soci_parts,
    var.node_config == "" ? "" : "--SOCI-BOOTSTRAP\nContent-Type: application/node.eks.aws\n\n${var.node_config}\n",
    "--SOCI-BOOTSTRAP--\n",
  ])
}

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
      condition     = length(replace(urlencode(local.soci_user_data), "/%[0-9A-F]{2}/", "x")) <= 16384
      error_message = "The userData is over EC2's limit of 16384 bytes before base64."
    }
  }
}

output "launch_template_id" {
  value = aws_launch_template.soci.id
}

output "launch_template_version" {
  value = aws_launch_template.soci.latest_version
}
