"""Documents for the places where nodes start: kinds/ has one file for each."""

from __future__ import annotations

from soci_bootstrap.render.kinds.imagebuilder import image_builder_component
from soci_bootstrap.render.kinds.launch_template import launch_template
from soci_bootstrap.render.kinds.nodeclass import ec2_node_class
from soci_bootstrap.render.kinds.packer import packer_template
from soci_bootstrap.render.kinds.ssm import ssm_document
from soci_bootstrap.render.kinds.terraform import terraform_module
from soci_bootstrap.render.kinds.userdata import user_data
from soci_bootstrap.render.request import Document

_RENDERERS = {
    "userdata": user_data,
    "ec2nodeclass": ec2_node_class,
    "launch-template": launch_template,
    "terraform": terraform_module,
    "ssm-document": ssm_document,
    "image-builder": image_builder_component,
    "packer": packer_template,
}


def render(request: Document) -> str:
    """Render the document for ``request``; the same request gives the same bytes."""
    return _RENDERERS[request.options.kind](request)
