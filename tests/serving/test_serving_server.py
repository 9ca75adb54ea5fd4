"""Finding the server, starting it and stopping it; a small program stands in for it here, the real one is in tests/triton_server."""

import json
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from torchport.errors import MissingDependencyError, OptionError, ServeError
from torchport.serving import Ports, ServerEnvironment, TritonServer, find_server, free_ports

PROGRAM = """\
#!{python}
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
options = dict(word.partition("=")[::2] for word in sys.argv[1:])
if "--break" in options:
    sys.exit("error: no such option --break\\nbye")
if "--stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "--silent" in options:
    signal.pause()
class Live(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"name": options["--id"]}}).encode())
        if "--short" in options:
            self.wfile.flush()
            sys.stdout.flush()
            os._exit(7)
    def log_message(self, *_):
        pass
print("backends:", *sorted(os.listdir(options["--backend-directory"])), flush=True)
print("python3:", os.environ["PATH"].split(os.pathsep)[0], "library:", os.environ["LD_LIBRARY_PATH"], flush=True)
try:
    HTTPServer(("127.0.0.1", int(options["--http-port"])), Live).serve_forever()
except OSError:
    sys.exit("error: the socket is already in use")
"""


@pytest.fixture
def environment(tmp_path):
    wheel = tmp_path / "site" / "pytriton"
    for folder in ("bin", "backends/python", "python_backend_stubs/3.11"):
        (wheel / "tritonserver" / folder).mkdir(parents=True)
    (wheel / "tritonserver" / "python_backend_stubs" / "3.11" / "triton_python_backend_stub").write_text("stub")
    (wheel.parent / "nvidia_pytriton.libs").mkdir()
    found = ServerEnvironment(
        Path(sys.executable),
        wheel,
        "3.11",
        (wheel.parent / "nvidia_pytriton.libs",),
        {"numpy": "1.26.4", "onnxruntime": "1", "torch": None},
    )
    found.server.write_text(textwrap.dedent(PROGRAM).format(python=sys.executable))
    found.server.chmod(0o755)
    (tmp_path / "repository").mkdir()
    return found


def test_backends_are_the_servers_own_and_the_stand_ins_that_can_run(environment, tmp_path):
    folder = tmp_path / "backends"
    folder.mkdir()
    environment.make_backends(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["onnxruntime", "python"]
    stub = folder / "python" / "triton_python_backend_stub"
    assert stub.stat().st_mode & 0o777 == 0o755
    assert (folder / "onnxruntime" / "model.py").read_text() == "from torchport_backends.onnxruntime import TritonPythonModel\n"
    copied = {path.name for path in (folder / "onnxruntime" / "torchport_backends").iterdir()}
    assert {
        "__init__.py",
        "_base.py",
        "batching.py",
        "completing.py",
        "contract.py",
        "onnxruntime.py",
        "pytorch.py",
        "sequences.py",
    } == copied


def test_a_server_runs_as_long_as_its_context(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    with TritonServer(tmp_path / "repository", environment=environment) as server:
        assert server.client.is_live()
        assert server.grpc_address == f"127.0.0.1:{server.ports.grpc}"
        pid = server.pid
        assert Path(f"/proc/{pid}").exists()
        assert "backends: onnxruntime python" in server.log
    assert not Path(f"/proc/{pid}").exists()
    assert f"python3: {Path(sys.executable).parent} library: {environment.library_path[0]}:/mine" in server.log
    assert not server.client.is_live()


def test_what_does_not_start_says_why_and_leaves_nothing(environment, tmp_path):
    repository = tmp_path / "repository"
    broken = TritonServer(repository, environment=environment, options=["--break"])
    with pytest.raises(ServeError, match="ended before it answered") as caught:
        broken.start()
    assert caught.value.found == "error: no such option --break"
    assert broken.pid is None
    silent = TritonServer(repository, environment=environment, options=["--silent"], timeout=0.2)
    with pytest.raises(ServeError, match="did not answer in time"):
        silent.start()
    assert silent.pid is None
    with pytest.raises(OptionError, match="no such model repository"):
        TritonServer(tmp_path / "none", environment=environment).start()
    with TritonServer(repository, environment=environment) as server, pytest.raises(OptionError, match="cannot listen there") as caught:
        TritonServer(repository, environment=environment, ports=server.ports).start()
    assert caught.value.where == "http port"
    with pytest.raises(OptionError, match="cannot listen there"):
        TritonServer(repository, environment=environment, ports=Ports(http=70000)).start()


class Impostor(BaseHTTPRequestHandler):
    """Answers everything that a server is asked, and is none of ours."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"name": "triton"}')

    def log_message(self, *_):
        pass


@pytest.fixture
def impostor():
    with HTTPServer(("127.0.0.1", 0), Impostor) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Careless(TritonServer):
    """Looks at its ports before somebody else takes one."""

    def _check_ports(self):
        pass


def test_somebody_else_who_answers_on_its_port_is_not_taken_for_it(environment, tmp_path, impostor):
    server = Careless(tmp_path / "repository", environment=environment, ports=Ports(impostor, *(free_ports().grpc, free_ports().metrics)))
    with pytest.raises(ServeError, match="ended before it answered"):
        server.start()
    assert "already in use" in server.log


def test_where_free_ports_were_taken_others_are(environment, tmp_path, impostor):
    server = Careless(tmp_path / "repository", environment=environment)
    server.ports = Ports(impostor, server.ports.grpc, server.ports.metrics)
    with server:
        assert server.ports.http != impostor
        assert server.client.identity() == server._region


def test_backends_that_cannot_be_copied_are_told(environment, tmp_path):
    (environment.wheel / "tritonserver" / "python_backend_stubs" / "3.11" / "triton_python_backend_stub").unlink()
    server = TritonServer(tmp_path / "repository", environment=environment)
    with pytest.raises(ServeError, match="backends cannot be put together"):
        server.start()
    assert server.log == ""
    with pytest.raises(ServeError, match="does not run"):
        _ = server.folder


def test_a_server_that_ends_by_itself_is_told(environment, tmp_path):
    server = TritonServer(tmp_path / "repository", environment=environment, options=["--short"])
    server.start()
    with pytest.raises(ServeError, match="ended by itself") as caught:
        server.wait()
    assert "exit code 7" in str(caught.value.found)
    server.stop()


def test_a_server_that_does_not_listen_to_reason_is_killed(environment, tmp_path):
    server = TritonServer(tmp_path / "repository", environment=environment, options=["--stubborn"], grace=0.2)
    server.start()
    pid = server.pid
    server.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_does_not_outlive_its_owner(environment, tmp_path):
    import subprocess

    owner = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from torchport.serving import ServerEnvironment, TritonServer
        found = ServerEnvironment(Path(sys.executable), Path(sys.argv[1]), "3.11", (), {"numpy": "1"})
        server = TritonServer(sys.argv[2], environment=found)
        server.start()
        print(server.pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", owner, environment.wheel, tmp_path / "repository"], stdout=subprocess.PIPE, text=True
    ) as process:
        pid = int(process.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        process.kill()
    ends = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_free_ports_are_three():
    ports = free_ports()
    assert len({ports.http, ports.grpc, ports.metrics}) == 3


def python_that_says(path, **told):
    wheel = path.parent / "pytriton"
    (wheel / "tritonserver" / "bin").mkdir(parents=True, exist_ok=True)
    (wheel / "tritonserver" / "bin" / "tritonserver").touch()
    (wheel / "tritonserver" / "python_backend_stubs" / "3.11").mkdir(parents=True, exist_ok=True)
    document = {
        "wheel": str(wheel),
        "python": "3.11",
        "libraries": str(path.parent),
        "versions": {"numpy": "1.26.4", "onnxruntime": "1.32.0", "torch": "2.13.0"},
        **told,
    }
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(document)}\nEND\n")
    path.chmod(0o755)
    return path


def test_the_server_is_found_in_an_environment(tmp_path):
    found = find_server(python_that_says(tmp_path / "python"))
    assert found.server == tmp_path / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    assert found.backends == ("onnxruntime", "pytorch")
    assert found.library_path == (tmp_path,)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"wheel": None}, "it is not installed here"),
        ({"python": "3.7"}, "does not fit this Python"),
        ({"versions": {"numpy": "2.4.6"}}, "with numpy 2 this server hands over wrong tensors"),
        ({"versions": {"numpy": None}}, "with numpy 2"),
    ],
)
def test_an_environment_that_cannot_serve_is_refused(tmp_path, told, said):
    with pytest.raises(MissingDependencyError, match=said) as caught:
        find_server(python_that_says(tmp_path / "python", **told))
    assert "torchport[triton]" in caught.value.hint


def test_what_is_no_python_is_refused(tmp_path):
    with pytest.raises(OptionError, match="no Python that answers"):
        find_server(tmp_path / "nothing")
    with pytest.raises(OptionError, match="no Python that answers"):
        find_server(Path("/bin/true"))


def test_this_environment_is_asked_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(python_that_says(tmp_path / "python")))
    assert find_server().python == tmp_path / "python"
