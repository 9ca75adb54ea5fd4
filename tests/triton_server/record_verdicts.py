"""Takes the server's verdicts on the corpus down: ``python tests/triton_server/record_verdicts.py [NEW]``, in the server's environment.

With ``NEW``, those that are on file stay.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from verdicts import LIVE, RECORD, STRICT, judged, recorded

from torchport.serving import TritonServer


def main():
    before = recorded() if sys.argv[1:] == ["NEW"] else {}
    taken = {case.name: before.get(case.name, {}) for case in LIVE}
    for mode, options in (("usual", ()), ("strict", STRICT)):
        with tempfile.TemporaryDirectory() as folder, TritonServer(folder, options=("--model-control-mode=explicit", *options)) as server:
            for case in LIVE:
                if case.name in before:
                    continue
                if mode == "strict" and "refused" in taken[case.name]["usual"].values():
                    continue  # a server that completes nothing takes no more than one that does
                taken[case.name][mode], said = judged(server, case)
                sys.stdout.write(f"{mode} {case.name}: {said}\n")
                sys.stdout.flush()
    document = {"server": "tritonserver 2.51.0 from nvidia-pytriton 0.7.0", "verdicts": taken}
    RECORD.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
