"""Tests of the launchers see no site defaults of whoever runs them."""

import pytest

from launchers import site


@pytest.fixture(autouse=True)
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "USUAL", "/nowhere/site.toml")
