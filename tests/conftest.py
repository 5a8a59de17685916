"""What holds for all tests."""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a test that is skipped for the want of a package, or of Go, fails: CI has to install it."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if any(hint in reason for hint in ("apt-get install", "(Debian: ", "https://go.dev/dl/")):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, which has to install what it needs: {reason}"
    return report
