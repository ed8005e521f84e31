"""Ask registries whether SOCI reaches them directly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.fetch.source import TransientError
from soci_bootstrap.system.threads import Task

SECONDS = 2.0
# What Go's HTTP client, which SOCI uses, does not look at.
_NOT_GO = frozenset({"all_proxy", "requests_ca_bundle"})


def ask(urls: Mapping[str, str], environ: Mapping[str, str], seconds: float = SECONDS) -> dict[str, str]:
    """Ask every registry for its ``/v2/``, all at once; any HTTP answer counts.

    Args:
        urls: what to ask, by the registry's name.
        environ: SOCI's own, for its proxies and its trust.
        seconds: for all of them together.

    Returns:
        By name: empty where it answered, else why not.
    """
    # Before the threads start, and only here: few nodes have a registry to ask.
    from soci_bootstrap.fetch.http import HttpSource

    environ = {name: value for name, value in environ.items() if name.lower() not in _NOT_GO}
    tasks = {
        name: Task(partial(HttpSource(url, environ).ask, seconds), seconds) for name, url in urls.items()
    }
    return {name: _why_not(task) for name, task in tasks.items()}


def _why_not(task: Task[int]) -> str:
    try:
        task.result()
    except TransientError as error:
        return error.reason
    except BootstrapError as error:
        return error.found or error.problem
    except Exception as error:  # noqa: BLE001 - no answer, whatever kept it away
        return f"{type(error).__name__}: {error}"
    return ""
