"""From one description of the data to what a run trains on: fixed bars, or a stream of markets, and bars held out."""

import dataclasses

import jax

from ploutos_jax.datasets.config import (
    DataConfig,
    default_features,
    market_to_score,
    num_synthetic_assets,
    read_market,
    read_panel,
    split_market,
)
from ploutos_jax.datasets.long import long_market
from ploutos_jax.datasets.planted import read_planted
from ploutos_jax.datasets.samplers import SyntheticSampler, bootstrap_stream, history_stream
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.synthetic.multi_path import MarketSpec

_STREAM_KEY = 1
"""Of drawn markets; the panels that are held out are drawn with key 0. The same whatever the seed of a run."""

_STRESSED_COPIES = 4
"""Of a file's bars, in addition to the original bars."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        market: the bars, or the first market of the stream.
        history: the market that the bars held out are part of, with what came before them.
        held_out: later or other bars kept for scoring, None where there are none.
        to_score: bars that the agent is scored on during training, see `market_to_score`.
        draw: the stream, None of fixed bars.
        num_paths: paths that lie end to end in the market.
        stressed_from: row from which on paths are stressed copies, None where that is not how paths are stressed.
    """

    market: Market
    history: Market
    held_out: Market | None
    to_score: Market | None
    draw: MarketDraw | None = None
    num_paths: int = 1
    stressed_from: int | None = None


def read_training(config: DataConfig, *, refresh: bool = False) -> TrainingData:
    """Return what to train on.

    Bars that are resampled or stressed are training bars alone; those held out are as they were. Synthetic markets are
    drawn as a bank when they are to be refreshed or stressed, and scored on a path of their own.

    Args:
        config: the description.
        refresh: whether markets are to be redrawn during the run.

    Raises:
        ValueError: if the data cannot be read, or cannot be what is asked for.
    """
    if config.spans is not None and refresh:
        raise ValueError(f"spans={config.spans!r}: a market that is redrawn has no dates; leave one of them out.")
    if config.volatility_jitter is not None and config.is_synthetic and not (refresh or config.stress_prob):
        raise ValueError(
            f"volatility_jitter={config.volatility_jitter}: this market is made once, and nothing is drawn. Give"
            " market_refresh too, or leave it out."
        )
    features = default_features(config)
    if config.device_bars is not None:
        market = long_market(config, features)
        return TrainingData(split_market(market, config)[0], *_scored(market, config))
    key = jax.random.key(_STREAM_KEY)
    if config.is_bootstrap:
        panel = read_panel(config)
        history = build_market(panel, features, cache=config.cache_folder)
        rows = _training_rows(history, config)
        stream = bootstrap_stream(
            key,
            panel.window(rows.start, rows.stop),
            features,
            num_bars=config.bank_bars,
            num_paths=config.bank_paths,
            mean_block=config.block_sessions,
            stress_prob=config.stress_prob,
            path_tickers=config.path_tickers,
            volatility_jitter=config.volatility_jitter,
        )
        return TrainingData(stream.first(), *_scored(history, config), stream, config.bank_paths)
    if config.is_planted and config.stress_prob:
        raise ValueError(f"stress_prob={config.stress_prob}: planted data cannot be stressed, its hint would be wrong.")
    if config.is_planted and refresh:
        stream = read_planted(config.data).stream(key, config.bank_bars, config.bank_paths)
        return TrainingData(stream.first(), *_scored(read_market(config), config), stream, config.bank_paths)
    if config.is_synthetic and (refresh or config.stress_prob):
        recipe = MarketSpec(
            num_synthetic_assets(config.data),
            config.bank_bars,
            config.bank_paths,
            features,
            edge=config.edge,
            volatility_jitter=config.volatility_jitter,
        )
        stream = SyntheticSampler(recipe, config.stress_prob).stream(key)
        return TrainingData(stream.first(), *_scored(read_market(config), config), stream, config.bank_paths)
    if config.stress_prob:
        panel = read_panel(config)
        history = build_market(panel, features, cache=config.cache_folder)
        rows = _training_rows(history, config)
        stream = history_stream(key, panel, features, rows, num_copies=_STRESSED_COPIES)
        return TrainingData(
            stream.first(), *_scored(history, config), stream, 1 + _STRESSED_COPIES, rows.stop - rows.start
        )
    market = read_market(config)
    return TrainingData(split_market(market, config)[0], *_scored(market, config))


def _training_rows(history: Market, config: DataConfig) -> slice:
    start = history.find_rows(config.start, config.end).start
    return slice(start, start + split_market(history, config)[0].num_bars)


def _scored(history: Market, config: DataConfig) -> tuple[Market, Market | None, Market | None]:
    """Return the market itself, the bars held out of it, and those to score on during training."""
    return history, split_market(history, config)[1], market_to_score(history, config)
