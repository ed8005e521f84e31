from __future__ import annotations

import pytest

from soci_bootstrap.redact import holds_secret, redact_text, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://mirror.test/a/b.tar.gz", "https://mirror.test/a/b.tar.gz"),
        ("https://user:hunter2@mirror.test/a", "https://mirror.test/a"),
        ("https://us@er:hun@ter2@mirror.test/a", "https://mirror.test/a"),
        ("https://mirror.test/a?X-Amz-Signature=hunter2&x=1", "https://mirror.test/a"),
        ("https://mirror.test/a#hunter2", "https://mirror.test/a"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("/a/directory", "/a/directory"),
        ("https://mirror.test/@scope/a", "https://mirror.test/@scope/a"),
        ("https://mirror.test:8443/@scope/a", "https://mirror.test:8443/@scope/a"),
        ("https://[fd00::1]:8443/@scope/a", "https://[fd00::1]:8443/@scope/a"),
        *((f"https://user:hun{c}ter2@mirror.test/a", "https://mirror.test/a") for c in "/?#"),
    ],
)
def test_url(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://user:hunter2@mirror.test/a", True),
        ("https://mirror.test/a?X-Amz-Signature=hunter2", True),
        ("https://mirror.test/a?sv=1&sig=hunter2", True),
        ("https://mirror.test/@scope/a?versionId=1", False),
        ("s3://bucket/prefix", False),
    ],
)
def test_what_holds_a_secret(url: str, secret: bool) -> None:
    assert holds_secret(url) is secret


@pytest.mark.parametrize(
    "text",
    [
        "GET https://user:hunter2@mirror.test/a failed",
        "Max retries exceeded with url: /a/b?X-Amz-Signature=hunter2 (Caused by x)",
        "see https://mirror.test/a?sig=hunter2, and go",
        "X-Amz-Security-Token: hunter2",
        "Authorization: Bearer hunter2",
        "authorization=Basic hunter2",
        "aws_secret_access_key = hunter2",
        "token=hunter2&x=1",
        "AccessKeyId: hunter2",
        "password: 'hunter2'",
    ],
)
def test_secrets_are_taken_out_of_text(text: str) -> None:
    assert "hunter2" not in redact_text(text)


def test_text_is_one_printable_line_of_bounded_length() -> None:
    shown = redact_text("a\x1b]0;owned\x07\nb\t" + "c" * 1000, 80)
    assert shown.isprintable()
    assert shown.startswith("a ]0;owned b ccc")
    assert len(shown) == 80
