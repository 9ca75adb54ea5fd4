"""A program that speaks as the server does, for tests without it: every folder with a ``config.json`` is a model that echoes its inputs."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEADER = "Inference-Header-Content-Length"


class Handler(BaseHTTPRequestHandler):
    repository = Path()
    options: dict = {}

    def do_GET(self):
        if self.path == "/v2/health/live":
            return self.reply({})
        if self.path == "/v2":
            return self.reply({"name": self.options.get("--id", "fake")})
        model = self.path.split("/")[3]
        return self.reply(json.loads((self.repository / model / "config.json").read_text()))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v2/repository/index":
            if "--dies" in self.options:
                os._exit(9)
            return self.reply([self.listed(path.parent) for path in sorted(self.repository.glob("*/config.json"))])
        size = int(self.headers[HEADER])
        header = json.loads(body[:size])
        config = json.loads((self.repository / self.path.split("/")[3] / "config.json").read_text())
        if config.get("refuses"):
            return self.reply({"error": config["refuses"]}, status=400)
        names = [port["name"] for port in config["output"]]
        outputs = [{**port, "name": name} for name, port in zip(names, header["inputs"], strict=False)]
        words = json.dumps({"outputs": outputs}).encode()
        return self.reply(words + body[size:], length=len(words))

    def listed(self, model):
        broken = json.loads((model / "config.json").read_text()).get("broken")
        if broken:
            return {"name": model.name, "version": "1", "state": "UNAVAILABLE", "reason": broken}
        return {"name": model.name, "version": "1", "state": "READY"}

    def reply(self, document, status=200, length=None):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        if length is not None:
            self.send_header(HEADER, str(length))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def handler(repository, options=()):
    words = options if isinstance(options, dict) else dict.fromkeys(options, "")
    return type("Bound", (Handler,), {"repository": Path(repository), "options": words})


def main():
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    bound = handler(options["--model-repository"], options)
    ThreadingHTTPServer(("127.0.0.1", int(options["--http-port"])), bound).serve_forever()


def write_model(repository, name, inputs, outputs, **more):
    """Ports as ``name: (dtype of the configuration, dims)``."""
    (repository / name / "1").mkdir(parents=True)
    ports = [_described(side) for side in (inputs, outputs)]
    config = {"name": name, "backend": "onnxruntime", "max_batch_size": 0, "input": ports[0], "output": ports[1], **more}
    (repository / name / "config.json").write_text(json.dumps(config))


def _described(side):
    return [{"name": name, "data_type": kind, "dims": dims, **(rest[0] if rest else {})} for name, (kind, dims, *rest) in side.items()]


def write_environment(folder, versions):
    """A wheel with this program as its server, and a ``python`` that says where it is."""
    wheel = folder / "pytriton"
    for place in ("bin", "backends/python", "python_backend_stubs/3.11"):
        (wheel / "tritonserver" / place).mkdir(parents=True)
    (wheel / "tritonserver" / "python_backend_stubs" / "3.11" / "triton_python_backend_stub").write_text("stub")
    server = wheel / "tritonserver" / "bin" / "tritonserver"
    server.write_text(f"#!{sys.executable}\n" + Path(__file__).read_text())
    server.chmod(0o755)
    python = folder / "python"
    told = {"wheel": str(wheel), "python": "3.11", "libraries": str(folder), "versions": versions}
    python.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(told)}\nEND\n")
    python.chmod(0o755)
    return python


if __name__ == "__main__":
    main()
