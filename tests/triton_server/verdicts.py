"""What the real server makes of the corpus that the checker of repositories is held against."""

import json
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "repository"))

from corpus import CASES, write  # noqa: E402 - it lies beside the checker's own tests

STRICT = ("--disable-auto-complete-config",)
RECORD = HERE.parent / "repository" / "server_verdicts.json"
LIVE = [case for case in CASES if case.live]


def post(server, place):
    """Asks the server to do something; its complaint, or nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(f"{server.client.url}/v2/repository/models/{place}", data=b"{}"), timeout=120):
            return ""
    except urllib.error.HTTPError as error:
        return json.loads(error.read())["error"]


def judged(server, case):
    """Loads every model of a case in a server that runs on an empty folder, with ``--model-control-mode=explicit``.

    The server's own process has been seen to die at a load, once in some thousands, and to take the same repository the next time: it is
    started again then, and asked once more. One that dies again is what the repository does to it, and an error.

    Returns:
        By model ``loads`` or ``refused``, and what the server said of it.
    """
    try:
        return _judged(server, case)
    except OSError as error:
        sys.stdout.write(f"the server did not answer ({error}); it is started again\n")
        server.stop()
        server.start()
        return _judged(server, case)


def _judged(server, case):
    for left in server.repository.iterdir():
        shutil.rmtree(left)
    write(case, server.repository)
    said = {model: post(server, f"{model}/load") for model in sorted(case.models, key=lambda name: name != "e")}
    for model in case.models:
        post(server, f"{model}/unload")
    return {model: "refused" if said[model] else "loads" for model in case.models}, said


def recorded():
    """The verdicts on file, by case and mode."""
    return json.loads(RECORD.read_text(encoding="utf-8"))["verdicts"]
