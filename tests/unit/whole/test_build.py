"""scripts/pack.py and scripts/attest.py, on small wheels made here; the shims that stand in for packages."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import marshal
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pack = load(SCRIPTS / "pack.py")


def wheel(directory: Path, name: str, files: dict[str, str], metadata: str = "") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    package, version = name.split("-")[:2]
    with zipfile.ZipFile(directory / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(
            f"{package}-{version}.dist-info/METADATA", f"Name: {package}\nVersion: {version}\n{metadata}"
        )
        archive.writestr(f"{package}-{version}.dist-info/licenses/LICENSE", f"licence of {package}")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    pure, isal = tmp_path / "parts/pure", tmp_path / "parts/isal"
    expression = "License-Expression: MIT\n"
    files = {
        "requests/api.py": "x = 1\n",
        "requests/help.py": "",
        "requests/data.json": "",
        "requests-2.0.pth": "",
    }
    wheel(pure, "requests-2.0-py3-none-any.whl", files, "License: Apache-2.0\n")
    files = {"urllib3/response.py": "", "urllib3/contrib/socks.py": ""}
    wheel(pure, "urllib3-2.0-py3-none-any.whl", files, expression)
    wheel(pure, "tomli-2.0-py3-none-any.whl", {"tomli/__init__.py": ""}, expression)
    classifier = "Classifier: License :: OSI Approved :: MIT License\n"
    wheel(pure, "tomli_w-1.0-py3-none-any.whl", {"tomli_w/__init__.py": ""}, classifier)
    wheel(pure, "certifi-1.0-py3-none-any.whl", {"certifi/__init__.py": "", "certifi/cacert.pem": ""})
    for machine in ("x86_64", "aarch64"):
        files = {
            f"isal/igzip_lib.cpython-39-{machine}-linux-gnu.so": machine,
            f"isal/isal_zlib.cpython-39-{machine}-linux-gnu.so": "",
            "isal/isa-l/LICENSE": "licence of ISA-L",
        }
        wheel(isal, f"isal-1.0-cp39-cp39-manylinux_2_17_{machine}.whl", files, "License: PSF-2.0\n")
    return tmp_path / "parts"


def test_takes_what_is_used_and_nothing_else(parts: Path) -> None:
    code, licences = pack.third_party(str(parts))
    assert code == {
        "requests/api.py": b"x = 1\n",
        "urllib3/response.py": b"",
        "tomli/__init__.py": b"",
        "tomli_w/__init__.py": b"",
        "soci_bootstrap/data/igzip_lib-39-x86_64.so": b"x86_64",
        "soci_bootstrap/data/igzip_lib-39-aarch64.so": b"aarch64",
    }
    text = pack.notice(licences).decode()
    for package in ("requests", "urllib3", "tomli", "tomli_w", "isal", "ISA-L"):
        assert f"licence of {package}" in text
    assert "certifi" not in text


def test_carries_units_stub_and_commit_with_the_code() -> None:
    files = pack.ours(str(SCRIPTS.parent), "abc123")
    for name in (
        "__main__.py",
        "LICENSE",
        "certifi.py",
        "soci_bootstrap/cli/__init__.py",
        "soci_bootstrap/data/bootstrap.sh",
        "soci_bootstrap/data/gunzip",
        "soci_bootstrap/data/systemd/soci-snapshotter.service",
        "soci_bootstrap/data/systemd/containerd.service.d/50-soci-bootstrap.conf",
    ):
        assert name in files
    assert b'COMMIT = "abc123"' in files["soci_bootstrap/_build.py"]
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]


FILES = {"b.py": b"x = 1\n", "a/c.txt": b"c" * 1000, "__main__.py": b"print('ran')\n"}


def test_order_umask_and_clock_play_no_part() -> None:
    old = os.umask(0o077)
    try:
        first = pack.pack(FILES)
    finally:
        os.umask(old)
    assert pack.pack(dict(reversed(list(FILES.items())))) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(FILES)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert first.startswith(b"#!/usr/bin/python3 -I\n")


def test_byte_code_needs_no_look_at_the_source() -> None:
    data = pack.compiled("m.py", b"x = 1\n")
    assert data[4:8] == b"\x01\0\0\0", "hash-based and unchecked, PEP 552"
    code = marshal.loads(data[16:])
    assert code.co_filename == "m.py"


def test_byte_code_is_for_the_python_that_compiled_it(
    parts: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "ours", lambda *_: {"ours.py": b""})
    pack.main("", str(parts), "abc")
    with zipfile.ZipFile(io.BytesIO(capfdbinary.readouterr().out)) as archive:
        names = archive.namelist()
    assert "ours.py" in names
    assert ("ours.pyc" in names) == (sys.version_info[:2] == (3, 9))
    assert "NOTICE" in names


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://artifacts.example.com/a.pyz", "expected https://, s3:// or file:///"),
        ("/srv/a.pyz", "expected https://, s3:// or file:///"),
        ("https://artifacts.example.com/$(id)", "does not belong in a URL"),
    ],
)
def test_a_url_that_the_stub_would_refuse_is_refused_before_anything_is_built(url: str, says: str) -> None:
    done = subprocess.run(
        [SCRIPTS / "build", "--zipapp-url", url], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"build: --zipapp-url {url}")
    assert says in done.stderr


def test_attests_what_went_in(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    attest = importlib.import_module("attest")
    zipapp = pack.pack({"soci_bootstrap/__init__.py": b'__version__ = "7.0"\n'})
    (tmp_path / "soci-bootstrap.pyz").write_bytes(zipapp)
    (tmp_path / "bootstrap.sh").write_bytes(b"")
    attest.main(str(parts), "abc-dirty", str(tmp_path))
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["version"] == "7.0"
    found = {item["name"]: item["licenses"][0]["license"] for item in bill["components"]}
    assert found == {
        "isal": {"name": "PSF-2.0"},
        "isa-l": {"id": "BSD-3-Clause"},
        "requests": {"name": "Apache-2.0"},
        "tomli": {"name": "MIT"},
        "tomli_w": {"name": "MIT"},
        "urllib3": {"name": "MIT"},
    }
    statement = json.loads((tmp_path / "provenance.json").read_text())
    assert statement["subject"][0]["digest"]["sha256"] == hashlib.sha256(zipapp).hexdigest()
    materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert materials[0]["digest"] == {"gitCommit": "abc"}
    assert len(materials) == 1 + 2 + 4


class TestShims:
    def test_the_users_bundle_goes_before_the_nodes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        certifi = load(SCRIPTS / "shims" / "certifi.py")
        monkeypatch.setenv("SSL_CERT_FILE", "/mine.pem")
        assert certifi.where() == "/mine.pem"
        monkeypatch.delenv("SSL_CERT_FILE")
        for present in ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"):
            monkeypatch.setattr(os.path, "exists", lambda path, present=present: path == present)
            assert certifi.where() == present
        monkeypatch.setattr(os.path, "exists", lambda _: False)
        assert certifi.where() == "/etc/pki/tls/certs/ca-bundle.crt"

    def test_host_names_are_encoded_or_refused_as_the_real_one_does(self) -> None:
        idna = load(SCRIPTS / "shims" / "idna.py")
        assert idna.encode("bücher.example", uts46=True) == b"xn--bcher-kva.example"
        with pytest.raises(idna.IDNAError):
            idna.encode("ü" * 100, strict=True, std3_rules=True)

    def test_requests_takes_the_detector_for_one(self) -> None:
        shim = load(SCRIPTS / "shims" / "charset_normalizer.py")
        assert shim.__version__.startswith("3."), "requests wants 2.0.0 up to 4"
        assert shim.detect(b"")["encoding"] == "utf-8"
