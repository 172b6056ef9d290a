"""TensorBoard's event files, written in the thread that asks.

`tensorboardX.SummaryWriter` writes in a thread of its own: a full disk ends that thread, and the run waits for it for
ever; a killed process loses two minutes of figures.
"""

import time
from collections.abc import Mapping
from pathlib import Path


class Board:
    """Writer of scalars. Close it at the end.

    tensorboardX is loaded by the first one: training without a run folder does without.

    Args:
        folder: of the event files; made if it is not there.
        forget_from: TensorBoard drops what earlier files hold of this step and later ones.
    """

    def __init__(self, folder: Path, forget_from: int | None = None) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]  # generated classes

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        if forget_from is not None:
            log = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=forget_from, session_log=log))
        self.flush()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add one figure under each name at a step."""
        from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        # One event for all of them: an event for each would cost ten times as much.
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in figures.items()])
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        try:
            self._writer.flush()
        finally:
            # The writer's own `close` leaves the file open where the flush fails.
            self._writer._py_recordio_writer.close()
