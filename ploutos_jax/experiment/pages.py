"""What of a run is there to look at: the report of its final score, and the picture of its training."""

from pathlib import Path

from ploutos_jax.datasets.training import TrainingData
from ploutos_jax.env.broker.instruments import describe_costs
from ploutos_jax.experiment.run import AGENT, ExperimentResult, outlook_of
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.run.figures import read_figures

REPORT_FOLDER, PICTURE = "report", "training.png"


def write_pages(settings: RunSettings, data: TrainingData, result: ExperimentResult) -> Path:
    """Write the report of a run's final score and the picture of its training into its folder; return the page.

    Both replace those of an earlier call. Of several seeds the report is of their ensemble.

    Args:
        settings: of the run.
        data: that it trained on.
        result: of `run_experiment`.

    Raises:
        OSError: if a file cannot be written; whatever was there of the report stays as it was.
    """
    # They bring Matplotlib, which training does without.
    from ploutos_jax.evaluate.report.about import describe_run, making_of
    from ploutos_jax.evaluate.report.curves import draw_training
    from ploutos_jax.evaluate.report.evidence import describe_trials, trials_beside
    from ploutos_jax.evaluate.report.plot_style import to_png
    from ploutos_jax.evaluate.report.provenance import describe_provenance
    from ploutos_jax.evaluate.report.write import write_report

    rows = read_figures(result.output)
    if rows:
        outlook = outlook_of(settings, data.market.calendar)
        figure = draw_training(rows, title=f"Training: {result.output.name}", outlook=outlook)
        (result.output / PICTURE).write_bytes(to_png(figure))
    span = data.market if data.held_out is None else data.held_out
    ledger = result.ledgers[AGENT]
    trials, number = trials_beside(result.output), len(result.agents)
    several = "" if number == 1 else f", ensemble of {number} seeds"
    facts = {
        "checkpoint": f"{result.output}{several}, update {result.agents[0].step}",
        "data": f"{settings.data.data}, {span.num_assets} tickers",
        "costs": describe_costs(settings.env, span),
        "actions": "greedy",
        "out_of_sample": describe_provenance(ledger.provenance),
        **({} if trials is None else {"trials": describe_trials(trials)}),
        **describe_run(making_of(result.output, settings.env)),
    }
    folder = result.output / REPORT_FOLDER
    others = {name: other for name, other in result.ledgers.items() if name != AGENT}
    write_report(folder, ledger, others, sectors=span.sectors, trials=trials, facts=facts, overwrite=True)
    return folder / "report.html"
