"""One process at a time writes to a run folder; a killed one leaves no lock behind."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from ploutos_jax.train.run import lock
from ploutos_jax.train.run.folder import RunFolder, claimed_output
from ploutos_jax.train.run.lock import InUseError, UnlockedWarning, locked

HOLDER = """
import sys, time
from pathlib import Path
from ploutos_jax.train.run.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def held(tmp_path):
    """A process that holds the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_another_process_writes_to_is_refused_and_free_once_that_is_killed(held, tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    before = sorted(tmp_path.iterdir())
    said = rf"run folder .* is in use: process {held.pid} on .* writes to it\. Wait until it ends or stop it"
    for resume in (lambda: claimed_output(str(tmp_path), resume=True), lambda: locked(tmp_path)):
        with pytest.raises(InUseError, match=said), resume():
            pass
    with pytest.raises(InUseError, match=said):
        RunFolder(tmp_path, {}, resume=True)
    assert sorted(tmp_path.iterdir()) == before
    held.send_signal(signal.SIGKILL)
    held.wait()
    with locked(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / lock.LOCK_FILE).read_text()


def test_within_one_flow_of_calls_the_lock_is_taken_once(tmp_path):
    refused = []

    def elsewhere():
        try:
            with locked(tmp_path):
                pass
        except InUseError as error:
            refused.append(error)

    with locked(tmp_path), locked(tmp_path / "."):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert len(refused) == 1, "another thread is another writer"
    with locked(tmp_path):
        pass
    assert not (tmp_path / lock.LOCK_FILE).exists(), "a folder is left as it was found"


@pytest.mark.parametrize("why", ["no locks on this file system", "no flock on this system"])
def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch, why):
    class Without:
        LOCK_EX, LOCK_NB = 2, 4

        @staticmethod
        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "fcntl", Without if "file system" in why else None)
    said = "cannot be locked .*: see to it that no other process writes to it"
    with pytest.warns(UnlockedWarning, match=said), locked(tmp_path):
        pass


def test_what_stands_in_the_file_is_not_believed(held, tmp_path):
    (tmp_path / lock.LOCK_FILE).write_bytes(b"\xff\x1b[31mrm -rf\n")
    with pytest.raises(InUseError, match="is in use: another process writes to it"), locked(tmp_path):
        pass


def test_of_many_that_want_it_one_at_a_time_has_it(tmp_path):
    inside, most, refused = [0], [0], [0]
    guard = threading.Lock()

    def work():
        for _ in range(200):
            try:
                with locked(tmp_path):
                    with guard:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    with guard:
                        inside[0] -= 1
            except InUseError:
                refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1 and refused[0] < 1200
