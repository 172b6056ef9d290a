"""A stream whose venue does not answer: it is asked again, later each time, and no bar is left out or made up."""

import numpy as np
import pytest

from ploutos_jax.live.stream import Heard, Stream
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.io.exchange import Candle
from ploutos_jax.market.labels import Labels

STEP = 60_000
LABELS = Labels(("A", "B"), ("Unknown",) * 2, np.zeros(0, "datetime64[ns]"), calendar=Calendar(365.25, 1440, 365.25))


class Feed:
    """A venue without a socket, whose clock goes on only where the stream waits."""

    name, seconds = "test", 60.0

    def __init__(self):
        self.clock = 130.0 * STEP  # bars to come are closed already: nothing has to be waited for
        self.refuses = {"bars": 0, "events": 0}
        self.split_on = {}
        self.told, self.asked = [], []

    def now(self):
        self.clock += 1
        return self.clock / 1000

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock += 1000 * seconds

    def _answer(self, what):
        if self.refuses[what]:
            self.refuses[what] -= 1
            raise ConnectionError("https://user:password@venue.example refused")

    def fetch(self, symbol, first, end):
        self._answer("bars")
        self.asked.append((symbol, first // STEP))
        return [Candle(t, 1.0, 2.0, 0.5, t / STEP, 10.0) for t in range(first, end, STEP)]

    def listen(self, symbols, heard):
        for symbol, number, close in self.told:
            heard.put(Heard(symbol, Candle(number * STEP, 1.0, 2.0, 0.5, close, 10.0)))
        return lambda: None

    def first_from(self, moment):
        return -(-moment // STEP) * STEP

    def session_of(self, start):
        return start // (10 * STEP)

    def next_session(self, start):
        return self.session_of(start + STEP)

    def events(self, symbols, first_day, last_day):
        self._answer("events")
        return {"A": {day: event for day, event in self.split_on.items() if first_day <= day <= last_day}}


def take(stream, count, feed):
    bars = []
    for bar in stream.bars(np.datetime64(99 * STEP, "ms")):
        feed.clock += 0 if bar is not None else 500
        if bar is not None:
            bars.append(bar)
        if len(bars) == count:
            return bars


@pytest.mark.parametrize("what", ["bars", "events"])
def test_no_answer_is_told_by_its_kind_and_asked_for_again(what):
    feed, said = Feed(), []
    feed.slept = []
    stream = Stream(feed, LABELS, say=lambda *words: said.append(words), sleep=feed.sleep)
    feed.refuses[what] = 8
    bars = take(stream, 12, feed)
    assert feed.slept == [1, 2, 4, 8, 16, 30, 30, 30]
    whose = "A" if what == "bars" else "dividends and splits"
    assert said[0] == ("feed", f"{whose}: no answer (ConnectionError); asked again in 1 s") and len(said) == 8
    assert "password" not in repr(said)
    assert [bar.close.tolist() for bar in bars] == [[n, n] for n in range(100, 112)], "all of them, in order, once"
    feed.refuses["bars"] = 1
    take(stream, 1, feed)
    assert feed.slept[-1] == 1, "an answer in between, and it is asked soon again"


def test_what_went_ex_is_on_the_first_row_of_its_session_and_nothing_before_the_account():
    feed = Feed()
    feed.slept, feed.split_on = [], {9: (7.0, 7.0), 10: (0.5, 2.0), 11: (1.0, 3.0)}
    bars = take(Stream(feed, LABELS, sleep=feed.sleep), 12, feed)
    assert [bar.split.tolist() for bar in bars] == [[2.0, 1.0], *[[1.0, 1.0]] * 9, [3.0, 1.0], [1.0, 1.0]]
    assert [bar.dividend[0] for bar in bars] == [0.5, *[0.0] * 9, 1.0, 0.0]


def test_a_bar_on_which_the_socket_has_two_last_words_is_asked_for():
    """Before it is traded: the second word alone, or the first, would be a price that the venue does not stand by."""
    feed, said = Feed(), []
    feed.clock, feed.slept = 110.5 * STEP, []
    feed.told = [(symbol, number, float(number)) for symbol in "AB" for number in range(100, 110)]
    feed.told += [("A", 103, 103.5), ("A", 103, 103.5), ("A", 104, 104.0)]
    feed.told.remove(("B", 106, 106.0))
    feed.told += [("B", 108, 108.5)]  # behind a bar that has not been heard of
    bars = take(Stream(feed, LABELS, say=lambda *words: said.append(words), sleep=feed.sleep), 10, feed)
    assert [bar.close.tolist() for bar in bars] == [[n, n] for n in range(100, 110)]
    assert feed.asked == [("A", 103), ("B", 106)] and said == []
