"""The server ends whenever whoever started it ends, and leaves nothing behind."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_triton_backends import ONNX, USUAL, write_onnx

from torchport.errors import OptionError, ServeError
from torchport.repository._unfinished import UNFINISHED, PlannedMove, Unfinished, unfinished_document
from torchport.serving import TritonServer

OWNER = """
import sys, time
from torchport.serving import TritonServer
with TritonServer(sys.argv[1]) as server:
    print(server.pid, server.client.url, server._region, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def repository(tmp_path):
    write_onnx(tmp_path / "repository" / "double" / "1")
    (tmp_path / "repository" / "double" / "config.pbtxt").write_text(ONNX.format(name="double", **USUAL))
    return tmp_path / "repository"


def processes_of(session):
    """The processes of the server's session, its models' included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_it_ends_with_its_owner_however_that_ends(repository, number):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, repository], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with owner:
        pid, _, region = owner.stdout.readline().split()
        assert len(processes_of(int(pid))) > 1
        owner.send_signal(number)
        owner.wait(30)
    ends = time.monotonic() + 30
    while processes_of(int(pid)) and time.monotonic() < ends:
        time.sleep(0.1)
    assert processes_of(int(pid)) == []
    assert not list(Path("/dev/shm").glob(f"{region}*"))


def test_a_server_that_was_stopped_keeps_its_log_and_nothing_else(repository, environment):
    with TritonServer(repository, environment=environment) as server:
        pid = server.pid
        assert [(one.name, one.version, one.ready) for one in server.client.models()] == [("double", "1", True)]
    assert processes_of(pid) == []
    assert "successfully loaded 'double'" in server.log
    assert server.pid is None
    server.stop()
    with pytest.raises(ServeError, match="there is no answer"):
        server.client.models()


def listening(kind):
    lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    addresses = (line.split()[1].split(":") for line in lines if line.split()[3] == "0A")
    return {(address.removeprefix("0000000000000000FFFF0000"), port) for address, port in addresses}  # IPv4, as IPv6 writes it


def test_it_listens_on_the_loopback_address_only(repository, environment):
    with TritonServer(repository, environment=environment) as server:
        wanted = {f"{port:04X}" for port in (server.ports.http, server.ports.grpc, server.ports.metrics)}
        ends = time.monotonic() + 30
        while wanted - {port for _, port in listening("tcp") | listening("tcp6")} and time.monotonic() < ends:
            time.sleep(0.1)  # the one for the metrics comes a moment after the others
        heard = {one for one in listening("tcp") | listening("tcp6") if one[1] in wanted}
        assert heard == {("0100007F", port) for port in wanted}


def test_what_cannot_start_says_why(repository, environment, tmp_path):
    with TritonServer(repository, environment=environment) as server:
        with pytest.raises(OptionError, match="cannot listen there") as caught:
            TritonServer(repository, environment=environment, ports=server.ports).start()
        assert f"127.0.0.1:{server.ports.http}" in str(caught.value.found)
    with pytest.raises(OptionError, match="no such model repository"):
        TritonServer(tmp_path / "nowhere", environment=environment).start()
    broken = TritonServer(repository, environment=environment, options=["--no-such-option"])
    with pytest.raises(ServeError, match="ended before"):
        broken.start()
    assert broken.pid is None
    assert "no-such-option" in broken.log
    for one in (server, broken):
        assert not list(Path("/dev/shm").glob(f"{one._region}*"))


def test_a_note_of_a_packaging_is_no_model_and_a_dead_ones_is_finished_first(repository, environment):
    outer = repository.parent / ".repository.x.partial"
    shutil.copytree(repository / "double", outer / "repository" / "second")
    config = outer / "repository" / "second" / "config.pbtxt"
    config.write_text(config.read_text().replace("double", "second"))
    here, there = (repository / "double").stat().st_ino, (outer / "repository" / "second").stat().st_ino
    plan = Unfinished(outer.name, (PlannedMove("double", "", False, here), PlannedMove("second", "", False, there)))
    (repository / UNFINISHED).write_text(json.dumps(unfinished_document(plan)))
    with (repository / UNFINISHED).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # whoever wrote it lives
        with TritonServer(repository, environment=environment) as server:
            assert {one.name: one.reason for one in server.client.models()} == {"double": ""}
        assert server.settled == ""
    with TritonServer(repository, environment=environment) as server:
        assert {one.name: one.reason for one in server.client.models()} == {"double": "", "second": ""}
    assert server.settled.endswith("was finished first")
    assert [path.name for path in repository.parent.iterdir()] == ["repository"]
