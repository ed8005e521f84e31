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
  ami_name      = "soci-eks-${var.kubernetes_version}-${var.arch}-${local.built}"
  instance_type = coalesce(var.instance_type, local.large)
  source_ami    = data.amazon-parameterstore.eks_ami.value
  ssh_username  = "ec2-user"
}

build {
  sources = ["source.amazon-ebs.soci"]

  provisioner "shell" {
    execute_command = "sudo sh '{{ .Path }}'"
    inline          = [<<SOCI_BOOTSTRAP_EOT
(
set -- bake --mirror 's3://my-bucket/soci mirror' --set max_concurrent_unpacks_per_image=8 --deadline 60
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
exit $?
SOCI_BOOTSTRAP_EOT
    ]
  }

  provisioner "shell" {
    execute_command = "sudo sh '{{ .Path }}'"
    inline          = [<<SOCI_BOOTSTRAP_EOT
report=$(/usr/local/sbin/soci-bootstrap doctor --json)
status=$?
printf '%s\n' "$report"
case $report in
  *'"verdict": "pending"'*) exit 0 ;;
esac
exit "$status"
SOCI_BOOTSTRAP_EOT
    ]
  }
}
