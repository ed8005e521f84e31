from __future__ import annotations

import pytest

from soci_bootstrap import errors
from soci_bootstrap.errors import BootstrapError, RefusedError, UsageError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BootstrapError("it broke"), "it broke"),
        (BootstrapError("it broke", found="x"), "it broke: found x"),
        (BootstrapError("it broke", expected="y"), "it broke: expected y"),
        (BootstrapError("it broke", found="x", expected="y"), "it broke: found x, expected y"),
        (BootstrapError("it broke", remedy="mend it"), "it broke; mend it"),
        (
            BootstrapError("it\nbroke", found="x\n  z", expected="y", remedy="mend\tit"),
            "it broke: found x z, expected y; mend it",
        ),
        (UsageError(["no --a", "no --b"]), "no --a; no --b; see --help"),
        (UsageError(["no --a"], remedy="give it"), "no --a; give it"),
    ],
)
def test_one_line(error, text) -> None:
    assert str(error) == text


def test_every_problem_is_kept() -> None:
    assert UsageError(["a", "b"]).problems == ("a", "b")


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("UsageError", True),
        ("UnsupportedArchitectureError", True),
        ("LockHeldError", True),
        ("WorkloadsError", True),
        ("FetchError", False),
        ("DigestMismatchError", False),
        ("ArchiveError", False),
        ("CommandError", False),
        ("StateError", False),
        ("DecompressorError", False),
        ("PreflightError", False),
        ("WiringError", False),
        ("DeadlineError", False),
    ],
)
def test_which_fail_open(name, refused) -> None:
    """Exit status 1 or 2 on a node hangs on it."""
    kind = getattr(errors, name)
    assert issubclass(kind, BootstrapError)
    assert issubclass(kind, RefusedError) is refused
