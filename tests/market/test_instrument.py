"""What a ticker is taken for, by its name, its exchange and its bars."""

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.instrument import find_instruments
from ploutos_jax.market.io.load import load_panel

WEEKDAYS = pd.bdate_range("2024-01-01", periods=60)
EVERY_DAY = pd.date_range("2024-01-01", periods=60)


def name_of(symbol="X", index=WEEKDAYS, price=50.0, **known) -> str:
    times = index.to_numpy("datetime64[ns]")
    sessions = times.astype("datetime64[D]").astype(np.int64)
    (found,) = find_instruments((symbol,), times, sessions, np.full((len(times), 1), price), **known)
    assert bool(found.why) == (found.name != "us-equity" or found.why != "")
    return found.name


@pytest.mark.parametrize("symbol", ["EURUSD", "EUR/USD", "usd_jpy", "GBPJPY=X", "XAU-USD"])
def test_a_pair_of_currencies_is_known_by_its_name(symbol: str):
    assert name_of(symbol) == "fx"


@pytest.mark.parametrize("symbol", ["BTC-USD", "ETH/EUR", "DOGEUSDT", "btcusd", "PEPE_USDC", "ETH/BTC"])
def test_a_coin_is_known_by_its_quote(symbol: str):
    assert name_of(symbol) == "crypto"


@pytest.mark.parametrize("symbol", ["ES=F", "ESZ24", "CL1!", "6EH5"])
def test_a_future_is_known_by_its_name(symbol: str):
    assert name_of(symbol) == "futures"


@pytest.mark.parametrize("symbol", ["7203.T", "VOD.L", "BHP.AX", "000001", "005930.KS"])
def test_a_stock_of_another_exchange_is_not_one_of_the_us(symbol: str):
    assert name_of(symbol) == "generic"


@pytest.mark.parametrize("symbol", ["AAPL", "BRK.B", "BRK-B", "BF.B", "USB", "EURN", "BTC", "F", "A1", "^GSPC", "ALL"])
def test_stocks_of_the_us_stay_what_they_are(symbol: str):
    assert name_of(symbol) == "us-equity"


def test_bars_tell_where_the_name_does_not():
    hours = pd.date_range("2024-01-01", periods=24 * 21, freq="h")
    around = hours[hours.day_of_week < 5]
    day = hours[(hours.day_of_week < 5) & (hours.hour >= 9) & (hours.hour < 21)]
    sundays = EVERY_DAY[EVERY_DAY.day_of_week.isin([6, 0, 1, 2, 3])]
    assert name_of(index=EVERY_DAY) == name_of(index=hours) == "crypto"
    assert name_of(index=around) == "fx"
    assert name_of(index=day) == "us-equity"
    assert name_of(index=sundays) == "generic"
    assert name_of(price=0.004) == "generic" and name_of(price=0.3) == "us-equity"


def test_an_exchange_or_a_zone_that_the_user_names_counts():
    assert name_of(exchange="XNYS") == "us-equity" and name_of(exchange="XASX") == "generic"
    assert name_of(exchange="CMES") == "futures" and name_of(exchange="24/7") == "crypto"
    assert (
        name_of(zone=ZoneInfo("Asia/Tokyo")) == "generic" and name_of(zone=ZoneInfo("America/Chicago")) == "us-equity"
    )
    assert name_of("EURUSD", exchange="XNYS") == "fx"


def rows(index: pd.DatetimeIndex, ticker: str, price: float) -> pd.DataFrame:
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    return pd.DataFrame({"date": index.strftime("%Y-%m-%d"), "ticker": ticker, **prices, "volume": 1e6})


def test_each_ticker_of_a_file_is_judged_by_its_own_bars_and_named_in_a_note(tmp_path):
    path = tmp_path / "mixed.csv"
    pd.concat([rows(WEEKDAYS, "AAPL", 180.0), rows(EVERY_DAY, "SOMECOIN", 1e-5)]).to_csv(path, index=False)
    panel = load_panel(path)
    assert [kind.name for kind in panel.instruments] == ["us-equity", "crypto"]
    (note,) = panel.notes
    assert "SOMECOIN (bars on all seven days of the week) are taken for crypto" in note and "AAPL" not in note
    assert [kind.name for kind in panel.select(["SOMECOIN"]).instruments] == ["crypto"]
    assert load_panel(path, tickers=["AAPL"]).notes == ()
    # A window of a few weekdays is still that of a coin.
    assert panel.select(["SOMECOIN"]).window("2024-01-01", "2024-01-05").instruments[0].name == "crypto"


def test_prices_scaled_on_reading_are_known_not_to_have_been_traded(tmp_path):
    path = tmp_path / "old.csv"
    data = [rows(WEEKDAYS, "OLD", 120.0).assign(adj_close=1.2), rows(WEEKDAYS, "NEW", 50.0).assign(adj_close=50.0)]
    pd.concat(data).to_csv(path, index=False)
    panel = load_panel(path)
    assert panel.labels is not None and panel.labels.adjusted == ("OLD",)
    assert any("Prices of OLD are adjusted" in note and "tick" in note for note in panel.notes)
