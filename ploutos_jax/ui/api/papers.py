"""Paper accounts: what there is, what one holds and does, its kill switch, its report."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from ploutos_jax.ui.api.bodies import JobState, OneJournal, PaperReport, Record
from ploutos_jax.ui.api.context import Context, context_of, responses
from ploutos_jax.ui.paper_accounts import (
    journal_of,
    list_accounts,
    read_account,
    read_differences,
    report_stem,
    reports_of,
    stop_account,
)

router = APIRouter(prefix="/api")
Here = Annotated[Context, Depends(context_of)]
JournalName = Annotated[str, Query(max_length=400, description="a journal, such as btc.journal")]


@router.get("/papers", tags=["papers"])
def list_papers(here: Here) -> list[Record]:
    """List the paper accounts, the newest first: journals in the project's folder and in `paper/`."""
    return list_accounts(here.project)


@router.get("/papers/one", tags=["papers"], responses={**responses(404, 409)})
def read_paper(here: Here, journal: JournalName) -> Record:
    """Return a paper account: equity, positions, orders, guards, events, reports."""
    return read_account(here.project, journal_of(here.project, journal))


@router.get("/papers/backtest", tags=["papers"], responses={**responses(404)})
def read_paper_against_backtest(here: Here, journal: JournalName) -> Record:
    """Return by how much an account's equity differs from that of the backtest of its bars, by its newest report."""
    reports = reports_of(here.project, journal_of(here.project, journal))
    if not reports:
        raise FileNotFoundError("There is no report of this account yet.")
    return {"report": reports[0], "apart": read_differences(here.project, reports[0])}


@router.post("/papers/kill", tags=["papers"], status_code=202, responses={**responses(404, 409)})
def kill_paper(here: Here, body: OneJournal) -> Record:
    """Throw the kill switch of the process that trades an account, as SIGUSR1 does."""
    journal = journal_of(here.project, body.journal)
    return {"journal": body.journal, "process": stop_account(journal)}


@router.post("/papers/report", tags=["papers"], status_code=202, responses={**responses(400, 404, 429)})
def report_paper(here: Here, body: PaperReport) -> JobState:
    """Write the report of an account beside the backtest of its bars: a job of `ploutos paper --report`."""
    journal = journal_of(here.project, body.journal)
    run = here.project.name_of(here.project.run(body.run))
    output = here.project.next_free("reports", report_stem(journal))
    name = here.project.name_of(journal)
    return here.start(["paper", run, f"--journal={name}", f"--report={output}"], output, body)
