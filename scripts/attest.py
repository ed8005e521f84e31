"""Write what dist/ was made of: attest.py PARTS COMMIT DIST.

``sbom.cdx.json`` is a CycloneDX 1.5 bill of materials, ``provenance.json`` an in-toto statement with a
SLSA v1 predicate (not signed: that is for whoever publishes). Neither holds a time or a host, so that
they are as reproducible as the zipapp.
"""

from __future__ import annotations

import email
import hashlib
import json
import sys
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pack import PACKAGES

BYTE_CODE = "soci_bootstrap/__init__.pyc"
ARTIFACTS = ("soci-bootstrap.pyz", "bootstrap.sh")


@dataclass(frozen=True)
class Part:
    """One wheel that parts of went into the zipapp."""

    name: str
    version: str
    licence: str
    file: str
    sha256: str

    @property
    def purl(self) -> str:
        """Its package URL, down to the file."""
        return f"pkg:pypi/{self.name}@{self.version}?file_name={self.file}"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def part(wheel: Path) -> Part:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields = email.message_from_bytes(archive.read(name))
    licence = fields["License-Expression"] or fields["License"]
    if not licence:
        classifiers = fields.get_all("Classifier", [])
        licence = next(text for text in classifiers if text.startswith("License")).rpartition(" :: ")[2]
        licence = licence.replace(" License", "")
    return Part(fields["Name"].lower(), fields["Version"], licence, wheel.name, sha256(wheel))


def parts_of(directory: Path) -> list[Part]:
    wanted = (*PACKAGES, "isal")
    found = sorted([*directory.glob("pure/*.whl"), *directory.glob("isal/*.whl")])
    return [part(wheel) for wheel in found if wheel.name.split("-")[0] in wanted]


def component(item: Part) -> dict[str, object]:
    return {
        "type": "library",
        "bom-ref": item.purl,
        "name": item.name,
        "version": item.version,
        "purl": item.purl,
        "hashes": [{"alg": "SHA-256", "content": item.sha256}],
        "licenses": [{"license": {"name": item.licence}}],
    }


def sbom(parts: list[Part], digest: str, version: str) -> dict[str, object]:
    isal = next(item for item in parts if item.name == "isal")
    linked = {
        "type": "library",
        "bom-ref": "isa-l",
        "name": "isa-l",
        "description": f"linked into the igzip_lib of python-isal {isal.version}",
        "licenses": [{"license": {"id": "BSD-3-Clause"}}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "soci-bootstrap",
                "name": "soci-bootstrap",
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [*map(component, parts), linked],
        "dependencies": [
            {"ref": "soci-bootstrap", "dependsOn": [item.purl for item in parts]},
            *({"ref": item.purl, "dependsOn": ["isa-l"] if item.name == "isal" else []} for item in parts),
        ],
    }


def provenance(parts: list[Part], commit: str, dist: Path) -> dict[str, object]:
    with zipfile.ZipFile(dist / "soci-bootstrap.pyz") as archive:
        byte_code = BYTE_CODE in archive.namelist()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": sha256(dist / name)}} for name in ARTIFACTS],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:soci-bootstrap:scripts/build",
                "externalParameters": {"commit": commit},
                "internalParameters": {"byteCode": "CPython 3.9" if byte_code else None},
                "resolvedDependencies": [
                    {"name": "soci-bootstrap", "digest": {"gitCommit": commit.partition("-")[0]}},
                    *({"uri": item.purl, "digest": {"sha256": item.sha256}} for item in parts),
                ],
            },
            "runDetails": {"builder": {"id": "urn:soci-bootstrap:scripts/build"}},
        },
    }


def main(parts_directory: str, commit: str, dist_directory: str) -> None:
    dist = Path(dist_directory)
    parts = parts_of(Path(parts_directory))
    namespace: dict[str, str] = {}
    with zipfile.ZipFile(dist / "soci-bootstrap.pyz") as archive:
        exec(archive.read("soci_bootstrap/__init__.py"), namespace)
    bill = sbom(parts, sha256(dist / "soci-bootstrap.pyz"), namespace["__version__"])
    for name, document in (("sbom.cdx.json", bill), ("provenance.json", provenance(parts, commit, dist))):
        (dist / name).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
