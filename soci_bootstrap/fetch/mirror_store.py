"""Write a mirror: into a directory, or an S3 prefix through the aws CLI."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from soci_bootstrap.errors import FetchError, UsageError
from soci_bootstrap.fetch.sources import local_path
from soci_bootstrap.redact import redact_text, redact_url
from soci_bootstrap.system.deadline import Deadline

_MISSING = re.compile(r"\(404\)|NoSuchKey|NoSuchBucket|does not exist")
"""Words of the aws CLI for an object or bucket that is not there."""


class Store(Protocol):
    """A place below which files have paths such as ``v0.15.0/x.tar.gz``."""

    def size_if(self, path: str, sha256: str) -> int | None:
        """Return the file's size in bytes if it is there with that digest, else None."""

    def room(self, path: str, sha256: str) -> AbstractContextManager[str]:
        """Yield a local file to write the bytes to."""

    def put_file(self, path: str, written: str, sha256: str) -> None:
        """Give what is written in ``room``'s file its final name."""

    def read(self, path: str) -> bytes | None:
        """Read a small file, None if there is none."""


def store(destination: str, deadline: Deadline, environ: Mapping[str, str]) -> Store:
    """Make the store for DEST.

    Raises:
        UsageError: neither a directory nor S3.
    """
    if destination.startswith("s3://"):
        if len(destination) <= len("s3://") or destination.startswith("s3:///"):
            raise UsageError([f"{destination} names no bucket: expected s3://bucket/prefix"])
        return S3Store(destination.rstrip("/"), deadline, environ)
    if not destination or ("://" in destination and not destination.startswith("file://")):
        raise UsageError(
            [f"can't mirror to {redact_url(destination)!r}: expected a directory or s3://bucket/prefix"]
        )
    return DirectoryStore(local_path(destination))


class DirectoryStore:
    """Files below a directory; each appears under its name only when it is complete."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def size_if(self, path: str, sha256: str) -> int | None:
        """Hashes what is there: the mirror's name for it proves nothing."""
        digest = hashlib.sha256()
        try:
            with open(os.path.join(self.directory, path), "rb") as file:
                while data := file.read(1 << 20):
                    digest.update(data)
                size = file.tell()
        except OSError:
            return None
        return size if digest.hexdigest() == sha256 else None

    @contextmanager
    def room(self, path: str, sha256: str) -> Iterator[str]:
        """Yield a file beside the final one."""
        final = os.path.join(self.directory, path)
        try:
            os.makedirs(os.path.dirname(final), 0o755, exist_ok=True)
            yield f"{final}.{sha256[:16]}.partial"
        except OSError as error:
            raise FetchError(
                f"can't write {final}",
                found=error.strerror or type(error).__name__,
                expected="a directory with room for about 30 MB a release",
                remedy="free some space there, or choose another DEST",
            ) from error

    def put_file(self, path: str, written: str, sha256: str) -> None:
        """Rename; readers see the old file or the new one."""
        os.chmod(written, 0o644)
        os.replace(written, os.path.join(self.directory, path))

    def read(self, path: str) -> bytes | None:
        """Read the file."""
        try:
            with open(os.path.join(self.directory, path), "rb") as file:
                return file.read()
        except OSError:
            return None


class S3Store:
    """Objects below a prefix. S3 checks the SHA-256 of what arrives; ours is kept as metadata."""

    def __init__(self, prefix: str, deadline: Deadline, environ: Mapping[str, str]) -> None:
        self.prefix = prefix
        self._deadline = deadline
        self._environ = dict(environ)
        cache = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "/root", ".cache")
        scratch = hashlib.sha256(prefix.encode()).hexdigest()[:16]
        self._scratch = DirectoryStore(os.path.join(cache, "soci-bootstrap", "mirror", scratch))

    def size_if(self, path: str, sha256: str) -> int | None:
        """Read the object's metadata, which were written together with the bytes."""
        bucket, _, base = self.prefix[len("s3://") :].partition("/")
        key = f"{base}/{path}" if base else path
        head = self._aws("s3api", "head-object", "--bucket", bucket, "--key", key, "--output", "json")
        if head is None:
            return None
        document = json.loads(head)
        return (
            int(document["ContentLength"]) if document.get("Metadata", {}).get("sha256") == sha256 else None
        )

    def room(self, path: str, sha256: str) -> AbstractContextManager[str]:
        """Yield a file in the user's cache."""
        return self._scratch.room(path, sha256)

    def put_file(self, path: str, written: str, sha256: str) -> None:
        """Upload, with the checksum verified by S3, and drop the local copy."""
        done = self._aws(
            *("s3", "cp", written, f"{self.prefix}/{path}", "--only-show-errors", "--no-progress"),
            *("--checksum-algorithm", "SHA256", "--metadata", f"sha256={sha256}"),
        )
        if done is None:
            raise FetchError(
                f"can't write {self.prefix}/{path}",
                found="no such bucket",
                expected="a bucket that you may write to",
                remedy="create it, or check the address",
            )
        os.unlink(written)

    def read(self, path: str) -> bytes | None:
        """Read the object."""
        return self._aws("s3", "cp", f"{self.prefix}/{path}", "-", "--only-show-errors")

    def _aws(self, *arguments: str) -> bytes | None:
        """Run the CLI and return its stdout; None where it says 404."""
        try:
            done = subprocess.run(
                ["aws", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environ,
                timeout=self._deadline.remaining(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            self._deadline.check(self.prefix)
            return None
        except OSError as error:
            raise FetchError(
                f"can't reach {self.prefix}",
                found=f"the aws CLI does not start ({error.strerror})",
                expected="aws in PATH",
                remedy="install the AWS CLI, or mirror into a directory and copy that",
            ) from error
        if done.returncode == 0:
            return done.stdout
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = redact_text(lines[-1] if lines else f"status {done.returncode}", 200)
        if _MISSING.search(said):
            return None
        raise FetchError(
            f"the aws CLI failed on {self.prefix}",
            found=said,
            # Without s3:ListBucket, S3 answers 403 for what is not there yet.
            expected="s3:GetObject, s3:PutObject and s3:ListBucket allowed there, and AWS CLI 2.22 or newer",
            remedy="check the credentials, the bucket's policy and `aws --version`",
        )
