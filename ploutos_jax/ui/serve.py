"""Starts the API and the front end: one process, one address."""

import os

import uvicorn

from ploutos_jax.ui.api.access import TOKEN_VARIABLE, Access, check_address
from ploutos_jax.ui.api.app import MAX_UPLOAD_MB, make_app
from ploutos_jax.ui.api.context import Context
from ploutos_jax.ui.front import Front
from ploutos_jax.ui.project import Project

_FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}
"""Where a server that listens everywhere is reached from its own machine."""


def make_server(
    project: Project, *, host: str, port: int, token: str | None = None, max_upload_mb: int = MAX_UPLOAD_MB
) -> Access:
    """Return the API and the front end of a project as one ASGI application.

    Args:
        project: the folder.
        host, port: where it will listen; the front end asks the API there.
        token: that people have to give, or None.
        max_upload_mb: the largest file that is taken in, in MB.

    Raises:
        ValueError: if others could reach the address and there is no token.
    """
    check_address(host, token)
    context = Context.of(project, max_upload_mb)
    front = Front(f"http://{_FROM_HERE.get(host, host)}:{port}", context.key, max_upload_mb)
    return make_app(project, token=token, max_upload_mb=max_upload_mb, front=front, context=context)


def serve(project: Project, *, host: str, port: int, token: str | None, max_upload_mb: int = MAX_UPLOAD_MB) -> None:
    """Serve until the process is asked to end; jobs go on.

    Args:
        project, host, port, token, max_upload_mb: see `make_server`.

    Raises:
        ValueError: if others could reach the address and there is no token.
    """
    app = make_server(project, host=host, port=port, token=token, max_upload_mb=max_upload_mb)
    os.environ.pop(TOKEN_VARIABLE, None)  # no process that is started from here needs it
    settings = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(settings).run()
