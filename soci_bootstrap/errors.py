"""Every failure a user can meet: what was found, what was expected, what to do.

The class decides the contract's exit status: a ``RefusedError`` always ends with 1 (`failed`);
any other ``BootstrapError`` fails open on a node (2, `degraded`) and is 1 under `bake`,
`--root` and `--strict`.
"""

from __future__ import annotations

from collections.abc import Sequence


class BootstrapError(Exception):
    """A failure with a remedy.

    Args:
        problem: what went wrong, without a full stop.
        found: what was there; empty where the problem says it already.
        expected: what should have been there.
        remedy: what the reader can do about it.
    """

    def __init__(self, problem: str, *, found: str = "", expected: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        """Everything on one line, as stderr's last line and the journal want it."""
        text = self.problem
        if self.found:
            text += f": found {self.found}"
        if self.expected:
            text += f"{',' if self.found else ':'} expected {self.expected}"
        if self.remedy:
            text += f"; {self.remedy}"
        return " ".join(text.split())


class RefusedError(BootstrapError):
    """Something this run will not do whatever the node: exit status 1, nothing changed."""


class UsageError(RefusedError):
    """Bad settings; carries every problem found, so that one run shows them all."""

    def __init__(self, problems: Sequence[str], remedy: str = "see --help") -> None:
        super().__init__("; ".join(problems), remedy=remedy)
        self.problems = tuple(problems)


class UnsupportedArchitectureError(RefusedError):
    """SOCI publishes no release for this machine."""


class LockHeldError(RefusedError):
    """Another run holds the lock past this run's deadline."""


class WorkloadsError(RefusedError):
    """The node runs workloads that the command would break."""


class FetchError(BootstrapError):
    """The release could not be fetched; a retry may help."""


class DigestMismatchError(FetchError):
    """The digest of the download is not the pinned one. Final: never retried, always deleted."""


class ArchiveError(BootstrapError):
    """The release archive is not one that we take anything from."""


class CommandError(BootstrapError):
    """A program failed, timed out or is missing; carries the command and its output."""


class TimedOutError(CommandError):
    """A program did not end in time, which is no verdict about what it was asked."""


class StateError(BootstrapError):
    """A file of the node, or our own record, can't be read as what it should be."""


class DecompressorError(BootstrapError):
    """A decompressor failed its self-test."""


class PreflightError(BootstrapError):
    """The installed daemon does not run on this node."""


class WiringError(BootstrapError):
    """containerd and kubelet can't be pointed at SOCI without losing something of the user's."""


class StoppedError(BootstrapError):
    """SIGTERM or SIGINT ended the run between two of its steps."""

    def __init__(self) -> None:
        super().__init__("interrupted before the end", remedy="run it again: it goes on from here")


class DeadlineError(BootstrapError):
    """The total deadline has passed."""
