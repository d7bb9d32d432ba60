"""One server and one support team for all tests of a module; each test has a case of its own."""

import pytest
from support_team import SupportTeam


@pytest.fixture(scope="module")
def team(common_server, tmp_path_factory):
    return SupportTeam(common_server, tmp_path_factory.mktemp("team"))
