"""Heads of masked choices, levels and bands: probabilities against SciPy, samples, and what the environment gets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from ploutos_jax.env.types import LEVELS
from ploutos_jax.policy.actor_critic import ActorCritic, PolicyConfig
from ploutos_jax.policy.distributions import BandsHead, DiscreteHead, LevelsHead, head_for

KEY = jax.random.key(0)
HOLD, BUY, SELL = 1, 2, 4


def bits(*valid: int) -> jnp.ndarray:
    return jnp.asarray(valid, jnp.uint8)


def test_head_for_bands_and_levels():
    bands, levels = head_for("bands", 30), head_for("levels", 30)
    assert isinstance(bands, BandsHead) and isinstance(levels, LevelsHead)
    assert bands.cap == levels.cap == pytest.approx(0.1)
    assert head_for("bands", 2).cap == 1 and head_for("levels", 30, cap=0.4).cap == 0.4  # type: ignore[union-attr]
    assert levels.shares == LEVELS and levels.num_outputs == len(LEVELS) + 1


# --- masks


def test_a_masked_choice_has_the_probabilities_of_what_is_left():
    head, logits = DiscreteHead(), jnp.array([[1.0, 2.0, 3.0]])
    valid = bits(2)  # hold and sell: [1, 0, 1]
    found = [float(head.log_prob(logits, jnp.array([a], jnp.int8), valid)[0]) for a in (0, 2)]
    assert found == pytest.approx([-2.126928, -0.126928], abs=1e-6)
    assert float(head.entropy(logits, valid)[0]) == pytest.approx(0.365334, abs=1e-6)
    assert float(head.log_prob(logits, jnp.array([1], jnp.int8), valid)[0]) < -1e8
    assert int(head.mode(logits, valid)[0]) == 2 and int(head.mode(logits, bits(1))[0]) == 1
    assert int(head.mode(logits, bits(0))[0]) == 0


@pytest.mark.parametrize("head", [DiscreteHead(), LevelsHead()], ids=["discrete", "levels"])
def test_masks_that_take_nothing_away_change_nothing(head: DiscreteHead | LevelsHead):
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 2, (40, 6, head.num_outputs)), jnp.float32)
    full = jnp.full((40, 6), 3, jnp.uint8)
    action = head.sample(KEY, logits)
    np.testing.assert_array_equal(action, head.sample(KEY, logits, full))
    np.testing.assert_array_equal(head.mode(logits), head.mode(logits, full))
    np.testing.assert_array_equal(head.log_prob(logits, action), head.log_prob(logits, action, full))
    np.testing.assert_array_equal(head.entropy(logits), head.entropy(logits, full))


@pytest.mark.thorough
@pytest.mark.parametrize("head", [DiscreteHead(), LevelsHead()], ids=["discrete", "levels"])
@pytest.mark.parametrize("scale", [0.0, 3.0, 60.0])
def test_a_million_samples_are_all_valid(head: DiscreteHead | LevelsHead, scale: float):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(0, scale, (1_000, 1_000, head.num_outputs)), jnp.float32)
    valid = jnp.asarray(rng.integers(0, 4, (1_000, 1_000)), jnp.uint8)
    action, mask = np.asarray(jax.jit(head.sample)(KEY, logits, valid)), np.asarray(valid)
    assert action.dtype == np.int8 and action.min() == 0 and action.max() == head.num_outputs - 1
    if isinstance(head, DiscreteHead):
        assert not ((action == 1) & (mask & 1 == 0)).any() and not ((action == 2) & (mask & 2 == 0)).any()
    else:
        assert not action[mask == 0].any()
    assert (np.asarray(head.log_prob(logits, jnp.asarray(action), valid)) > -1e3).all()
    np.testing.assert_array_equal(np.asarray(head.mode(logits, valid))[mask == 0], 0)


@pytest.mark.slow
def test_of_a_hundred_million_samples_none_is_invalid():
    """The last choice is masked and all others are likely: their probabilities round to less than 1 in all."""
    logits = jnp.asarray(np.random.default_rng(4).normal(0, 1, (1_000, 1_000, 5)), jnp.float32)
    last = jnp.full((1_000, 1_000), HOLD, jnp.uint8)

    @jax.jit
    def invalid(key: jax.Array) -> tuple[jax.Array, ...]:
        without_sales = DiscreteHead().sample(key, logits[..., :3], last)
        kept = LevelsHead().sample(key, logits, jnp.zeros_like(last))
        return (without_sales == 2).sum(), (kept != 0).sum()

    for number in range(100):
        assert not any(invalid(jax.random.key(number)))


def test_frequencies_of_masked_samples_follow_the_probabilities():
    head, draws = DiscreteHead(), 100_000
    logits, valid = jnp.array([[1.0, 2.0, 3.0]] * 4), bits(0, 1, 2, 3)
    actions = np.asarray(
        jax.jit(head.sample)(KEY, jnp.broadcast_to(logits, (draws, 4, 3)), jnp.broadcast_to(valid, (draws, 4)))
    )
    for asset, kept in enumerate(([0], [0, 1], [0, 2], [0, 1, 2])):
        p = scipy.special.softmax(np.array([1.0, 2.0, 3.0])[kept])
        seen = np.array([(actions[:, asset] == a).mean() for a in kept])
        assert (np.abs(seen - p) < 4.5 * np.sqrt(p * (1 - p) / draws) + 1e-9).all()


@pytest.mark.parametrize("head", [DiscreteHead(), LevelsHead()], ids=["discrete", "levels"])
def test_gradients_through_masks_are_finite_and_reach_what_is_there_alone(head: DiscreteHead | LevelsHead):
    logits = jnp.asarray(np.random.default_rng(2).normal(0, 3, (4, head.num_outputs)), jnp.float32)
    valid = bits(0, 1, 2, 3)
    action = head.sample(KEY, logits, valid)
    gradient = jax.grad(lambda x: (head.log_prob(x, action, valid) + head.entropy(x, valid)).sum())(logits)
    assert np.isfinite(gradient).all()
    assert not gradient[0].any(), "where holding is all that there is, nothing is learnt of the action"
    if isinstance(head, DiscreteHead):
        assert not gradient[1, 2] and not gradient[2, 1] and gradient[3].all()


# --- levels


def test_levels_are_a_softmax_over_five():
    head = LevelsHead(cap=0.2)
    logits = np.random.default_rng(3).normal(0, 2, (50, 4, 5)).astype(np.float32)
    log_p = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    for level in range(5):
        found = head.log_prob(jnp.asarray(logits), jnp.full((50, 4), level, jnp.int8))
        np.testing.assert_allclose(found, log_p[..., level], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        head.entropy(jnp.asarray(logits)), -(np.exp(log_p) * log_p).sum(-1), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(head.mode(jnp.asarray(logits)), logits.argmax(-1))
    draws = np.asarray(head.sample(KEY, jnp.broadcast_to(logits[0], (40_000, 4, 5))))
    for level in range(5):
        p = np.exp(log_p[0, :, level])
        assert (np.abs((draws == level).mean(axis=0) - p) < 4.5 * np.sqrt(p * (1 - p) / 40_000) + 1e-9).all()


def test_levels_lead_where_the_environment_says():
    head = LevelsHead(cap=0.2)
    action = jnp.arange(5, dtype=jnp.int8)
    assert head.to_env(action) is action
    np.testing.assert_allclose(head.position_after(action, jnp.full(5, 0.07)), [0.07, 0, 0.05, 0.1, 0.2], rtol=1e-6)


# --- bands


@pytest.fixture(params=[(30, 0.1), (3, 1.0), (500, 0.006)], ids=str)
def bands(request: pytest.FixtureRequest) -> BandsHead:
    num_assets, cap = request.param
    return BandsHead.create(num_assets, cap, 2e-4)


def random_outputs(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).normal(0, scale, (*shape, 4)), jnp.float32)


def normals(head: BandsHead, outputs: jnp.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations, `[..., 2]` float64, of the two numbers that a band is made of."""
    base = head.mode(jnp.zeros((1, 4)))[0].astype(float)
    out = np.asarray(outputs, np.float64)
    start = np.array([0.0, np.log(np.expm1(head.width))])
    np.testing.assert_allclose(base, start, rtol=2e-3, atol=1e-3)
    logs = [float(head.entropy(jnp.zeros((1, 4)).at[..., 2:].set(x))[0]) for x in (0.0,)]
    untrained = (logs[0] - np.log(2 * np.pi * np.e)) / 2
    return out[..., :2] + start, np.exp(np.clip(out[..., 2:] + untrained, -1.5, 1))


def test_density_of_a_band_is_that_of_two_normals(bands: BandsHead):
    outputs = random_outputs((60, 5), scale=1.5)
    mean, deviation = normals(bands, outputs)
    action = bands.sample(KEY, outputs)
    assert action.dtype == jnp.float16 and action.shape == (60, 5, 2)
    expected = scipy.stats.norm(mean, deviation).logpdf(np.asarray(action, np.float64)).sum(axis=-1)
    np.testing.assert_allclose(bands.log_prob(outputs, action), expected, rtol=1e-4, atol=1e-4)
    entropy = scipy.stats.norm(mean, deviation).entropy().sum(axis=-1)
    np.testing.assert_allclose(bands.entropy(outputs), entropy, rtol=1e-5, atol=1e-5)


def test_density_of_a_band_adds_up_to_one(bands: BandsHead):
    outputs = random_outputs((1,), seed=4)[0]
    mean, deviation = (x[0] for x in normals(bands, outputs[None]))
    c, d = (np.linspace(m - 8 * s, m + 8 * s, 401) for m, s in zip(mean, deviation, strict=True))
    grid = jnp.asarray(np.stack(np.meshgrid(c, d, indexing="ij"), axis=-1), jnp.float32)
    density = np.exp(np.asarray(bands.log_prob(jnp.broadcast_to(outputs, (401, 401, 4)), grid), np.float64))
    assert scipy.integrate.simpson(scipy.integrate.simpson(density, d), c) == pytest.approx(1, abs=1e-4)


def test_samples_of_a_band_are_normal(bands: BandsHead):
    outputs = jnp.array([[0.0, 0.0, 0.0, 0.0], [1.5, -1.0, 0.5, 1.0]])
    mean, deviation = normals(bands, outputs)
    drawn = np.asarray(bands.sample(KEY, jnp.broadcast_to(outputs, (20_000, 2, 4))), np.float64)
    for place in np.ndindex(2, 2):
        assert scipy.stats.kstest((drawn[:, *place] - mean[place]) / deviation[place], "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(drawn.reshape(-1, 4).T) - np.eye(4)).max() < 4.5 / np.sqrt(20_000)


def test_what_is_stored_of_a_band_is_what_it_was_drawn_and_traded_as(bands: BandsHead):
    outputs, tradable = random_outputs((200, 4)), jnp.ones((200, 4), bool)
    action = jax.jit(bands.sample)(KEY, outputs)
    stored = jnp.asarray(np.asarray(action))  # float16, as a rollout keeps it
    np.testing.assert_array_equal(bands.to_env(action, tradable), bands.to_env(stored, tradable))
    log_prob = jax.jit(bands.log_prob)
    np.testing.assert_array_equal(jnp.exp(log_prob(outputs, stored) - log_prob(outputs, action)), 1)
    assert (action.astype(jnp.float32).astype(jnp.float16) == action).all()


def test_edges_lie_within_the_cap_and_middles_within_the_account(bands: BandsHead):
    for seed, scale in enumerate((0.3, 2.0, 30.0)):
        outputs = random_outputs((500, 40), seed, scale)
        action = bands.sample(jax.random.key(seed), outputs)
        band = np.asarray(bands.to_env(action, jnp.ones((500, 40), bool)))
        assert np.isfinite(band).all()
        lower, upper = band[..., 0], band[..., 1]
        assert (lower >= 0).all() and (lower <= upper).all() and (lower <= bands.cap * (1 + 1e-6)).all()
        free = upper > bands.cap * (1 + 1e-6)  # what may be all of the cap may rise beyond it
        assert (upper[free] > 1).all() and (~free).any() and (free.any() or scale < 1)
        if bands.hold_cash:
            score = np.asarray(action[..., 0], float) + np.logaddexp(0, np.asarray(action[..., 1], float))
            clear = np.abs(score - np.log(9)) > 1e-3  # 1.25 (σ(x) − ½) = ½ at x = log 9
            np.testing.assert_array_equal(free[clear], score[clear] > np.log(9))
        assert lower.sum(axis=-1).max() <= 1 + 1e-5
        narrow = action.at[..., 1].set(-60_000.0)  # softplus of it is 0: both edges are the middle
        middle = np.asarray(bands.to_env(narrow, jnp.ones((500, 40), bool)))
        same = middle[..., 1] < 1
        np.testing.assert_array_equal(middle[..., 0][same], middle[..., 1][same])
        total = middle[..., 0].sum(axis=-1)
        assert total.max() <= 1 + 1e-5
        raw = bands.cap * np.clip(0.5 + 1.25 * (scipy.special.expit(np.asarray(narrow[..., 0], float)) - 0.5), 0, 1)
        np.testing.assert_allclose(middle[..., 0], raw / np.maximum(raw.sum(axis=-1, keepdims=True), 1), atol=1e-6)


def test_assets_that_do_not_trade_are_kept_and_take_no_part(bands: BandsHead):
    action = bands.sample(KEY, random_outputs((300, 12), scale=2.0))
    tradable = jnp.asarray(np.random.default_rng(5).random((300, 12)) < 0.6)
    band = np.asarray(bands.to_env(action, tradable))
    np.testing.assert_array_equal(np.isnan(band), np.broadcast_to(~np.asarray(tradable)[..., None], band.shape))
    other = action.at[..., 0].set(jnp.where(tradable, action[..., 0], 9.0))
    np.testing.assert_array_equal(band, bands.to_env(other, tradable))
    held = jnp.full((300, 12), 0.02)
    after = np.asarray(bands.position_after(action, held, tradable))
    clipped = np.clip(0.02, band[..., 0], band[..., 1])
    np.testing.assert_allclose(after, np.where(np.isnan(clipped), 0.02, clipped), rtol=1e-6)
    assert np.isnan(bands.to_env(action, jnp.zeros((300, 12), bool))).all()


def test_nothing_and_all_of_the_cap_are_within_reach(bands: BandsHead):
    action = jnp.array([[-3.0, -9.0], [3.0, -9.0], [0.0, 6.0]], jnp.float16)
    lone = jnp.eye(3, dtype=bool)
    band = np.stack([np.asarray(bands.to_env(action, lone[i]))[i] for i in range(3)])
    np.testing.assert_allclose(band, [[0, 0], [bands.cap, 2], [0, 2]], rtol=1e-6)  # 2: no upper edge


@pytest.mark.thorough
@pytest.mark.parametrize("cap", [None, 0.4, 1.0])
@pytest.mark.parametrize("num_assets", [4, 30])
def test_an_untrained_network_holds_equal_parts_of_what_trades(cap: float | None, num_assets: int):
    head = head_for("bands", num_assets, cap)
    assert isinstance(head, BandsHead)
    model = ActorCritic(PolicyConfig(hidden=(8,), width=8), num_assets, head.num_outputs, head.cap)
    rng = np.random.default_rng(6)
    mask = rng.random((20, num_assets)) < 0.7
    mask[0], mask[1] = True, np.arange(num_assets) < num_assets // 2
    shape = (20, num_assets)
    given = [rng.normal(size=(*shape, 5)), mask, rng.random((*shape, 5)), rng.random((20, 19))]
    given = [jnp.asarray(x) if x.dtype == bool else jnp.asarray(x, jnp.float32) for x in given]
    params = model.init(jax.random.key(1), *given)
    # The actor's head begins near nothing and not at it; without it the prior is all there is.
    params = jax.tree.map(lambda x: x, params)
    params["params"]["actor_head"] = jax.tree.map(jnp.zeros_like, params["params"]["actor_head"])
    outputs, _ = model.apply(params, *given)  # type: ignore[misc]
    band = np.asarray(head.to_env(head.mode(outputs), given[1]))
    middle = band.mean(axis=-1)
    equal = 1 / np.maximum(mask.sum(axis=-1, keepdims=True), 1)
    expected = np.where(mask, np.minimum(np.broadcast_to(equal, mask.shape), 0.9 * head.cap), np.nan)
    narrow = head.to_env(head.mode(outputs).at[..., 1].set(-60_000.0), given[1])
    np.testing.assert_allclose(np.asarray(narrow)[..., 0], expected, rtol=5e-3)
    assert (band[..., 0] <= expected * 1.005)[mask].all() and (band[..., 1] >= expected * 0.995)[mask].all()
    assert np.isnan(middle[~mask]).all()


def test_an_untrained_band_is_as_wide_as_costs_ask_for():
    # One asset of weight 1/2 under logarithmic utility: (1.5 / 16 · cost)^(1/3) to each side.
    for cost in (2e-4, 1e-3):
        head = BandsHead.create(2, 1.0, cost)
        band = np.asarray(head.to_env(head.mode(jnp.zeros((2, 4))), jnp.ones(2, bool)), float)
        np.testing.assert_allclose(np.diff(band, axis=-1) / 2, (1.5 / 16 * cost) ** (1 / 3), rtol=0.03)
    assert BandsHead.create(30, 0.1, 1e-3).width > BandsHead.create(30, 0.1, 2e-4).width
