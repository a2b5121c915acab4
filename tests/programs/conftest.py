"""Both ways in which a program is run under a policy."""

from __future__ import annotations

import pytest

from support.programs import Runner, through_api, through_cli


@pytest.fixture(params=["api", "cli"])
def run(request: pytest.FixtureRequest) -> Runner:
    """Run a program under a ready-made policy, through the API and through the command line."""
    return through_api if request.param == "api" else through_cli
