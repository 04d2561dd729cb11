"""The fixture of the tests against whole hosts: networks for them, and the check that nothing is left."""

from tests.e2e.conftest import net

__all__ = ["net"]
