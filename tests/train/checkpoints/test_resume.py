"""May a run go on: what must be the same, what may change, and one message that names what differs."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.checkpoints.checkpoint import STEPS_FOLDER, restore
from ploutos_jax.train.loop import train
from tests.train import planted
from tests.train.checkpoints.test_checkpoint import metrics_of
from tests.train.worlds import assert_identical

CONFIG = planted.CONFIG


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_config(**changes):
    return {"config": dataclasses.replace(CONFIG, **changes)}


def with_rules(**changes):
    return {"env": TradingEnv(dataclasses.replace(planted.ENV.config, **changes))}


def with_numbers(**changes):
    return {"params": planted.ENV.default_params(planted.seen()).replace(**changes)}


def with_prices(factor):
    market = planted.seen()
    close = np.asarray(market.close).copy()
    close[500, 1] *= factor
    return {"market": market.replace(close=jnp.asarray(close))}


def with_other_tickers():
    return {"market": build_market(planted.panel().select(planted.panel().symbols[::-1]), ()).window(0, planted.SPLIT)}


def with_hyper(**changes):
    return {"hyper": CONFIG.hyper().replace(**changes)}


REFUSED = {
    "another network": (
        lambda: with_config(policy=PolicyConfig(hidden=(32, 32))),
        "other settings: hidden: [64, 64] -> [32, 32]",
    ),
    "another torso": (lambda: with_config(policy=PolicyConfig(torso="flat")), "torso: shared -> flat"),
    "two changes": (lambda: with_config(num_epochs=2, gamma=0.5), "gamma: 0.9 -> 0.5; num_epochs: 4 -> 2"),
    "more environments": (lambda: with_config(num_envs=128), "num_envs: 64 -> 128"),
    "another seed": (lambda: with_config(seed=5), "seed: 0 -> 5"),
    "fewer timesteps": (lambda: with_config(total_timesteps=2048), "total_timesteps: 65536 -> 2048 (it may only grow)"),
    "more seeds": (lambda: with_config(num_seeds=2), "has num_seeds=1, now it is 2"),
    "another rule": (lambda: with_rules(max_holding_bars=5), "max_holding_bars: None -> 5"),
    "another cost": (lambda: with_rules(spread_bps=4.0), "spread_bps: 0.0 -> 4.0"),
    "a number given": (lambda: with_numbers(commission=jnp.float32(0.25)), "commission: 0.0 -> 0.25"),
    "a number of PPO given": (lambda: with_hyper(entropy_coef=0.5), "entropy_coef: 0.001"),
    "one price": (lambda: with_prices(1.0001), "trained on other data: bars: prices, volumes or dates"),
    "other tickers": (with_other_tickers, "trained on other data: symbols was"),
    "another span": (lambda: {"market": planted.market().window(0, planted.SPLIT - 1)}, "trained_to was"),
}


@pytest.mark.thorough
@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_run_is_named(finished_run, changes, said):
    before = files_of(finished_run.folder)
    arguments = {"config": CONFIG, "market": planted.seen(), "env": planted.ENV} | changes()
    with pytest.raises(ValueError) as error:
        train(**arguments, output=finished_run.folder, resume=True)
    assert said in str(error.value) and str(finished_run.folder) in str(error.value)
    assert "start a new run in another folder" in str(error.value)
    assert files_of(finished_run.folder) == before


def test_features_that_mean_something_else_are_named(finished_run, tmp_path):
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    market = planted.seen()
    features = np.asarray(market.features).copy()
    features[..., 2] *= 1.01
    with pytest.raises(
        ValueError, match=r"other values of 1 names \(signal_noise_1 …\): their centre or spread has moved"
    ):
        train(CONFIG, market.replace(features=jnp.asarray(features)), planted.ENV, output=folder, resume=True)
    assert metrics_of(folder) == metrics_of(finished_run.folder)
    assert restore(folder).step == CONFIG.num_updates


@pytest.mark.thorough
def test_what_does_no_harm_may_change(finished_run, tmp_path):
    """A finished run is made longer, with smaller chunks and other checkpoints; what there was stays."""
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    per_update = CONFIG.timesteps_per_update
    more = (CONFIG.num_updates + 2) * per_update
    longer = dataclasses.replace(
        CONFIG,
        total_timesteps=more,
        checkpoint_every=per_update,
        keep_checkpoints=1,
        eval_every=77,
        chunk_megabytes=200.0,
    )
    agent = train(longer, planted.seen(), planted.ENV, output=folder, resume=True)
    assert agent.step == CONFIG.num_updates + 2
    rows = metrics_of(folder)
    assert rows[: CONFIG.num_updates] == metrics_of(finished_run.folder) and len(rows) == agent.step
    assert rows[-1]["learning_rate"] == pytest.approx(CONFIG.learning_rate / (CONFIG.num_updates + 2), rel=1e-4)
    assert [path.name for path in (folder / STEPS_FOLDER).iterdir()] == [str(agent.step)]


def test_a_run_that_ended_before_its_first_checkpoint_starts_anew(finished_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished_run.folder, folder, ignore=shutil.ignore_patterns(STEPS_FOLDER, "summary.json"))
    with pytest.raises(ValueError, match="although the run has figures: its checkpoints were removed"):
        train(CONFIG, planted.seen(), planted.ENV, output=folder, resume=True)
    # As a kill leaves it: nothing done, the first checkpoint half written, no more of config.yaml than a part file.
    (folder / "metrics.jsonl").write_text("")
    (folder / STEPS_FOLDER / "0.orbax-checkpoint-tmp" / "agent.orbax-checkpoint-tmp").mkdir(parents=True)
    (folder / "metrics.jsonl.part").write_text('{"upd')
    rows = []
    agent = train(
        CONFIG,
        planted.seen(),
        planted.ENV,
        output=folder,
        resume=True,
        observers=[lambda progress: rows.extend(progress.rows)],
        should_stop=lambda: len(rows) >= 3,
    )
    assert metrics_of(folder) == metrics_of(finished_run.folder)[: agent.step]
    assert_identical(restore(folder).params, agent.params)


def test_a_checkpoint_is_there_before_the_first_update(tmp_path, monkeypatch):
    from ploutos_jax.train import calls

    class Compiling:
        @staticmethod
        def lower(*_):
            raise KeyboardInterrupt

    monkeypatch.setattr(calls, "run_updates", Compiling)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, planted.seen(), planted.ENV, output=tmp_path / "run")
    agent = restore(tmp_path / "run")
    assert agent.step == 0 and (tmp_path / "run" / "metrics.jsonl").read_text() == ""
    meta = json.loads((tmp_path / "run" / STEPS_FOLDER / "0" / "meta" / "metadata").read_text())
    assert meta["train"]["num_envs"] == 64 and len(meta["bars"]) == 64


def test_checkpoints_are_scaled_to_the_run():
    def every(**changes):
        return dataclasses.replace(CONFIG, **changes).updates_per_checkpoint

    per_update = CONFIG.timesteps_per_update
    assert every() == 3 and every(total_timesteps=per_update) == 1
    assert every(total_timesteps=100_000_000) == 500_000 // per_update
    assert every(checkpoint_every=10 * per_update) == 10 and every(checkpoint_every=1) == 1
    longer = dataclasses.replace(CONFIG, total_timesteps=100_000_000)
    assert longer.updates_per_eval == 10_000_000 // per_update
    assert dataclasses.replace(CONFIG, eval_every=3 * per_update).updates_per_eval == 3
