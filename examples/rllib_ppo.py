"""RLlib's PPO on the same broker and bars, by a vector of many accounts (`pip install "ray[rllib]" torch`)."""

# %% Ray starts its processes before JAX its threads: a process with threads is not to be forked.
import ray

ray.init(include_dashboard=False, num_cpus=1)

import gymnasium as gym  # noqa: E402
import jax  # noqa: E402
from ray.rllib.algorithms.ppo import PPOConfig  # noqa: E402

import ploutos_jax as pj  # noqa: E402
from ploutos_jax.env.adapters.gymnasium_vector import GymnasiumVectorEnv  # noqa: E402

EPISODE = 60
panel = pj.synthetic_panel(jax.random.key(2), num_assets=4, num_bars=600)
market = pj.build_market(panel, features="minimal").window(0, 450)
env = pj.TradingEnv(pj.EnvConfig(action="weights", episode_length=EPISODE))


# %% RLlib begins an account anew in a step of its own: Gymnasium calls that NEXT_STEP.
def make_accounts(num_envs: int) -> GymnasiumVectorEnv:
    """Return so many accounts, stepped by one compiled call."""
    return GymnasiumVectorEnv(env, env.default_params(market), num_envs, autoreset_mode="NextStep")


gym.register("Ploutos-v0", vector_entry_point=make_accounts)

# %% The accounts live in this process, beside the learner: one call steps all, so no workers are needed.
config = (
    PPOConfig()
    .environment("Ploutos-v0")
    .env_runners(num_env_runners=0, num_envs_per_env_runner=16, gym_env_vectorize_mode="vector_entry_point")
    .training(lr=3e-4, train_batch_size_per_learner=1024, minibatch_size=256, num_epochs=4, gamma=0.99)
    .debugging(seed=0)
)
algorithm = config.build_algo()

# %% The return of an episode is the sum of its rewards; RLlib counts one step more where an episode spans two calls.
results = [algorithm.train()["env_runners"] for _ in range(4)]
print("steps     episodes  mean return  best")
for told in results:
    steps, episodes = told["num_env_steps_sampled_lifetime"], told["num_episodes_lifetime"]
    print(f"{steps:<9,.0f} {episodes:<9,.0f} {told['episode_return_mean']:<+12.4f} {told['episode_return_max']:+.4f}")
algorithm.stop()
ray.shutdown()
print("Steps are far too few to learn anything:", "call train() some thousand times for that.", sep="\n")
