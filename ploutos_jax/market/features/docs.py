"""The page of features, docs/features.md, written from their definitions.

python -m ploutos_jax.market.features.docs docs/features.md
"""

import sys
from pathlib import Path

from ploutos_jax.market.features.catalog import FEATURE_SETS
from ploutos_jax.market.features.compute import CLIP
from ploutos_jax.market.features.definitions import (
    cross_section,
    levels,
    market,
    momentum,
    price,
    session,
    statistics,
    trend,
    volatility,
    volume,
)
from ploutos_jax.market.features.definitions.feature import Feature
from ploutos_jax.market.features.raw import raw_form

FAMILIES = {
    "Price": price.FEATURES,
    "Trend": trend.FEATURES,
    "Momentum": momentum.FEATURES,
    "Volatility": volatility.FEATURES,
    "Volume": volume.FEATURES,
    "Levels": levels.FEATURES,
    "Statistics and cross-section": statistics.FEATURES,
    "Ranks": cross_section.FEATURES,
    "Session": session.FEATURES,
    "Market": market.FEATURES,
}

_INTRODUCTION = """# Features

Written by `python -m ploutos_jax.market.features.docs docs/features.md` from the definitions in
`ploutos_jax/market/features/definitions`; a test compares the two.

Every feature is a function of an asset's own bars up to the close of bar t, at total-return prices; a missing bar is
left out, not filled. O, H, L, C, V are open, high, low, close and volume, `X[-n]` is X n bars ago, r a log return, std
a standard deviation (ddof 1 for returns, 0 for prices). `build_market` makes the table in **network form**: scale-free,
clipped to ±{clip:g}, 0 where not known. `raw_features` returns the **textbook form**. **First bar** counts an asset's
own bars from 0; where the textbook form has another, it stands in brackets. **Compared with** names what the tests
hold the values against, in double and single precision: TA-Lib 0.8, `ta` 0.11, pandas, or a plain NumPy computation
of the formula. Where a formula is 0/0 (flat prices, no volume) the value is the neutral one: the middle of an
oscillator, no distance, no flow.

In bars within a day (several bars to a session) pivots and gaps are measured from the whole session before, and the
VWAP is that of the session so far.

The last two columns of every table are masks: `warm` is the share of the table's features that are past their first
bar, `known` is 1 where the asset has a bar.

Which way a tie falls decides over ADX, ±DI and MFI. Prices that single precision cannot tell apart are ties there,
though not in double precision: with such prices these four differ by a bar's worth between the two.
"""


def describe_features() -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION.format(clip=CLIP), _describe_sets()]
    for title, features in FAMILIES.items():
        rows = "\n".join(_row(feature) for feature in features)
        head = (
            "| Feature | Network form | First bar | Range | Textbook form | Compared with |\n|---|---|---|---|---|---|"
        )
        parts.append(f"## {title}\n\n{head}\n{rows}\n")
    return "\n".join(parts)


def _describe_sets() -> str:
    lines = [f"| `{name}` | {len(names)} | {_list(names)} |" for name, names in FEATURE_SETS.items()]
    return "## Sets\n\n| Set | Features | |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def _list(names: tuple[str, ...]) -> str:
    everything = names == FEATURE_SETS["standard"]
    return "all of this page but ranks, session and market" if everything else ", ".join(f"`{name}`" for name in names)


def _row(feature: Feature) -> str:
    raw = raw_form(feature)
    first = f"{feature.warm_up}" if raw.warm_up == feature.warm_up else f"{feature.warm_up} ({raw.warm_up})"
    textbook = "the same" if feature.raw is None else _cell(raw.formula)
    cells = (f"`{feature.name}`", _cell(feature.formula), first, _range(feature), textbook, feature.oracle)
    return f"| {' | '.join(cells)} |"


def _range(feature: Feature) -> str:
    return f"{max(feature.low, -CLIP):.3g} to {min(feature.high, CLIP):.3g}".replace("-", "−")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(describe_features(), encoding="utf-8")
