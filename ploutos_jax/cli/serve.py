"""Open the control room: runs, data, reports and jobs of this folder in a browser.

ploutos serve                                         http://127.0.0.1:8787
ploutos serve --port 8080
ploutos serve --host 0.0.0.0 --token FILE             for other machines; FILE has mode 600
"""

import dataclasses
import importlib.util
import os
import socket

import tyro
from rich.console import Console

from ploutos_jax.cli.early import open_output

_NEEDED = ("fastapi", "uvicorn", "streamlit", "plotly", "httpx")


@dataclasses.dataclass(frozen=True)
class ServeSettings:
    """Serve the control room of a folder until Ctrl+C; jobs go on without it.

    Attributes:
        port: to listen on.
        host: address to listen on; others than this machine's own need a token.
        token: file of mode 600 with a token of at least 16 signs; without it that of the variable PLOUTOS_TOKEN.
        project: folder whose checkpoints/, data/ and reports/ are shown, and in which jobs run.
        max_upload_mb: largest file that is taken into data/, in MB.
    """

    port: int = 8787
    host: str = "127.0.0.1"
    token: str | None = None
    project: str = "."
    max_upload_mb: int = 200

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65_535:
            raise ValueError(f"port={self.port} must lie in [1, 65535].")
        if not 1 <= self.max_upload_mb <= 100_000:
            raise ValueError(f"max_upload_mb={self.max_upload_mb} must lie in [1, 100000].")


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    settings = tyro.cli(ServeSettings, args=["--help" if word == "--help-all" else word for word in args])
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"The control room needs {', '.join(missing)}: pip install 'ploutos_jax[ui]'.")
    if not os.path.isdir(settings.project):
        raise ValueError(f"There is no folder {settings.project}.")
    # Brings FastAPI and Streamlit, from an extra that other commands do without.
    from ploutos_jax.ui.api.access import check_address, read_token
    from ploutos_jax.ui.project import Project
    from ploutos_jax.ui.serve import serve

    token = read_token(settings.token, os.environ)
    check_address(settings.host, token)
    _check_free(settings.host, settings.port)
    open_output()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    project = Project(settings.project)
    console.print(f"Control room of {project.root}: http://{settings.host}:{settings.port}")
    console.print(f"The API: http://{settings.host}:{settings.port}/api/docs. Ctrl+C ends the server; jobs go on.")
    serve(project, host=settings.host, port=settings.port, token=token, max_upload_mb=settings.max_upload_mb)
    return 0


def _check_free(host: str, port: int) -> None:
    """Make sure that nothing listens at an address yet.

    Raises:
        ValueError: if something does, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ValueError(f"http://{host}:{port} cannot be served: {error.strerror}. Choose another --port.") from None
