"""s3:// through the aws CLI: it finds the instance's role and region, we never see a credential."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Mapping

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch.source import Opened, TransientError
from soci_bootstrap.redact import redact_text, redact_url

_FINAL = re.compile(
    r"\b(?:403|404)\b|NoSuch(?:Key|Bucket)|AccessDenied|Unable to locate credentials|Invalid bucket name"
    r"|does not exist|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|Unknown options",
    re.IGNORECASE,
)


class S3Source:
    """One object."""

    def __init__(self, location: str, environ: Mapping[str, str]) -> None:
        self.location = location
        self.name = redact_url(location)
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints = bytearray()

    def open(self, timeout: float) -> Opened:
        """Start ``aws s3 cp`` to a pipe; the CLI has its own time-outs."""
        command = ["aws", "s3", "cp", self.location, "-", "--only-show-errors", "--no-progress"]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environ,
            )
        except OSError as error:
            raise FetchError(
                f"can't fetch {self.name}",
                found=f"the aws CLI does not start ({error.strerror})",
                expected="aws in PATH",
                remedy="install the AWS CLI, or use an https mirror",
            ) from error
        self._process = process
        self._complaints = bytearray()
        # The complaints are read beside the data: a full pipe would stop the CLI for good.
        listener = threading.Thread(target=self._listen, args=(process,), name="aws stderr", daemon=True)
        listener.start()
        return Opened(
            read=lambda size: self._read(process, listener, size),
            close=lambda: _end(process),
            total=None,
        )

    def cancel(self) -> None:
        """Kill the CLI, so that whoever reads from it sees the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None, "opened as a pipe"  # noqa: S101
        with process.stderr as pipe:
            while data := os.read(pipe.fileno(), 4096):
                self._complaints = (self._complaints + data)[-4096:]

    def _read(self, process: subprocess.Popen[bytes], listener: threading.Thread, size: int) -> bytes:
        assert process.stdout is not None, "opened as a pipe"  # noqa: S101
        data = os.read(process.stdout.fileno(), size)
        if data:
            return data
        status = process.wait()
        listener.join(1.0)
        if status:
            raise self._failed(status)
        return b""

    def _failed(self, status: int) -> Exception:
        text = self._complaints.decode("utf-8", "replace").strip()
        last = redact_text(text.splitlines()[-1] if text else f"aws ended with status {status}", 200)
        if _FINAL.search(last):
            return FetchError(
                f"can't fetch {self.name}",
                found=last,
                expected="an object that the instance's role may read",
                remedy="check the address, the role's s3:GetObject and the bucket's policy",
            )
        return TransientError(f"the aws CLI failed ({last})")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
