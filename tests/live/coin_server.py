"""A coin exchange on loopback, in Binance's own formats: REST and streams, on a clock of its own, with faults."""

import asyncio
import contextlib
import json
import threading
import time

import numpy as np
from aiohttp import WSMsgType, web

STEP = 60_000
BEGINNING = 1_700_000_040_000 // STEP * STEP
MARKETS = {"BTCUSDT": ("BTC", 40_000.0), "ETHUSDT": ("ETH", 2_000.0)}


class CoinExchange:
    """Bars of a minute, by a clock that runs faster.

    Args:
        num_bars: that there are.
        now: bars that are closed when it is opened.
        speed: seconds of its clock in one of ours.
        page: bars in an answer at most.
    """

    def __init__(self, num_bars, now=0, speed=1.0, page=1000):
        rng = np.random.default_rng(1)
        self.num_bars, self.page, self.speed = num_bars, page, speed
        self.bars = {}
        for market, (_, price) in MARKETS.items():
            close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.002, num_bars))), 2)
            opens = np.round(np.concatenate([[price], close[:-1]]), 2)
            high, low = np.round(np.maximum(opens, close) * 1.001, 2), np.round(np.minimum(opens, close) * 0.999, 2)
            volume = np.round(rng.uniform(1, 100, num_bars), 5)
            self.bars[market] = np.stack([opens, high, low, close, volume], axis=1)
        self._looked, self._passed, self._lock = time.monotonic(), float(now * STEP), threading.Lock()
        self.furthest = now + 1  # bars at whose end the clock waits, so that a slow machine keeps up
        self.absent = set()  # (market, bar): nobody traded
        self.unsent = set()  # (market, bar): the stream leaves it out
        self.repeated, self.revised, self.broken = set(), set(), set()  # bars after which it happens
        self.away = range(0)  # bars in which nothing answers
        self.turned_away = 0  # questions and connections during the outage
        self.too_many = 0  # questions for bars that are answered 429 yet
        self.skew = 0.0
        self.asked, self.connections = [], 0

    def clock(self):
        """Milliseconds since 1970."""
        with self._lock:
            now, furthest = time.monotonic(), self.furthest
            if self.away and furthest > self.away.start:
                furthest = max(furthest, self.away.stop + 2)
            passed = self._passed + 1000 * self.speed * (now - self._looked)
            self._passed = max(self._passed, min(passed, furthest * STEP - 1))
            self._looked = now
            return BEGINNING + self._passed

    def number(self):
        """The bar under way."""
        return int(self.clock() - BEGINNING) // STEP

    def kline(self, market, number, share=1.0):
        """A bar as the stream tells it, of the first part of its time."""
        opens, high, low, close, volume = self.bars[market][number]
        if share < 1:
            high, low, close, volume = opens * 1.0005, opens * 0.9995, opens, volume * share
        start = BEGINNING + number * STEP
        return {
            "e": "kline",
            "E": start + int(share * STEP),
            "s": market,
            "k": {
                **{"t": start, "T": start + STEP - 1, "s": market, "i": "1m", "f": 100, "L": 200},
                **{
                    "o": f"{opens:.8f}",
                    "c": f"{close:.8f}",
                    "h": f"{high:.8f}",
                    "l": f"{low:.8f}",
                    "v": f"{volume:.8f}",
                },
                **{"n": 100, "x": share == 1, "q": "1.0", "V": "0.5", "Q": "0.5", "B": "0"},
            },
        }

    # REST

    async def _answer(self, request):
        path = request.path.rpartition("/")[2]
        self.asked.append((path, dict(request.query)))
        if self.number() in self.away:
            self.turned_away += 1
            return web.Response(status=503, text="Service unavailable")
        if self.too_many > 0 and path == "klines":
            self.too_many -= 1
            said = {"code": -1003, "msg": "Too many requests; current limit is 1200 requests per minute."}
            return web.json_response(said, status=429, headers={"Retry-After": "1"})
        answers = {"time": self._time, "exchangeInfo": self._info, "klines": self._klines}
        if path not in answers:
            return web.json_response({"code": -1, "msg": f"no {path}"}, status=404)
        return web.json_response(answers[path](request.query))

    def _time(self, _):
        return {"serverTime": int(self.clock() + 1000 * self.skew)}

    def _info(self, _):
        def market(name):
            return {
                "symbol": name,
                "status": "TRADING",
                "baseAsset": MARKETS[name][0],
                "baseAssetPrecision": 8,
                "quoteAsset": "USDT",
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "orderTypes": ["LIMIT", "MARKET"],
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01000000"},
                    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001000"},
                    {"filterType": "MIN_NOTIONAL", "minNotional": "5.0", "applyToMarket": True, "avgPriceMins": 5},
                    {"filterType": "NOTIONAL", "minNotional": "5.0", "applyMinToMarket": True, "avgPriceMins": 5},
                ],
                "permissions": ["SPOT"],
            }

        return {"timezone": "UTC", "serverTime": int(self.clock()), "rateLimits": [], "exchangeFilters": []} | {
            "symbols": [market(name) for name in MARKETS]
        }

    def _klines(self, query):
        market, limit = query["symbol"], min(int(query.get("limit", 500)), self.page)
        first = -(-(int(query.get("startTime", BEGINNING)) - BEGINNING) // STEP)
        now, rows = self.number(), []
        for number in range(max(first, 0), min(now + 1, self.num_bars)):
            if (market, number) in self.absent or len(rows) == limit:
                continue
            k = self.kline(market, number, 1.0 if number < now else 0.5)["k"]
            rows.append([k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], "1.0", 10, "0.5", "0.5", "0"])
        return rows

    # Streams

    async def _stream(self, request):
        if self.number() in self.away:
            self.turned_away += 1
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        markets = []
        teller = asyncio.ensure_future(self._tell(socket, markets))
        with contextlib.suppress(ConnectionError):
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    break
                said = json.loads(message.data)
                if said.get("method") == "SUBSCRIBE":
                    markets += [name.partition("@")[0].upper() for name in said["params"]]
                    await socket.send_json({"result": None, "id": said["id"]})
        teller.cancel()
        return socket

    async def _tell(self, socket, markets):
        told = self.number()
        with contextlib.suppress(ConnectionError, RuntimeError):
            while not socket.closed:
                number = self.number()
                if number in self.away or number >= self.num_bars:
                    await socket.close()
                    return
                for closed in range(told, number):
                    for market in markets:
                        await self._tell_bar(socket, market, closed)
                    if closed in self.broken:
                        self.broken.discard(closed)
                        await socket.close()
                        return
                told = number
                for market in markets:
                    if (market, number) not in self.absent:
                        await socket.send_json(self.kline(market, number, 0.5))
                left = BEGINNING + (number + 1) * STEP - self.clock()
                await asyncio.sleep(max(left / 2000 / self.speed, 0.005))

    async def _tell_bar(self, socket, market, number):
        if (market, number) in self.absent | self.unsent:
            return
        said = self.kline(market, number)
        await socket.send_json(said)
        if number in self.repeated:
            await socket.send_json(said)
            if number and (market, number - 1) not in self.absent:
                await socket.send_json(self.kline(market, number - 1))
        if number in self.revised:
            other = json.loads(json.dumps(said))
            other["k"]["c"] = f"{float(said['k']['c']) * 1.0001:.8f}"
            asyncio.get_running_loop().call_later(
                STEP / 1000 / self.speed, lambda: asyncio.ensure_future(_send(socket, other))
            )


async def _send(socket, said):
    with contextlib.suppress(ConnectionError, RuntimeError):
        await socket.send_json(said)


@contextlib.contextmanager
def serve(exchange, streams="/ws{rest:.*}"):
    """Yield the addresses of REST and streams, the latter below a path."""
    loop, ready, place = asyncio.new_event_loop(), threading.Event(), []

    async def start():
        app = web.Application()
        app.router.add_get(streams, exchange._stream)
        app.router.add_route("*", "/{rest:.*}", exchange._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        place.append((runner, site._server.sockets[0].getsockname()[1]))
        ready.set()

    def run():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(place[0][0].cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{place[0][1]}", f"ws://127.0.0.1:{place[0][1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
