"""TensorBoard's event files, written in the thread that asks.

`tensorboardX.SummaryWriter` writes in a thread of its own: a full disk ends that thread, and the run waits for it for
ever; a killed process loses two minutes of figures.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Board:
    """Writer of scalars. Close it at the end.

    tensorboardX is loaded by the first one: training without a run folder does without.

    Args:
        folder: of the event files; made if it is not there.
        forget_from: TensorBoard drops what earlier files hold of this step and later ones.
    """

    def __init__(self, folder: Path, forget_from: int | None = None) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        events, _ = _messages()
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        if forget_from is not None:
            log = events.SessionLog(status=events.SessionLog.START)
            self._writer.write_event(events.Event(wall_time=time.time(), step=forget_from, session_log=log))
        self.flush()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add one figure under each name at a step."""
        events, summaries = _messages()
        # One event for all of them: an event for each would cost ten times as much.
        summary = summaries.Summary(
            value=[summaries.Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        )
        self._writer.write_event(events.Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        try:
            self._writer.flush()
        finally:
            # The writer's own `close` leaves the file open where the flush fails.
            self._writer._py_recordio_writer.close()


def _messages() -> tuple[Any, Any]:
    """Return the modules of events and summaries; their classes are made when they are loaded, unseen by checkers."""
    from tensorboardX.proto import event_pb2, summary_pb2

    return event_pb2, summary_pb2
