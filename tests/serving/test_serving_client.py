"""The client sends every byte as it is and reads every answer, or says what the server said."""

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from torchport.errors import MissingDependencyError, OptionError, ServeError
from torchport.serving import Client, connect
from torchport.serving.client import array_of, plain_parameters, read_answer
from torchport.serving.grpc_client import arrays_in


class Echo(BaseHTTPRequestHandler):
    """Answers a request with its own inputs."""

    seen = None

    def do_GET(self):
        known = {"/v2/health/live": {}, "/v2/models/m/config": {"name": "m"}, "/v2/models/m/stats": {"model_stats": [{"name": "m"}]}}
        self.answer(known.get(self.path), json.dumps(known.get(self.path)).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v2/repository/index":
            self.answer({}, json.dumps([{"name": "m", "version": "1", "state": "READY"}, {"name": "bad", "reason": "why"}]).encode())
        elif self.path.startswith(("/v2/models/m/infer", "/v2/models/m/versions/3/infer")):
            size = int(self.headers["Inference-Header-Content-Length"])
            header = json.loads(body[:size])
            type(self).seen = (self.path, header)
            words = json.dumps({"outputs": header["inputs"]}).encode()
            self.answer({}, words + body[size:], len(words))
        elif self.path == "/v2/models/plain/infer":
            self.answer({}, json.dumps({"outputs": [{"name": "y", "datatype": "INT64", "shape": [2, 1], "data": [4, 5]}]}).encode())
        elif self.path == "/v2/models/odd/infer":
            self.answer({}, json.dumps({"outputs": [{"name": "y", "datatype": "FP7", "shape": [], "data": []}]}).encode())
        elif self.path == "/v2/models/short/infer":
            output = {"name": "y", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": 2}}
            words = json.dumps({"outputs": [output]}).encode()
            self.answer({}, words + b"ab", len(words))
        else:
            self.answer(None, b"plain words" if "text" in self.path else json.dumps({"error": "no such model"}).encode())

    def answer(self, found, body, header=None):
        self.send_response(404 if found is None else 200)
        if header is not None:
            self.send_header("Inference-Header-Content-Length", str(header))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def client():
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Client(f"127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


def test_arrays_of_every_dtype_come_back_as_they_went(client):
    inputs = {
        "floats": np.array([[np.nan, -np.inf, 1e-45, 3]], np.float32),
        "big_endian": np.arange(3, dtype=">f8"),
        "halves": np.arange(4, dtype=np.float16)[::2],
        "brains": np.array([1.5, -2], ml_dtypes.bfloat16),
        "ints": np.array(7, np.int64),
        "flags": np.array([[True], [False]]),
        "empty": np.zeros((0, 4), np.uint8),
        "texts": np.array([["é", ""], ["two\nlines", "x"]]),
    }
    answer = client.infer("m", inputs)
    assert list(answer) == list(inputs)
    for name, array in inputs.items():
        if name == "texts":
            assert [[one.decode() for one in row] for row in answer[name]] == array.tolist()
        else:
            assert answer[name].dtype == array.dtype.newbyteorder("=")
            np.testing.assert_array_equal(answer[name].astype(np.float64), array.astype(np.float64))
            assert answer[name].shape == array.shape
    assert Echo.seen[1]["parameters"] == {"binary_data_output": True}


def test_versions_outputs_and_parameters_are_asked_for(client):
    client.infer("m", {"x": np.zeros(1)}, version="3", outputs=["y"], parameters={"sequence_id": 4, "sequence_start": True})
    path, header = Echo.seen
    assert path == "/v2/models/m/versions/3/infer"
    assert header["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]
    assert header["parameters"] == {"sequence_id": 4, "sequence_start": True}


def test_answers_in_json_are_read_too(client):
    np.testing.assert_array_equal(client.infer("plain", {"x": np.zeros(1)})["y"], np.array([[4], [5]]))


def test_what_the_server_serves(client):
    assert client.is_live()
    assert client.config("m") == {"name": "m"}
    assert client.statistics("m") == {"name": "m"}
    ready, broken = client.models()
    assert ready.ready
    assert (broken.name, broken.version, broken.ready, broken.reason) == ("bad", "", False, "why")


def test_a_refusal_is_told_in_the_servers_words(client):
    for model, said in (("none", "no such model"), ("text", "plain words")):
        with pytest.raises(ServeError, match="the server refused") as caught:
            client.infer(model, {"x": np.zeros(1)})
        assert caught.value.found == said
    with pytest.raises(ServeError, match="unknown dtype"):
        client.infer("odd", {"x": np.zeros(1)})
    with pytest.raises(ServeError, match="other bytes than its shape") as caught:
        client.infer("short", {"x": np.zeros(1)})
    assert (caught.value.found, caught.value.expected) == ("2 values", "[3]")


def test_what_cannot_be_asked_is_refused_here(client):
    with pytest.raises(OptionError, match="no such dtype"):
        client.infer("m", {"x": np.zeros(1, np.complex64)})
    with pytest.raises(OptionError, match="a server has an address"):
        Client("ftp://somewhere")
    nobody = Client("http://127.0.0.1:1/")
    assert not nobody.is_live()
    with pytest.raises(ServeError, match="there is no answer"):
        nobody.models()


def test_an_address_says_how_a_server_is_reached():
    """What gRPC answers is held against a real server, in tests/triton_server."""
    assert isinstance(connect("127.0.0.1:8000"), Client)
    assert connect("https://there/models/").url == "https://there/models"
    for odd in ("ftp://there", "grpc://", "grpc://there:8001/models"):
        with pytest.raises(OptionError, match="a server has an address"):
            connect(odd)
    if importlib.util.find_spec("tritonclient") is None:
        with pytest.raises(MissingDependencyError, match="to ask a server by gRPC") as caught:
            connect("grpc://127.0.0.1:8001")
        assert caught.value.hint == "pip install 'torchport[grpc]'"


@pytest.mark.parametrize(
    ("datatype", "shape", "blob", "found"),
    [
        ("FP32", [2], b"1234567", "7 bytes of FP32"),
        ("FP32", [-1, -2], b"12345678", "2 values"),
        ("BYTES", [1], b"\5\0\0\0ab", "6 bytes of BYTES"),
        ("BYTES", [1], b"\5\0", "2 bytes of BYTES"),
        ("BYTES", [2], b"\1\0\0\0a", "1 values"),
    ],
)
def test_bytes_that_are_no_such_array_are_an_error_of_the_answer(datatype, shape, blob, found):
    with pytest.raises(ServeError, match="other bytes than its shape") as caught:
        array_of("y", datatype, shape, blob)
    assert (caught.value.found, caught.value.expected) == (found, str(shape))


def test_an_answer_that_is_no_answer_is_told():
    with pytest.raises(ServeError, match="cannot be read"):
        read_answer(b"<html>", None)
    data = {"outputs": [{"name": "y", "datatype": "INT64", "shape": [3], "data": [4, 5]}]}
    with pytest.raises(ServeError, match="other bytes than its shape"):
        read_answer(json.dumps(data).encode(), None)


def test_numbers_of_numpy_are_parameters_too(client):
    given = {"sequence_id": np.int64(4), "sequence_start": np.bool_(True), "share": np.float32(0.5), "deep": 1, "who": np.str_("me")}
    plain = plain_parameters(given)
    assert plain == {"sequence_id": 4, "sequence_start": True, "share": 0.5, "deep": 1, "who": "me"}
    assert [type(one) for one in plain.values()] == [int, bool, float, int, str]
    client.infer("m", {"x": np.zeros(1)}, parameters=given)
    assert Echo.seen[1]["parameters"]["sequence_id"] == 4
    with pytest.raises(OptionError, match="no such parameter") as caught:
        plain_parameters({"odd": [1]})
    assert (caught.value.where, caught.value.found) == ("odd", "list")


def test_an_answer_by_grpc_holds_bytes_for_every_output():
    """The messages are those of `tritonclient`; typed numbers stand where the bytes would be."""
    output = SimpleNamespace(name="y", datatype="INT64", shape=[1])
    content = np.array([7], "<i8").tobytes()
    assert arrays_in(SimpleNamespace(outputs=[output], raw_output_contents=[content]))["y"].tolist() == [7]
    with pytest.raises(ServeError, match="does not answer with the bytes of every output") as caught:
        arrays_in(SimpleNamespace(outputs=[output], raw_output_contents=[]))
    assert (caught.value.where, caught.value.found) == ("y", "0 of 1")


def test_a_client_is_closed_when_its_context_ends(client):
    with connect(client.url) as one:
        assert one.models()
