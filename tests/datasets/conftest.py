"""Panels of the market tests, here too."""

from tests.market.conftest import make_panel_fixture as make_panel_fixture
from tests.market.conftest import make_ragged_panel_fixture as make_ragged_panel_fixture
from tests.market.conftest import panel as panel
from tests.market.conftest import ragged as ragged
from tests.market.conftest import remove_bars_fixture as remove_bars_fixture
