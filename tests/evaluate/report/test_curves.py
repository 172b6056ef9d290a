"""The picture of a training: what it draws of figures that are there, and what it says of those that are not."""

import numpy as np
import pytest

from ploutos_jax.evaluate.report.curves import draw_training
from ploutos_jax.evaluate.report.plot_style import to_png


def rows(number: int, **more):
    return [
        {"update": i + 1, "timesteps": 64 * (i + 1), "steps_per_second": 10.0, "entropy": 1.0 / (i + 1)}
        | {name: values[i] for name, values in more.items()}
        for i in range(number)
    ]


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_every_figure_has_its_panel_and_what_a_run_has_not_is_said():
    shares = [None, 0.01, float("nan"), 0.03, 0.05]
    drawn = panels(draw_training(rows(5, turnover_per_step=shares), title="Run 7"))
    assert len(drawn) == 6
    thin, thick = drawn["Traded in a bar, share of equity"].lines
    np.testing.assert_allclose(thin.get_xdata(), [128, 256, 320])
    np.testing.assert_allclose(thin.get_ydata(), [0.01, 0.03, 0.05])
    np.testing.assert_allclose(thick.get_ydata(), [0.02, 0.03, 0.04])
    missing = drawn["Sharpe ratio on bars held out"]
    assert not missing.lines and [text.get_text() for text in missing.texts] == ["no such figure"]


@pytest.mark.parametrize("number", [1, 400])
def test_short_and_long_runs_are_pictures(number):
    figure = draw_training(rows(number, held_out_sharpe=[1.0] * number), title="A dollar $ is a dollar $")
    assert to_png(figure).startswith(b"\x89PNG")
    assert figure.texts[0].get_text() == "A dollar $ is a dollar $"
