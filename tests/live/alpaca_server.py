"""Alpaca on loopback, in its own formats: bars, calendar, corporate actions, a paper account, a stream in msgpack.

Its clock runs through the trading hours of a week with a half day and a holiday, and jumps over the nights. That of
coins runs through all hours.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
from aiohttp import WSMsgType, web

from tests.live.coin_server import serve as serve_exchange

KEY, SECRET = "PKLOOPBACK0000", "a-secret-of-the-loopback-account"
STEP = 60_000
TICKERS = {"AAPL": 200.0, "SPY": 540.0}
NEW_YORK = ZoneInfo("America/New_York")
HOURS = {
    "2024-07-01": ("09:30", "16:00"),
    "2024-07-02": ("09:30", "16:00"),
    "2024-07-03": ("09:30", "13:00"),  # a half day, and the day after it a holiday
    "2024-07-05": ("09:30", "16:00"),
    "2024-07-08": ("09:30", "16:00"),
}
"""Later days are ordinary ones, as far as a calendar is asked for."""


def moment(day, hour):
    return int(1000 * datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=NEW_YORK).timestamp())


class Alpaca:
    """Minute bars of two stocks.

    Args:
        now: bars that are closed when it is opened.
        speed: seconds of its clock in one of ours.
        page: bars in an answer at most.
    """

    tickers = TICKERS
    stocks = True

    def __init__(self, now=0, speed=1.0, page=10_000):
        self.begins = self._begins()
        self.num_bars, self.page, self.speed = len(self.begins), page, speed
        rng = np.random.default_rng(2)
        self.bars = {}
        for ticker, price in self.tickers.items():
            close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.003, self.num_bars))), 2)
            opens = np.round(np.concatenate([[price], close[:-1]]) * np.exp(rng.normal(0, 0.0005, self.num_bars)), 2)
            high = np.round(np.maximum(opens, close) * 1.001, 2)
            low = np.round(np.minimum(opens, close) * 0.999, 2)
            self.bars[ticker] = np.stack([opens, high, low, close, np.round(rng.uniform(1e3, 1e5, self.num_bars))], 1)
        self._looked, self._passed, self._lock = time.monotonic(), float(now), threading.Lock()
        self.furthest = now + 1  # bars at whose end the clock waits
        self.absent, self.unsent = set(), set()  # (ticker, bar)
        self.repeated, self.revised, self.broken = set(), set(), set()
        self.away = range(0)
        self.turned_away = self.too_many = self.too_many_orders = 0
        self.asked, self.connections, self.subscribed = [], 0, []
        self.actions = {}
        self.orders, self.posted, self.again = {}, [], []  # names of orders that it had already
        self.rejects, self.refuses, self.fills_part = set(), set(), set()  # tickers
        self.lose_answers = 0  # orders that are taken without an answer yet
        self.equity = "100000"

    def _begins(self):
        return [
            begin for day, hours in HOURS.items() for begin in range(moment(day, hours[0]), moment(day, hours[1]), STEP)
        ]

    def place(self):
        """Bars that are over, and the share of the one under way."""
        with self._lock:
            now, furthest = time.monotonic(), self.furthest
            if self.away and furthest > self.away.start:
                furthest = max(furthest, self.away.stop + 2)
            passed = self._passed + self.speed * (now - self._looked) * 1000 / STEP
            self._passed = max(self._passed, min(passed, furthest - 1e-6))
            self._looked = now
            return self._passed

    def clock(self):
        """Milliseconds since 1970."""
        number, share = divmod(min(self.place(), self.num_bars - 1e-6), 1)
        return self.begins[int(number)] + share * STEP

    def number(self):
        return int(self.place())

    def index(self, begin):
        return self.begins.index(begin)

    # REST

    async def _answer(self, request):
        if request.path == "/tests/clock":  # for the clock of a machine that runs as fast as this one
            return web.json_response(self.clock())
        self.asked.append((request.method, request.path, dict(request.query)))
        if self.number() in self.away:
            self.turned_away += 1
            # What a careless gateway may do: it says again what it was sent.
            return web.Response(status=503, text=f"unavailable {dict(request.headers)}")
        if (request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY")) != (KEY, SECRET):
            return web.json_response({"message": "unauthorized."}, status=401)
        path = request.path
        if self.too_many > 0 and path.endswith("/bars"):
            self.too_many -= 1
            return web.json_response({"message": "too many requests."}, status=429)
        fixed = {
            "/v2/clock": self._clock,
            "/v2/calendar": self._calendar,
            "/v2/stocks/bars" if self.stocks else "/v1beta3/crypto/us/bars": self._bars,
            "/v1/corporate-actions": self._actions,
            "/v2/account": self._account,
            "/v2/orders:by_client_order_id": self._find,
        }
        if path in fixed:
            return fixed[path](request.query)
        if path == "/v2/orders" and request.method == "POST":
            return await self._submit(await request.json())
        if path.startswith("/v2/orders/") and request.method == "DELETE":
            return self._cancel(path.rpartition("/")[2])
        if path.startswith("/v2/assets/"):
            return self._asset(path.removeprefix("/v2/assets/"))
        return web.json_response({"code": 40410000, "message": f"no {path}"}, status=404)

    def _clock(self, _):
        text = datetime.fromtimestamp(self.clock() / 1000, NEW_YORK).isoformat()
        return web.json_response({"timestamp": text, "is_open": True, "next_open": text, "next_close": text})

    def _calendar(self, query):
        day, end, rows = (datetime.fromisoformat(query[name]).date() for name in ("start", "end")), None, []
        day, end = day
        while day <= end:
            text = day.isoformat()
            if text in HOURS or (day.weekday() < 5 and text != "2024-07-04"):
                opens, closes = HOURS.get(text, ("09:30", "16:00"))
                rows.append({"date": text, "open": opens, "close": closes, "settlement_date": text})
            day += timedelta(days=1)
        return web.json_response(rows)

    def _row(self, ticker, number, share=1.0):
        opens, high, low, close, volume = self.bars[ticker][number].tolist()
        if share < 1:
            high, low, close, volume = opens, opens, opens, round(share * volume)
        return {"o": opens, "h": high, "l": low, "c": close, "v": volume, "n": 10, "vw": close}

    def _bars(self, query):
        first, end = (
            None if query.get(name) is None else 1000 * datetime.fromisoformat(query[name]).timestamp()
            for name in ("start", "end")
        )
        daily, now = query["timeframe"] == "1Day", self.number()
        page = min(int(query.get("limit") or 1000), self.page)
        found = []
        for ticker in query["symbols"].split(","):
            rows = self._days(ticker, now) if daily else self._minutes(ticker, now)
            found += [(ticker, t, row) for t, row in rows if t >= first and (end is None or t <= end)]
        skip = int(query.get("page_token") or 0)
        token = str(skip + page) if skip + page < len(found) else None
        bars = {}
        for ticker, t, row in found[skip : skip + page]:
            text = datetime.fromtimestamp(t / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            bars.setdefault(ticker, []).append({"t": text, **row})
        return web.json_response({"bars": bars, "next_page_token": token})

    def _minutes(self, ticker, now):
        """Bars of the session, the one under way too, and some before it and after, which are nobody's here."""
        rows = []
        for number in range(min(now + 1, self.num_bars)):
            begin = self.begins[number]
            if self.stocks and (number == 0 or self.begins[number - 1] != begin - STEP):
                rows += [(begin - 7 * STEP, self._row(ticker, number)), (begin - STEP, self._row(ticker, number))]
            if (ticker, number) not in self.absent:
                rows.append((begin, self._row(ticker, number, 1.0 if number < now else 0.5)))
            if number < now and (number + 1 == self.num_bars or self.begins[number + 1] != begin + STEP):
                rows.append((begin + STEP, self._row(ticker, number)))
        return rows

    def _days(self, ticker, now):
        rows = []
        for day in HOURS:
            own = [
                n
                for n in range(min(now + 1, self.num_bars))
                if moment(day, "00:00") <= self.begins[n] < moment(day, "23:00")
            ]
            if own:
                opens, high, low, close, volume = self.bars[ticker][own].T
                row = {"o": opens[0], "h": high.max(), "l": low.min(), "c": close[-1], "v": volume.sum()}
                rows.append((moment(day, "00:00"), {name: float(x) for name, x in row.items()} | {"n": 1, "vw": 1.0}))
        return rows

    def _actions(self, query):
        wanted, own = query["symbols"].split(","), {}
        for kind, rows in self.actions.items():
            here = [r for r in rows if r["symbol"] in wanted and query["start"] <= r["ex_date"] <= query["end"]]
            if here:
                own[kind] = here
        return web.json_response({"corporate_actions": own, "next_page_token": None})

    # The paper account

    def _account(self, _):
        return web.json_response(
            {"id": str(uuid.uuid4()), "status": "ACTIVE", "equity": self.equity, "trading_blocked": False}
        )

    def _asset(self, ticker):
        if ticker not in self.tickers:
            return web.json_response({"code": 40410000, "message": f"asset not found for {ticker}"}, status=404)
        return web.json_response(
            {"id": str(uuid.uuid4()), "symbol": ticker, "tradable": True, "fractionable": ticker != "SPY"}
        )

    async def _submit(self, data):
        name, ticker = data["client_order_id"], data["symbol"]
        self.posted.append(name)
        if self.too_many_orders > 0:
            self.too_many_orders -= 1
            return web.json_response({"message": "too many requests."}, status=429)
        if any(order["client_order_id"] == name for order in self.orders.values()):
            self.again.append(name)
            return web.json_response({"code": 40010001, "message": "client_order_id must be unique"}, status=422)
        if ticker in self.refuses:
            return web.json_response({"code": 40310000, "message": "insufficient buying power"}, status=403)
        order = {
            **{"id": str(uuid.uuid4()), "client_order_id": name, "symbol": ticker, "qty": str(data["qty"])},
            **{"side": data["side"], "type": data["type"], "time_in_force": data["time_in_force"]},
            **{"status": "accepted", "filled_qty": "0", "filled_avg_price": None, "at": self.number()},
        }
        self.orders[order["id"]] = order
        if self.lose_answers > 0:
            self.lose_answers -= 1
            await asyncio.sleep(0)
            return web.Response(status=504, text="gateway timeout")
        return web.json_response(order)

    def _work(self, order):
        """Fill an order two basis points worse than the open of the bar that it came in."""
        if order["status"] != "accepted":
            return
        if order["symbol"] in self.rejects:
            order["status"] = "rejected"
            return
        worse = 1.0002 if order["side"] == "buy" else 0.9998
        price = self.bars[order["symbol"]][min(order["at"], self.num_bars - 1), 0] * worse
        part = order["symbol"] in self.fills_part
        shares = float(order["qty"]) * (0.25 if part else 1.0)
        order |= {"status": "partially_filled" if part else "filled", "filled_qty": repr(shares)}
        order["filled_avg_price"] = f"{price:.4f}"

    def _find(self, query):
        for order in self.orders.values():
            if order["client_order_id"] == query["client_order_id"]:
                self._work(order)
                return web.json_response(order)
        return web.json_response({"code": 40410000, "message": "order not found"}, status=404)

    def _cancel(self, name):
        order = self.orders.get(name)
        if order is None or order["status"] in ("filled", "canceled", "rejected"):
            return web.json_response({"code": 42210000, "message": "order is not cancelable"}, status=422)
        order["status"] = "canceled"
        return web.Response(status=204)

    def held(self, ticker):
        own = [order for order in self.orders.values() if order["symbol"] == ticker]
        return sum((1 if order["side"] == "buy" else -1) * float(order["filled_qty"]) for order in own)

    # The stream

    async def _stream(self, request):
        if self.number() in self.away:
            self.turned_away += 1
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        await _send(socket, [{"T": "success", "msg": "connected"}])
        teller = None
        with contextlib.suppress(ConnectionError):
            async for message in socket:
                if message.type != WSMsgType.BINARY:
                    break
                said = msgpack.unpackb(message.data)
                if said["action"] == "auth":
                    if (said["key"], said["secret"]) != (KEY, SECRET):
                        await _send(socket, [{"T": "error", "code": 402, "msg": "auth failed"}])
                        break
                    await _send(socket, [{"T": "success", "msg": "authenticated"}])
                elif said["action"] == "subscribe":
                    self.subscribed = said["bars"]
                    await _send(
                        socket, [{"T": "subscription", "bars": said["bars"], "updatedBars": said["updatedBars"]}]
                    )
                    teller = asyncio.ensure_future(self._tell(socket))
        if teller is not None:
            teller.cancel()
        return socket

    async def _tell(self, socket):
        told = self.number()
        with contextlib.suppress(ConnectionError, RuntimeError):
            while not socket.closed:
                number = self.number()
                if number in self.away or number >= self.num_bars:
                    await socket.close()
                    return
                for closed in range(told, number):
                    await self._tell_bar(socket, closed)
                    if closed in self.broken:
                        self.broken.discard(closed)
                        await socket.close()
                        return
                told = number
                await asyncio.sleep(max((1 - self.place() % 1) * 60 / 2 / self.speed, 0.005))

    async def _tell_bar(self, socket, number):
        def row(ticker, number, kind="b"):
            seconds = self.begins[number] // 1000
            return {"T": kind, "S": ticker, **self._row(ticker, number), "t": msgpack.Timestamp(seconds, 0)}

        here = [ticker for ticker in self.subscribed if (ticker, number) not in self.absent | self.unsent]
        said = [row(ticker, number) for ticker in here]
        if number in self.repeated:
            said += said + [row(t, number - 1) for t in here if number and (t, number - 1) not in self.absent]
        if self.stocks and (number == 0 or self.begins[number - 1] != self.begins[number] - STEP):
            early = msgpack.Timestamp(self.begins[number] // 1000 - 60, 0)  # before the session
            said = [{**row(ticker, number), "t": early} for ticker in here] + said
        # Later than any bar waits to be traded.
        if number - 10 in self.revised:
            said += [{**row(t, number - 10, "u"), "c": 1.0} for t in here if (t, number - 10) not in self.absent]
        if said:
            await _send(socket, said)


class AlpacaCoins(Alpaca):
    """Minute bars of two coins, around the clock."""

    tickers = {"BTC/USD": 60_000.0, "ETH/USD": 3_000.0}  # noqa: RUF012  # read, never changed
    stocks = False

    def _begins(self):
        first = moment("2024-07-03", "18:00")
        return list(range(first, first + 2000 * STEP, STEP))


async def _send(socket, messages):
    with contextlib.suppress(ConnectionError, RuntimeError):
        await socket.send_bytes(msgpack.packb(messages))


def serve(alpaca):
    """Yield the addresses of REST and streams."""
    return serve_exchange(alpaca, streams="/v2/iex" if alpaca.stocks else "/v1beta3/crypto/us")
