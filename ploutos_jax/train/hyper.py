"""Numbers of the learner that a compiled update reads."""

import typing

from flax import struct


@typing.no_type_check
class Hyper(struct.PyTreeNode):
    """Numbers of PPO as leaves, so that one compiled program serves every value; see `TrainConfig`.

    `decay`, `cosine_decay` and `entropy_decay` are the weights of the schedules, 1 for the one chosen. `value_clip` is
    read by programs of a configuration that has one.
    """

    learning_rate: float
    decay: float
    cosine_decay: float
    num_updates: float
    gamma: float
    gae_lambda: float
    clip_range: float
    entropy_coef: float
    entropy_decay: float
    value_coef: float
    value_clip: float
    max_grad_norm: float
    target_kl: float
    average: float = 0.0
    tail: float = 0.05
    cvar_weight: float = 0.0
    turnover_penalty: float = 0.0
    risk_aversion: float = 1.0
    mix: float = 0.0
