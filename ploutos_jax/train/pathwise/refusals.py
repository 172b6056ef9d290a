"""What cannot be learnt through the broker's step, and what to do instead: said before anything is compiled."""

from ploutos_jax.env.config import EXIT_RULES, EnvConfig


def exits_of(config: EnvConfig) -> list[str]:
    """Return the names of the rules, of those that are on, that close positions at an event."""
    return [name for name in EXIT_RULES if getattr(config, name) is not None]


def check_smooth(config: EnvConfig, *, path_alone: bool) -> None:
    """Make sure that what an account earns has derivatives by the actions, and that they tell the truth.

    Args:
        config: rules.
        path_alone: whether nothing but these derivatives is learnt from.

    Raises:
        ValueError: for actions that are choices, for whole lots, and, where nothing else is learnt from, for exits.
    """
    if config.is_choice:
        raise ValueError(
            f"action={config.action!r} chooses among a few: what an account earns has no derivative by a choice."
            " Use action='bands' or 'weights', or algorithm='ppo'."
        )
    if config.has_lots:
        given = "fees='exchange'" if config.lot_size is None else f"lot_size={config.lot_size:g}"
        raise ValueError(
            f"{given} rounds every order to whole lots: the derivative by an action is 0 everywhere, and nothing can be"
            " learnt by it. Allow fractions (lot_size=None and other fees), or use algorithm='ppo'."
        )
    exits = exits_of(config)
    if exits and path_alone:
        verb = "closes" if len(exits) == 1 else "close"
        raise ValueError(
            f"{', '.join(exits)} {verb} positions at an event, and a derivative through the step does not know that an"
            " action moves the event: it would be wrong, and wrong to one side. Use algorithm='mixed', which weighs it"
            f" against PPO's, or algorithm='ppo', or set {' and '.join(exits)} to None."
        )
