"""Fixtures of the tests of backtests; what imports JAX is imported when one is used, see `tests/conftest.py`."""

import pytest


@pytest.fixture(scope="module")
def market():
    from tests.evaluate.backtest.worlds import make_market

    return make_market()


@pytest.fixture(scope="module")
def eventful():
    from tests.evaluate.backtest.worlds import make_eventful_market

    return make_eventful_market()


@pytest.fixture(scope="module")
def agent(market):
    from tests.evaluate.backtest.worlds import COSTLY, make_agent

    return make_agent(market, COSTLY)
