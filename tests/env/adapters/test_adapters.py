"""The environment in the hands of other libraries: same trajectories, spaces, ends of episodes and seeds."""

import functools
import importlib.util
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from tests.env.worlds import random_market

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode, SyncVectorEnv  # noqa: E402
from gymnasium.vector.utils import batch_space  # noqa: E402
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics  # noqa: E402

from ploutos_jax.env.adapters.gymnasium import (  # noqa: E402
    GymnasiumEnv,
    GymnasiumVectorEnv,
    GymnaxEnv,
    reset_key,
    step_key,
)

KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "one asset": ("discrete", 1, {}),
    "discrete": ("discrete", 3, {}),
    "weights": ("weights", 3, {}),
    "one level": ("levels", 1, {}),
    "levels": ("levels", 3, {"decide_every": 3}),
    "bands": ("bands", 3, {"decide_every": 2}),
}
NUM_ENVS = 5
# Some episodes end by ruin within their seven bars, most by the end of their window.
RULES: dict[str, Any] = {"episode_length": 7, "ruin_pct": 0.98, "buy_pct": 0.5, "max_position_pct": 1.0}


@functools.cache
def make(kind: str) -> tuple[TradingEnv, EnvParams]:
    action, num_assets, rules = KINDS[kind]
    env = TradingEnv(EnvConfig(action=action, fees="none", slippage_noise=0.5, **RULES, **rules))  # type: ignore[arg-type]
    return env, env.default_params(random_market(3, num_assets=num_assets, plain=True))


def draw(env: Any, count: int) -> list[Any]:
    """Draw actions of an environment's space, the same ones every time."""
    env.action_space.seed(1)
    return [env.action_space.sample() for _ in range(count)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_passes_the_check_of_gymnasium(kind: str):
    # Warnings are errors here. What is skipped only makes the environment anew by a registered name.
    check_env(GymnasiumEnv(*make(kind)), skip_render_check=True)


def test_spaces(kind: str):
    env, params = make(kind)
    single = GymnasiumEnv(env, params)
    assert (
        single.action_space
        == {
            "one asset": gymnasium.spaces.Discrete(3),
            "discrete": gymnasium.spaces.MultiDiscrete([3, 3, 3]),
            "weights": gymnasium.spaces.Box(0.0, 1.0, (4,), np.float32),
            "one level": gymnasium.spaces.Discrete(5),
            "levels": gymnasium.spaces.MultiDiscrete([5, 5, 5]),
            "bands": gymnasium.spaces.Box(0.0, 1.0, (3, 2), np.float32),
        }[kind]
    )
    vector = GymnasiumVectorEnv(env, params, NUM_ENVS)
    assert vector.single_action_space == single.action_space
    assert vector.observation_space == batch_space(single.observation_space, NUM_ENVS)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    # An agent may move to another market: its space does not change with the data.
    other = env.default_params(random_market(9, num_assets=params.market.num_assets, plain=True))
    assert GymnasiumEnv(env, other).observation_space == single.observation_space
    for environment in (single, vector):
        observation, info = environment.reset()
        assert observation in environment.observation_space
        assert ("action_masks" in info) == env.config.masks_actions == bool(info)
        for action in draw(environment, 10):
            observation, _, terminated, truncated, _ = environment.step(action)
            assert observation.dtype == np.float32
            assert observation in environment.observation_space
            if environment is single and (terminated or truncated):
                environment.reset()


def test_trajectory_is_that_of_the_environment_bit_for_bit(kind: str):
    env, params = make(kind)
    wrapped = GymnasiumEnv(env, params)
    key, ends = jax.random.key(11), []
    reset, step, flatten = jax.jit(env.reset), jax.jit(env.step_env), jax.jit(env.flatten)
    seen, _ = wrapped.reset(seed=11)
    observation, state = reset(reset_key(key, 0), params)
    for n, action in enumerate(draw(wrapped, 30)):
        np.testing.assert_array_equal(seen, flatten(observation, params))
        seen, reward, terminated, truncated, info = wrapped.step(action)
        observation, state, *expected, details = step(step_key(key, n), state, np.atleast_1d(action), params)
        assert (reward, terminated, truncated) == tuple(x.item() for x in expected)
        masks = info.pop("action_masks", None)
        assert (masks is None) == (observation.valid is None)
        assert set(info) == set(details) - {"fills"}
        for name, value in info.items():
            assert isinstance(value, float | int | np.ndarray)
            np.testing.assert_array_equal(value, details[name], err_msg=name)
        if terminated or truncated:
            ends.append(terminated)
            seen, _ = wrapped.reset()
            observation, state = reset(reset_key(key, len(ends)), params)
    assert len(ends) > 2 and not all(ends)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, "SameStep") for kind in ("one asset", "discrete", "weights", "levels", "bands")]
    + [(kind, "NextStep") for kind in ("discrete", "levels")],
)
def test_vector_is_that_many_single_environments(kind: str, mode: str):
    env, params = make(kind)
    vector = GymnasiumVectorEnv(env, params, NUM_ENVS, autoreset_mode=mode)
    single = SyncVectorEnv([lambda: GymnasiumEnv(env, params)] * NUM_ENVS, autoreset_mode=AutoresetMode(mode))
    assert vector.metadata["autoreset_mode"] == single.metadata["autoreset_mode"]
    terminated, truncated = 0, 0
    for seed in (4, None, [7, 1, 8, 2, 8]):
        ours, theirs = vector.reset(seed=seed), single.reset(seed=seed)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert_same_info(ours[1], theirs[1])
        for actions in draw(vector, 20):
            ours, theirs = vector.step(actions), single.step(actions)
            assert_same_numbers(ours[0], theirs[0])
            assert_same_numbers(ours[1], theirs[1])
            np.testing.assert_array_equal(ours[2:4], theirs[2:4])
            assert_same_info(ours[4], theirs[4])
            terminated, truncated = terminated + ours[2].sum(), truncated + ours[3].sum()
    assert truncated > 0
    assert terminated > 0 or kind in ("levels", "bands"), "by halves and in few bars an account falls by 2 % less often"


@pytest.mark.parametrize(("kind", "choices"), [("levels", 5), ("bands", 1), ("discrete", 3)])
def test_masks_say_which_actions_there_are(kind: str, choices: int):
    env, params = make(kind)
    single, vector = GymnasiumEnv(env, params), GymnasiumVectorEnv(env, params, NUM_ENVS)
    for made in (single, vector):
        with pytest.raises(ValueError, match="before asking for masks"):
            made.action_masks()
    _, info = single.reset(seed=3)
    vector.reset(seed=3)
    every, seen = env.config.decide_every, []
    for action, actions in zip(draw(single, 40), draw(vector, 40), strict=True):
        masks = single.action_masks()
        assert masks.dtype == bool and masks.shape == (3 * choices,)
        assert every is None or (info["action_masks"] == masks).all()
        all_masks = vector.action_masks()
        assert all_masks.shape == (NUM_ENVS, 3 * choices)
        seen.append(masks.all())
        if not seen[-1]:
            # What is left is to hold; numbers have no action that does.
            assert (masks.reshape(3, -1).sum(axis=1) == (choices > 1)).all()
            assert choices == 1 or masks.reshape(3, -1)[:, 0].all()
        *_, terminated, truncated, info = single.step(action)
        assert seen[-1] or info["num_trades"] == sum(info[x] for x in ("exit_stop", "exit_target"))
        infos = vector.step(actions)[-1]
        assert ("action_masks" in infos) == (every is not None) == ("action_masks" in info)
        if every is not None:
            np.testing.assert_array_equal(infos["action_masks"], vector.action_masks())
            assert infos["_action_masks"].all()
        if terminated or truncated:
            _, info = single.reset()
    assert np.mean(seen) == pytest.approx(1 if every is None else 1 / every, abs=0.2)


@pytest.mark.thorough
def test_masks_of_the_rules_are_told_and_heeded():
    rules = RULES | {"buy_pct": 0.3, "stop_loss": None, "take_profit": None}
    env = TradingEnv(EnvConfig(fees="none", action_masks="advised", **rules))
    params = env.default_params(random_market(3, num_assets=3, plain=True))
    single, vector = GymnasiumEnv(env, params), GymnasiumVectorEnv(env, params, NUM_ENVS)
    rng, info = np.random.default_rng(2), single.reset(seed=3)[1]
    infos, seen = vector.reset(seed=3)[1], []
    for _ in range(40):
        masks, all_masks = single.action_masks().reshape(3, 3), vector.action_masks().reshape(NUM_ENVS, 3, 3)
        np.testing.assert_array_equal(info["action_masks"], masks.ravel())
        np.testing.assert_array_equal(infos["action_masks"], all_masks.reshape(NUM_ENVS, 9))
        assert masks[:, 0].all() and all_masks[..., 0].all()
        seen.append(all_masks)
        # The last choice that there is: sell what is held, else buy.
        *_, terminated, truncated, info = single.step(2 - masks[:, ::-1].argmax(axis=1))
        assert info["rejected_orders"] == 0
        if terminated or truncated:
            info = single.reset()[1]
        draws = np.where(all_masks, rng.random(all_masks.shape), -1).argmax(axis=-1)
        infos = vector.step(draws)[-1]
    assert 0.2 < np.mean(seen) < 0.9


@pytest.mark.parametrize("several", [False, True])
def test_the_maskable_ppo_of_sb3_contrib_takes_the_masks(several: bool, ppo: Any):
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    from ploutos_jax.env.adapters.stable_baselines import StableBaselinesVecEnv

    env = TradingEnv(EnvConfig(fees="none", action_masks="sound", **RULES))
    params = env.default_params(random_market(3, num_assets=3, plain=True))
    made = StableBaselinesVecEnv(env, params, NUM_ENVS) if several else GymnasiumEnv(env, params)
    agent = contrib.MaskablePPO("MlpPolicy", made, n_steps=100, batch_size=100, n_epochs=1, device="cpu")
    agent.learn(1_000)
    assert all(np.isfinite(parameter.detach().numpy()).all() for parameter in agent.policy.parameters())


def assert_same_numbers(ours: Any, theirs: Any, name: str = "") -> None:
    """Compare but for rounding: another program rounds another last bit, which float16 in observations magnifies."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=name)


def assert_same_info(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if isinstance(value, dict):
            assert_same_info(ours[name], value)
        elif value.dtype == object:
            for a, b in zip(ours[name], value, strict=True):
                assert (a is None) == (b is None)
                if b is not None:
                    assert_same_numbers(a, b, name)
        else:
            # In dollars of an account of 100,000: a few units in the last place of float32.
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=0.05, err_msg=name)


def test_first_observation_of_the_next_episode_comes_with_the_last_of_the_old_one():
    env, params = make("discrete")
    vector = GymnasiumVectorEnv(env, params, NUM_ENVS, seed=2)
    vector.reset()
    hold = np.zeros((NUM_ENVS, 3), int)
    for _ in range(env.config.episode_length - 1):
        info = vector.step(hold)[4]
        assert "final_obs" not in info
    observation, _, terminated, truncated, info = vector.step(hold)
    assert truncated.all() and not terminated.any() and info["_final_obs"].all()
    single = GymnasiumEnv(env, params, seed=2)
    single.reset()
    for _ in range(env.config.episode_length):
        last, _, _, _, figures = single.step(hold[0])
    np.testing.assert_array_equal(info["final_obs"][0], last)
    assert info["final_info"]["equity"][0] == figures["equity"] == 100_000
    np.testing.assert_array_equal(observation[0], single.reset()[0])


def test_wrappers_of_gymnasium_take_it():
    env, params = make("discrete")
    vector = GymnasiumVectorEnv(env, params, NUM_ENVS, autoreset_mode=AutoresetMode.NEXT_STEP)
    wrapped = RecordEpisodeStatistics(NormalizeObservation(vector))
    wrapped.reset(seed=1)
    ends = []
    for actions in draw(wrapped, 20):
        observation, *_, info = wrapped.step(actions)
        assert np.isfinite(observation).all()
        ends += [info["episode"]["l"][info["_episode"]]] if "episode" in info else []
    assert len(np.concatenate(ends)) >= NUM_ENVS and max(np.concatenate(ends)) == 7


def test_seeds_repeat_and_differ():
    env, params = make("discrete")
    single = GymnasiumEnv(env, params)

    def episodes(seed: int | None) -> np.ndarray:
        return np.stack([single.reset(seed=seed)[0], *(single.reset()[0] for _ in range(5))])

    first = episodes(3)
    np.testing.assert_array_equal(episodes(3), first)
    assert not np.array_equal(episodes(4), first)
    assert not np.array_equal(episodes(None), first)
    assert len(np.unique(first, axis=0)) > 2
    np.testing.assert_array_equal(GymnasiumEnv(env, params, seed=3).reset()[0], first[0])
    GymnasiumEnv(env, params).reset(seed=2**32 + 3)  # Gymnasium draws seeds of 64 bits where none is given


def test_an_episode_can_start_at_a_given_bar():
    env, params = make("discrete")
    single = GymnasiumEnv(env, params)
    observation, _ = single.reset(options={"start": 20})
    expected, _ = env.reset_at(20, 27, params)
    np.testing.assert_array_equal(observation, env.flatten(expected, params))
    assert [single.step([0, 0, 0])[3] for _ in range(7)] == [False] * 6 + [True]
    with pytest.raises(ValueError, match="options\\['start'\\]=60 .* from 0 to 56"):
        single.reset(options={"start": 60})


@pytest.mark.thorough
def test_it_compiles_once():
    traced: list[str] = []

    def reward(before: Any, after: Any) -> jax.Array:
        traced.append("again")
        return after.equity - before.equity

    env = TradingEnv(EnvConfig(fees="none", episode_length=5, reward=reward))
    params = env.default_params(random_market(1, num_assets=2, plain=True))
    for made in (GymnasiumEnv(env, params), GymnasiumVectorEnv(env, params, 3)):
        made.reset(seed=1)
        made.step(made.action_space.sample())
        made.reset(seed=2)
        count = len(traced)
        for _ in range(2):
            made.reset()
            for action in draw(made, 5):
                made.step(action)
        assert len(traced) == count > 0


def test_steps_without_an_episode_and_wrong_shapes_are_refused():
    env, params = make("discrete")
    single, vector = GymnasiumEnv(env, params), GymnasiumVectorEnv(env, params, NUM_ENVS)
    for made in (single, vector):
        with pytest.raises(ValueError, match="call reset\\(\\)"):
            made.step(made.action_space.sample())
    single.reset()
    for _ in range(7):
        single.step([0, 0, 0])
    with pytest.raises(ValueError, match="after an episode's end"):
        single.step([0, 0, 0])
    single.reset()
    with pytest.raises(ValueError, match="shape \\(2,\\); this environment takes \\(3,\\)"):
        single.step([0, 0])
    vector.reset()
    with pytest.raises(ValueError, match="shape \\(3, 5\\); this environment takes \\(5, 3\\)"):
        vector.step(np.zeros((3, NUM_ENVS), int))
    with pytest.raises(ValueError, match="2 seeds were given for 5 environments"):
        vector.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="num_envs=0"):
        GymnasiumVectorEnv(env, params, 0)
    with pytest.raises(ValueError, match="autoreset_mode=<AutoresetMode.DISABLED"):
        GymnasiumVectorEnv(env, params, 2, autoreset_mode=AutoresetMode.DISABLED)


def load_without(patch: pytest.MonkeyPatch, libraries: list[str], modules: list[str]) -> Any:
    """Load adapters anew, each seeing those before it, as if libraries were not installed; return the last."""
    for library in libraries:
        patch.setitem(sys.modules, library, None)
    fresh = None
    for module in modules:
        name = f"ploutos_jax.env.adapters.{module}"
        found = importlib.util.find_spec(name)
        assert found is not None and found.loader is not None
        fresh = importlib.util.module_from_spec(found)
        found.loader.exec_module(fresh)
        patch.setitem(sys.modules, name, fresh)
    return fresh


def test_what_is_not_installed_is_named_when_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    missing = ["gymnasium", "gymnasium.vector", "gymnasium.vector.utils"]
    adapters = load_without(monkeypatch, missing, ["masks", "spaces", "gymnasium_vector", "gymnasium"])
    for made in (adapters.GymnasiumEnv, adapters.GymnasiumVectorEnv):
        with pytest.raises(ImportError, match=f"{made.__name__} needs Gymnasium: pip install 'ploutos_jax\\[gym\\]'"):
            made(*make("discrete"), num_envs=2) if made is adapters.GymnasiumVectorEnv else made(*make("discrete"))
    assert adapters.GymnaxEnv(*make("discrete")).num_actions == 3
    with pytest.raises(ImportError, match="pip install 'ploutos_jax\\[bench\\]'"):
        load_without(monkeypatch, ["stable_baselines3.common.vec_env"], ["stable_baselines"])


# --- Stable-Baselines3


@pytest.fixture
def ppo() -> Any:
    return pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed").PPO


def test_stable_baselines_trains_on_one_environment(ppo: Any):
    agent = ppo("MlpPolicy", GymnasiumEnv(*make("discrete")), n_steps=500, batch_size=250, n_epochs=1, device="cpu")
    agent.learn(2_000)
    assert agent.num_timesteps == 2_000


def test_stable_baselines_trains_on_many(kind: str, ppo: Any):
    from ploutos_jax.env.adapters.stable_baselines import StableBaselinesVecEnv

    made = StableBaselinesVecEnv(*make(kind), NUM_ENVS, seed=6)
    agent = ppo("MlpPolicy", made, n_steps=100, batch_size=250, n_epochs=1, device="cpu")
    agent.learn(2_000)
    assert agent.num_timesteps == 2_000
    assert all(np.isfinite(parameter.detach().numpy()).all() for parameter in agent.policy.parameters())


def test_stable_baselines_sees_the_vector_and_its_ends(ppo: Any):
    from ploutos_jax.env.adapters.stable_baselines import StableBaselinesVecEnv

    env, params = make("discrete")
    made, vector = StableBaselinesVecEnv(env, params, NUM_ENVS, seed=6), GymnasiumVectorEnv(env, params, NUM_ENVS)
    np.testing.assert_array_equal(made.reset(), vector.reset(seed=6)[0])
    made.seed(9)
    np.testing.assert_array_equal(made.reset(), vector.reset(seed=9)[0])
    ends: list[bool] = []
    for actions in draw(vector, 25):
        observation, reward, done, infos = made.step(actions)
        expected, rewards, terminated, truncated, info = vector.step(actions)
        np.testing.assert_array_equal(observation, expected)
        np.testing.assert_array_equal(reward, rewards)
        np.testing.assert_array_equal(done, terminated | truncated)
        for place, figures in enumerate(infos):
            assert ("terminal_observation" in figures) == done[place]
            if done[place]:
                np.testing.assert_array_equal(figures["terminal_observation"], info["final_obs"][place])
                assert figures["TimeLimit.truncated"] == truncated[place]
                assert figures["equity"] == info["final_info"]["equity"][place]
                ends.append(bool(truncated[place]))
            else:
                assert figures["equity"] == info["equity"][place]
    assert any(ends) and not all(ends)
    assert made.env_is_wrapped(gymnasium.Wrapper) == [False] * NUM_ENVS
    assert made.get_attr("render_mode") == [None] * NUM_ENVS
    assert made.has_attr("action_masks")  # by which sb3-contrib finds out
    np.testing.assert_array_equal(np.stack(made.env_method("action_masks")), vector.action_masks())
    with pytest.raises(NotImplementedError, match="render cannot be called"):
        made.env_method("render")


# --- gymnax


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "joint_done"),
    [("one asset", False), ("discrete", True), ("weights", False), ("levels", False), ("bands", True)],
)
def test_gymnax_view_is_the_environment(kind: str, joint_done: bool):
    env, params = make(kind)
    params = params.replace(ruin_pct=jnp.float32(0.99))
    view = GymnaxEnv(env, params, joint_done=joint_done)
    handed = view.default_params
    assert handed.max_steps_in_episode == 7 and view.num_actions == {"weights": 4, "levels": 5, "bands": 6}.get(kind, 3)
    reset, step, step_env = jax.jit(view.reset), jax.jit(view.step), jax.jit(view.step_env)
    own_step, flatten = jax.jit(env.step), jax.jit(env.flatten)
    key = jax.random.key(0)
    vector, state = reset(key, handed)
    observation, own_state = env.reset(key, params)
    flags = []
    for n, action in enumerate(draw(GymnasiumEnv(env, params), 60)):
        np.testing.assert_array_equal(vector, flatten(observation, params))
        step_key = jax.random.fold_in(key, n)
        last, last_state, last_reward, last_done, _ = step_env(step_key, state, action, handed)
        vector, state, reward, *done, info = step(step_key, state, action, handed)
        observation, own_state, *expected, details = own_step(step_key, own_state, np.atleast_1d(action), params)
        assert reward == expected[0] == last_reward
        terminated, truncated = (bool(x) for x in expected[1:])
        flags.append((terminated, truncated))
        assert [bool(x) for x in done] == ([terminated or truncated] if joint_done else [terminated, truncated])
        assert last_done == done[0] == view.is_terminal(last_state, handed)
        assert (view.is_terminated(last_state, handed), view.is_truncated(last_state, handed)) == flags[-1]
        assert (info["terminated"], info["truncated"], info["discount"]) == (terminated, truncated, not terminated)
        assert ("action_masks" in info) == (observation.valid is not None)
        if observation.valid is not None:
            np.testing.assert_array_equal(info["action_masks"].reshape(3, -1)[:, -1], observation.valid > 0)
        np.testing.assert_array_equal(info["final_observation"], last)
        np.testing.assert_array_equal(last, flatten(details["final_observation"], params))
        assert info["equity"] == details["equity"]
    assert (True, False) in flags and (False, True) in flags


def test_gymnax_view_without_a_market_says_so():
    with pytest.raises(ValueError, match="GymnaxEnv\\(env, env.default_params\\(market\\)\\)"):
        GymnaxEnv(make("discrete")[0]).reset(jax.random.key(0))


def test_gymnax_spaces(kind: str):
    spaces = pytest.importorskip("gymnax", reason="gymnax is not installed").environments.spaces
    env, params = make(kind)
    view = GymnaxEnv(env, params)
    observations = view.observation_space(view.default_params)
    vector, _ = view.reset(jax.random.key(0))
    assert isinstance(observations, spaces.Box) and observations.shape == vector.shape and observations.contains(vector)
    if kind in ("discrete", "levels"):
        with pytest.raises(ValueError, match="no space of 3 discrete actions"):
            view.action_space()
    elif kind in ("weights", "bands"):
        shape = (4,) if kind == "weights" else (3, 2)
        assert view.action_space().shape == shape == jnp.shape(view.action_space().sample(jax.random.key(0)))
    else:
        assert isinstance(view.action_space(), spaces.Discrete)
        assert view.action_space().n == {"one asset": 3, "one level": 5}[kind]


def test_gymnax_spaces_need_gymnax():
    if importlib.util.find_spec("gymnax") is not None:
        pytest.skip("gymnax is installed")
    with pytest.raises(ImportError, match="pip install gymnax"):
        GymnaxEnv(*make("one asset")).action_space()
