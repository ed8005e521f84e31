"""A Packer template that bakes SOCI into a copy of the newest EKS AMI."""

from __future__ import annotations

from soci_bootstrap.render.request import Document, bake_script, check_script, without_braces
from soci_bootstrap.render.text import hcl_heredoc

_HEAD = """\
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}

variable "kubernetes_version" {
  description = "Kubernetes version of the cluster, such as 1.34."
  type        = string
}

variable "arch" {
  description = "x86_64 or arm64."
  type        = string
  default     = "x86_64"
}

variable "instance_type" {
  description = "What to build on, null for a usual one; nothing of it is frozen into the image."
  type        = string
  default     = null
}

locals {
  large = var.arch == "arm64" ? "m6g.large" : "m6i.large"
  built = regex_replace(timestamp(), "[^0-9]", "")
}

data "amazon-parameterstore" "eks_ami" {
  name = join("/", [
    "/aws/service/eks/optimized-ami", var.kubernetes_version, "amazon-linux-2023", var.arch,
    "standard/recommended/image_id",
  ])
}

source "amazon-ebs" "soci" {
  ami_name      = "%(name)s-${var.kubernetes_version}-${var.arch}-${local.built}"
  instance_type = coalesce(var.instance_type, local.large)
  source_ami    = data.amazon-parameterstore.eks_ami.value
  ssh_username  = "ec2-user"
}

build {
  sources = ["source.amazon-ebs.soci"]

"""


def packer_template(request: Document) -> str:
    """Render the HCL template; a provisioner fails with the agent's status, which ends the build."""
    bake = without_braces("packer", bake_script(request))
    return _HEAD % {"name": request.name} + _shell(bake) + "\n" + _shell(check_script()) + "}\n"


def _shell(script: str) -> str:
    return (
        '  provisioner "shell" {\n'
        "    execute_command = \"sudo sh '{{ .Path }}'\"\n"
        f"    inline          = [{hcl_heredoc(script)}\n    ]\n"
        "  }\n"
    )
