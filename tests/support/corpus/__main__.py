"""How many cases there are: ``python3 -m tests.support.corpus``."""

from __future__ import annotations

from tests.support.corpus import archives, inputs, outputs, server_cases

print(  # noqa: T201
    f"hostile archives {len(archives.CASES)}, servers {len(server_cases.CASES)}, inputs {len(inputs.CASES)},"
    f" outputs {len(outputs.OUTPUTS)} for each of {len(outputs.READERS)} readers"
)
