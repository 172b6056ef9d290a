"""Planted markets: a random key becomes a panel in which what can be earned is known beforehand.

Looking ahead is the point here, and nowhere else: a learner is held against what there is to learn. What an agent earns
on such a panel says whether it learns, and nothing of any real market.
"""

from ploutos_jax.market.hints import HINT as HINT
from ploutos_jax.market.synthetic.planted.bars import NUM_BARS as NUM_BARS
from ploutos_jax.market.synthetic.planted.bars import PLANTED_NOTE as PLANTED_NOTE
from ploutos_jax.market.synthetic.planted.bars import is_planted as is_planted
from ploutos_jax.market.synthetic.planted.hinted import HintedDraw as HintedDraw
from ploutos_jax.market.synthetic.planted.hinted import hinted_panel as hinted_panel
from ploutos_jax.market.synthetic.planted.iid import PlantedDraw as PlantedDraw
from ploutos_jax.market.synthetic.planted.iid import planted_panel as planted_panel
from ploutos_jax.market.synthetic.planted.lag import Lag as Lag
from ploutos_jax.market.synthetic.planted.persistent import Persistent as Persistent
from ploutos_jax.market.synthetic.planted.regimes import Regimes as Regimes
