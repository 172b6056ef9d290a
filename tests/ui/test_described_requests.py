"""Requests made from the API's own description, ordinary ones and wrong ones: none is answered by an error of ours."""

import contextlib

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.ui.projects import served

schemathesis = pytest.importorskip("schemathesis", reason="requests are made by schemathesis")

FEW, MANY = 8, 150
"""Requests of each operation, at most: some have few that differ."""
SLOW = ("/api/settings/check",)
"""What starts a process that loads JAX for each."""
ENDLESS = ("/api/runs/live", "/api/jobs/{job}/log/live")
NOT_ASKED = (*SLOW, *ENDLESS, "/api/queue")
"""The queue stays paused, so that nothing is trained."""


def ask_all(project, each):
    """Ask every operation; return how many requests that were, and those that an error answered."""
    from ploutos_jax.ui.api.app import make_app
    from ploutos_jax.ui.jobs.record import Jobs

    count, failed = 0, []
    with contextlib.ExitStack() as afterwards, served(make_app(project, max_upload_mb=1)) as client:
        # What was asked for waits for its turn beside no server, and would do so for ever.
        afterwards.callback(lambda: [Jobs(project).stop(job.id) for job in Jobs(project).all()])
        assert client.post("/api/queue", json={"paused": True}).status_code == 200
        schema = schemathesis.openapi.from_url(f"{client.base_url}/api/openapi.json")
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path in NOT_ASKED:
                continue

            def ask(case):
                nonlocal count
                count += 1
                answer = case.call(base_url=str(client.base_url), timeout=120)
                if answer.status_code >= 500:
                    failed.append((case.as_curl_command(), answer.status_code, answer.text[:300]))

            strategy = operation.as_strategy() | operation.as_strategy(
                generation_mode=schemathesis.GenerationMode.NEGATIVE
            )
            quiet = settings(
                max_examples=each,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            run(strategy, quiet, ask)
    return count, failed


def run(strategy, quiet, ask):
    quiet(given(case=strategy)(ask))()


@pytest.mark.thorough
def test_no_request_is_answered_by_an_error_of_ours(project):
    count, failed = ask_all(project, FEW)
    assert failed == [] and count > 100
    assert sorted(path.name for path in (project.root / "data").iterdir()) == ["bars.csv"]


@pytest.mark.slow
def test_nor_is_any_of_two_thousand(project):
    count, failed = ask_all(project, MANY)
    assert failed == [] and count >= 2000
