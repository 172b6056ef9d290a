"""Alpaca's paper account as a broker. Live money is refused: there is no flag, and no address, for it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ploutos_jax.market.io.alpaca import AlpacaError, Keys, ask, bound, is_coin, is_loopback, load_sdk

_OPEN = ("new", "partially_filled", "accepted", "pending_new", "accepted_for_bidding", "held", "pending_cancel")
_DECIMALS = 9
_BUSY = (429, 500, 502, 503, 504)


class Known(NamedTuple):
    """What a broker says of an order.

    Attributes:
        broker_id: the broker's name of it.
        status: in the broker's words, such as `filled` or `canceled`.
        is_open: whether more of it may fill.
        filled: shares.
        price: mean dollars per share of those; None without any.
    """

    broker_id: str
    status: str
    is_open: bool
    filled: float
    price: float | None


class RefusedError(ValueError):
    """The broker took no such order, for a reason that asking again does not change."""


class AwayError(RuntimeError):
    """Nobody knows what the broker did: it did not answer, or was busy."""


class Broker(Protocol):
    """Who takes orders.

    Attributes:
        name: such as `alpaca-paper`.
    """

    @property
    def name(self) -> str: ...

    def round_shares(self, ticker: str, shares: float) -> float:
        """Return so many shares, not more, as an order may name."""
        ...

    def submit(self, client_id: str, ticker: str, side: str, shares: float) -> Known:
        """Send a market order; one whose name is known already is not sent again, and told as it is.

        Raises:
            RefusedError: if it is not taken.
            AwayError: if nobody knows.
        """
        ...

    def find(self, client_id: str) -> Known | None:
        """Return what became of an order by its name; None if there is none.

        Raises:
            AwayError: if nobody knows.
        """
        ...

    def cancel(self, broker_id: str) -> None:
        """Cancel what is left of an order; nothing if it is over.

        Raises:
            AwayError: if nobody knows.
        """
        ...


class AlpacaPaper:
    """The paper account that the keys of the environment belong to; a `Broker`.

    Args:
        tickers: to trade.
        base_url: address of this machine that all requests go to instead, for tests.

    Raises:
        ValueError: if alpaca-py or a key is missing, the account may not trade, Alpaca has no such ticker, or the
            address is another machine's.
    """

    name = "alpaca-paper"

    def __init__(self, tickers: Sequence[str], base_url: str | None = None) -> None:
        if base_url is not None and not is_loopback(base_url):
            raise ValueError("Orders go to Alpaca's paper account alone: --base-url may only name this machine then.")
        self._sdk, self._keys = load_sdk(), Keys.read()
        given = {"api_key": self._keys.key, "secret_key": self._keys.secret, "url_override": base_url}
        self._client = bound(self._sdk.TradingClient(paper=True, raw_data=True, **given))
        try:
            account = self._ask(self._client.get_account)
            self._assets = {ticker: self._asset(ticker) for ticker in tickers}
        except AwayError as error:
            raise ValueError(f"The paper account cannot be asked: {error}.") from None
        if account.get("trading_blocked") or account.get("account_blocked"):
            raise ValueError("Alpaca has blocked this paper account; reset it in Alpaca's dashboard.")
        self.equity = float(account["equity"])

    def _asset(self, ticker: str) -> dict[str, Any]:
        try:
            asset = self._ask(self._client.get_asset, ticker.replace("/", "%2F"))
        except RefusedError as error:
            raise ValueError(f"Alpaca has no {ticker}: {error}") from None
        if not asset.get("tradable"):
            raise ValueError(f"Alpaca does not trade {ticker}; leave it out of --tickers.")
        return asset

    def _ask(self, call: Any, *args: Any) -> Any:
        try:
            return ask(self._keys, call, *args)
        except AlpacaError as error:
            if error.status is None or error.status in _BUSY:
                raise AwayError(str(error)) from None
            raise RefusedError(str(error)) from error

    def round_shares(self, ticker: str, shares: float) -> float:
        """Return shares to nine decimals, whole ones where Alpaca divides none; see `Broker.round_shares`."""
        if not self._assets[ticker].get("fractionable"):
            return float(math.floor(shares + 1e-9))
        scale = 10**_DECIMALS
        return math.floor(round(shares * scale, 3)) / scale

    def submit(self, client_id: str, ticker: str, side: str, shares: float) -> Known:
        """Send a market order for the day; of coins until it is cancelled. See `Broker.submit`."""
        order = self._sdk.MarketOrderRequest(
            symbol=ticker,
            qty=shares,
            side=side,
            time_in_force="gtc" if is_coin(ticker) else "day",
            client_order_id=client_id,
        )
        try:
            return _known(self._ask(self._client.submit_order, order))
        except RefusedError:
            # It may be refused because an earlier process has sent it.
            known = self.find(client_id)
            if known is None:
                raise
            return known

    def find(self, client_id: str) -> Known | None:
        """Return what became of an order; see `Broker.find`."""
        try:
            return _known(self._ask(self._client.get_order_by_client_id, client_id))
        except RefusedError as error:
            if isinstance(error.__cause__, AlpacaError) and error.__cause__.status == 404:
                return None
            raise AwayError(str(error)) from None

    def cancel(self, broker_id: str) -> None:
        """Cancel what is left; see `Broker.cancel`."""
        try:
            self._ask(self._client.cancel_order_by_id, broker_id)
        except RefusedError:  # it is over
            return


def _known(row: dict[str, Any]) -> Known:
    price = row.get("filled_avg_price")
    status = str(row["status"])
    filled = float(row.get("filled_qty") or 0)
    return Known(str(row["id"]), status, status in _OPEN, filled, None if price is None else float(price))
