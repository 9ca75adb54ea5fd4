"""The corpus: repositories that are right, wrong in each rule, and as people write them, with what the checker has to find.

A case is made from a configuration in which a few things are exchanged. What the real server says of each is recorded in
``server_verdicts.json``, which ``make test-triton`` takes again.
"""

from dataclasses import dataclass

from onnx_files import archives, files, scripts, with_weights_beside


@dataclass(frozen=True)
class Case:
    """One repository.

    Attributes:
        name: What it is about.
        models: By folder, the files in it by relative path, as text or bytes; ``None`` makes a folder.
        finds: The rules that have to be found, and no others.
        strict: The same with a server that completes nothing, where they are others.
        live: Whether the server's verdict is compared: not where it hangs on the machine or on a backend that is not there, nor where the
            stand-in for a backend is stricter than the native one, which looks at states only when it runs.
    """

    name: str
    models: dict
    finds: frozenset
    strict: frozenset
    live: bool = True


SOUND = """name: "m"
backend: "onnxruntime"
max_batch_size: 8
input {
  name: "x"
  data_type: TYPE_FP32
  dims: [4, -1]
}
output {
  name: "y"
  data_type: TYPE_FP32
  dims: [4, -1]
}
"""

CASES: list[Case] = []


def case(name, *finds, models=None, config=None, onnx="sound", more=None, strict=None, live=True, without=()):
    """Adds a case; by default of one model ``m`` with the file ``onnx`` and the configuration ``config``."""
    if models is None:
        inside = {"config.pbtxt": config, "1/model.onnx": files()[onnx] if isinstance(onnx, str) else onnx, **(more or {})}
        models = {"m": {path: content for path, content in inside.items() if path not in without}}
    CASES.append(Case(name, models, frozenset(finds), frozenset(finds if strict is None else strict), live))


def change(text=SOUND, **changes):
    """A configuration in which lines are exchanged: ``max_batch_size="0"`` the line that begins so; ``None`` drops it."""
    lines = text.splitlines()
    for name, value in changes.items():
        place = next(number for number, line in enumerate(lines) if line.split(":")[0].strip() == name)
        lines[place : place + 1] = (
            [] if value is None else [f"{lines[place][: len(lines[place]) - len(lines[place].lstrip())]}{name}: {value}"]
        )
    return "\n".join(lines) + "\n"


def simple(onnx_dims, out_dims=None, *, batch=8, dtype="TYPE_FP32", names=("x", "y"), more="", head='name: "m"\nbackend: "onnxruntime"'):
    """A configuration of one input and one output."""
    out_dims = onnx_dims if out_dims is None else out_dims
    ports = "".join(
        f'{kind} {{ name: "{name}" data_type: {dtype} dims: {dims} }}\n'
        for kind, name, dims in zip(("input", "output"), names, (onnx_dims, out_dims), strict=True)
    )
    return f"{head}\nmax_batch_size: {batch}\n{ports}{more}"


# -- right
case("sound", config=SOUND)
case("sound without a name", config=change(name=None))
case("sound without a batch", config=simple("[-1, 4, -1]", batch=0))
case("sound with fixed sizes", config=simple("[1, 3, 8]", batch=0), onnx="fixed")
case("input narrower than the file", config=simple("[4, 7]", "[4, -1]"))
case("platform instead of backend", config=simple("[4, -1]", head='platform: "onnxruntime_onnx"'))
case("platform and backend", config=simple("[4, -1]", head='platform: "onnxruntime_onnx" backend: "onnxruntime"'))
case("dynamic batching", config=SOUND + "dynamic_batching { preferred_batch_size: [2, 4, 8] max_queue_delay_microseconds: 100 }\n")
case("empty dynamic batching", config=SOUND + "dynamic_batching {}\n")
case("a number for each row", config=simple("[1]", more="").replace("dims: [1]", "dims: [1] reshape { shape: [] }"), onnx="rows")
case("reshaped", config=simple("[3, 4]").replace("dims: [3, 4]", "dims: [3, 4] reshape { shape: [12] }"), onnx="flat")
case("reshaped where it varies", config=simple("[2, 2, -1]").replace("-1]", "-1] reshape { shape: [4, -1] }"))
case("half precision", config=simple("[4]", dtype="TYPE_FP16"), onnx="half")
case("whole numbers", config=simple("[-1]", dtype="TYPE_INT64"), onnx="ids")
case("two versions", config=SOUND, more={"2/model.onnx": files()["sound"]})
case("all versions", config=SOUND + "version_policy: { all {} }\n", more={"2/model.onnx": files()["sound"]})
case("specific version", config=SOUND + "version_policy: { specific { versions: [1] } }\n", more={"2/model.onnx": files()["sound"]})
case(
    "named file",
    config=SOUND + 'default_model_filename: "tagger.onnx"\n',
    more={"1/tagger.onnx": files()["sound"]},
    without=("1/model.onnx",),
)
case("labels", config=simple("[4]", "[3]", names=("x", "scores")).replace("[3]", '[3] label_filename: "labels.txt"'), onnx="classes",
     more={"labels.txt": "cat\ndog\nbird\n"})  # fmt: skip
case("weights beside", config=simple("[4]", "[3]", names=("x", "scores")), onnx=with_weights_beside(), more={"1/w.bin": bytes(48)})
case("warm-up", config=SOUND + 'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [4, 5]'
     " random_data: true } } }\n")  # fmt: skip
case("warm-up from a file", config=SOUND + 'model_warmup { name: "w" batch_size: 2 inputs { key: "x" value {'
     ' data_type: TYPE_FP32 dims: [4, 5] input_data_file: "x.bin" } } }\n', more={"warmup/x.bin": bytes(80)})  # fmt: skip
case("cpu instances", config=SOUND + "instance_group [ { count: 2 kind: KIND_CPU } ]\n")
case(
    "parameters",
    config=SOUND + 'parameters { key: "a" value { string_value: "1" } } parameters [ { key: "b" value { string_value: "" } } ]\n',
)
case("optional input", config=simple("[2, 4]", batch=0) + 'input { name: "bias" data_type: TYPE_FP32 dims: [4] optional: true }\n',
     onnx="defaulted")  # fmt: skip
case("input with a default left out", config=simple("[2, 4]", batch=0), onnx="defaulted")
STATE = """sequence_batching {
  state {
    input_name: "s" output_name: "s_next" data_type: TYPE_FP32 dims: [4]
    initial_state { name: "zero" data_type: TYPE_FP32 dims: [4] zero_data: true }
  }
}
"""
case("state", config=simple("[4]") + STATE, onnx="state")
case("state from a file", config=simple("[4]") + STATE.replace("zero_data: true", 'data_file: "s.bin"'), onnx="state",
     more={"initial_state/s.bin": bytes(16)})  # fmt: skip
START = 'control_input { name: "start" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } }'
case("control", config=simple("[4]") + f"sequence_batching {{ {START} }}\n", onnx="started")
case(
    "oldest sequences first",
    config=simple("[4]") + f"sequence_batching {{ oldest {{ max_candidate_sequences: 4 }} {START} }}\n",
    onnx="started",
)

# -- right, as people write them
case("one line", "config/incomplete", "config/batch-size-unstated", config='backend: "onnxruntime"')
case("one line with platform", "config/incomplete", "config/batch-size-unstated", config='name: "m" platform: "onnxruntime_onnx"')
case("no configuration", "config/missing", config="", without=("config.pbtxt",))
case("empty configuration", "config/incomplete", "config/batch-size-unstated", config="")
case("only comments", "config/incomplete", "config/batch-size-unstated", config="# to be written\n\n  # really\n")
case("lists of messages", config='backend: "onnxruntime"\nmax_batch_size: 8\n'
     'input [ { name: "x", data_type: TYPE_FP32, dims: [ 4, -1 ] } ],\n'
     'output: [ { name: "y"; data_type: TYPE_FP32; dims: 4; dims: -1 } ]\n')  # fmt: skip
case("angle brackets, quotes, comments",
     config="# a model\nname: 'm' # its name\nbackend: 'onnx' \"runtime\"\nmax_batch_size: 0x8\n"
     "input < name: 'x' data_type: 11 dims: [4,-1] >\n"
     "output < name: 'y' data_type: TYPE_FP32 dims: [4,-1] >")  # fmt: skip
case("windows line ends", config=SOUND.replace("\n", "\r\n"))
case("byte order mark", "config/syntax", config="\ufeff" + SOUND)
case("umlaut in a comment that is not UTF-8", config=SOUND.encode() + b"# gr\xfc\xdfe\n")
case("umlaut in a parameter", config=SOUND + 'parameters { key: "grüße" value { string_value: "ß" } }\n')
case("spaced out", config=SOUND.replace("\n", "\n\n\t  "))
case(
    "a large number of parameters",
    config=SOUND + "".join(f'parameters {{ key: "{n}" value {{ string_value: "v" }} }}\n' for n in range(400)),
)
case("batch size left out", "config/batch-size-unstated", config=simple("[-1, 4, -1]", batch=0).replace("max_batch_size: 0\n", ""))
case("output left out", "config/incomplete", config=SOUND[: SOUND.index("output")])
case("output left out, so the server batches", "config/incomplete", "io/batch-in-dims",
     config=simple("[-1, 4, -1]", batch=0).partition("output")[0], strict=("config/incomplete",))  # fmt: skip
case("left out where there is no batch", "config/incomplete", config='backend: "onnxruntime" max_batch_size: 0', onnx="fixed")
case(
    "batch of a fixed file, all left out",
    "config/incomplete",
    "io/batch-axis",
    config='backend: "onnxruntime" max_batch_size: 2',
    onnx="fixed",
)
case("batching left to the server", "config/incomplete", "config/batch-size-unstated", config='backend: "onnxruntime" dynamic_batching {}',
     strict=("config/incomplete", "config/batch-size-unstated", "batching/unbatched"))  # fmt: skip
case("a readme in the repository", models={"m": {"config.pbtxt": SOUND, "1/model.onnx": files()["sound"], "README.md": "hello"}})
case("key twice", "config/duplicate-key", config=SOUND + 'parameters { key: "a" value { string_value: "1" } }\n' * 2)
case("unlisted output", "io/output-unlisted",
     config=simple("[4]", names=("a", "sum")) + 'input { name: "b" data_type: TYPE_FP32 dims: [4] }\n', onnx="two")  # fmt: skip
case("batching of single requests", "batching/unbatched", config=simple("[-1, 4, -1]", batch=0) + "dynamic_batching {}\n")
case("count of none", "instance/count", config=SOUND + "instance_group { kind: KIND_CPU count: 0 }\n")
case("skipped warm-up", "warmup/skipped", config=SOUND + 'model_warmup { name: "w" inputs { key: "x" value { data_type: TYPE_FP32'
     " dims: [4, 5] zero_data: true } } }\n")  # fmt: skip
case("odd folders", "versions/name", config=SOUND, more={"007/model.onnx": b"", "old/model.onnx": b""})
case("policy with a version more", "versions/missing", config=SOUND + "version_policy { specific { versions: [1, 5] } }\n")
case(
    "older version of another kind",
    "versions/drift",
    config=SOUND,
    more={"2/model.onnx": files()["sound"], "1/model.onnx": files()["renamed"]},
)
case(
    "older version of another size",
    "versions/drift",
    config=SOUND,
    more={"2/model.onnx": files()["sound"], "1/model.onnx": files()["wider"]},
)
case("too few labels", "files/labels-count",
     config=simple("[4]", "[3]", names=("x", "scores")).replace("[3]", '[3] label_filename: "l.txt"'),
     onnx="classes", more={"l.txt": "cat\ndog\n"})  # fmt: skip

# -- text that is none
case("a brace too few", "config/syntax", config=SOUND.rstrip()[:-1])
case("a brace too many", "config/syntax", config=SOUND + "}\n")
case("equals sign", "config/syntax", config=SOUND.replace("max_batch_size:", "max_batch_size ="))
case("no quotes", "config/syntax", config=SOUND.replace('"m"', "m"))
case("misspelt field", "config/syntax", config=SOUND.replace("data_type", "datatype"))
case("misspelt dtype", "config/syntax", config=SOUND.replace("TYPE_FP32", "FP32"))
case("quoted dtype", "config/syntax", config=SOUND.replace("TYPE_FP32", '"TYPE_FP32"'))
case("open quotes", "config/syntax", config=SOUND.replace('"onnxruntime"', '"onnxruntime'))
case("fraction of a batch", "config/syntax", config=change(max_batch_size="8.5"))
case("batch beyond 32 bits", "config/syntax", config=change(max_batch_size="4294967296"))
case("name twice", "config/syntax", config=SOUND + 'name: "m"\n')
case("two schedulers", "config/syntax", config=SOUND + "dynamic_batching {} sequence_batching {}\n")
case("two policies", "config/syntax", config=SOUND + "version_policy { latest {} all {} }\n")
case("json", "config/syntax", config='{"name": "m", "backend": "onnxruntime"}')
case("yaml", "config/syntax", config="name: m\nbackend: onnxruntime\ninput:\n  - name: x\n")
case("slashes as comments", "config/syntax", config="// a model\n" + SOUND)
case("comma at the end of a list", "config/syntax", config=SOUND.replace("[4, -1]", "[4, -1,]"))
case("zeros", "config/syntax", config=bytes(100))
case("an image instead", "config/syntax", config=b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
case("name that is not UTF-8", "config/encoding", config=SOUND.encode() + b'parameters { key: "\xfc" value {} }\n', live=False)

# -- the model itself
case("another name", "model/name", config=change(name='"tagger"'))
case("unknown platform", "model/platform-unknown", config=simple("[4, -1]", head='platform: "onnxruntime"'))
case(
    "another backend's platform",
    "model/platform-mismatch",
    config=simple("[4, -1]", head='backend: "onnxruntime" platform: "pytorch_libtorch"'),
)
COMPILED = change(simple("[4, -1]", head='platform: "torch_aoti"'))
case(
    "compiled by AOTInductor",
    "model/platform-new",
    live=False,
    models={"m": {"config.pbtxt": COMPILED, "1/model.pt2": archives()["compiled"]}},
)
case("compiled, with its backend", "model/platform-new", live=False, models={
    "m": {"config.pbtxt": 'backend: "pytorch"\n' + COMPILED, "1/model.pt2": archives()["compiled"]}})  # fmt: skip
case("exported instead of compiled", "model/platform-new", "files/model-unreadable", live=False, models={
    "m": {"config.pbtxt": COMPILED, "1/model.pt2": archives()["exported"]}})  # fmt: skip
case("exported for TorchScript", "files/model-unreadable", live=False, models={
    "m": {"config.pbtxt": 'backend: "pytorch"\ndefault_model_filename: "model.pt2"\n' + simple("[4, -1]", head=""),
          "1/model.pt2": archives()["exported"]}})  # fmt: skip
case("platform as backend", "model/backend-misspelt", config=change(backend='"onnxruntime_onnx"'))
case("backend of somebody's", "model/backend-unknown", config=change(backend='"onnxruntim"'), live=False)
case(
    "no backend and a foreign file",
    "model/backend-missing",
    config=change(backend=None),
    more={"1/net.bin": b"x"},
    without=("1/model.onnx",),
)
case("negative batch", "model/batch-size", "io/rank", config=change(max_batch_size="-1"))

# -- versions and files
case("no version", "versions/none", config=SOUND, without=("1/model.onnx",))
case("file beside the configuration", "versions/none", config=SOUND, more={"model.onnx": files()["sound"]}, without=("1/model.onnx",))
case("policy selects nothing", "versions/selects-none", config=SOUND + "version_policy { specific { versions: [3] } }\n")
case("no file", "files/model-missing", config=SOUND, more={"1/other.onnx": b""}, without=("1/model.onnx",))
case("a newer version without a file", "files/model-missing", config=SOUND, more={"2/note.txt": "to come"})
case("a broken file", "files/model-unreadable", config=SOUND, onnx=b"\x08\x08no onnx")
case("an empty file", "files/model-unreadable", config=SOUND, onnx=b"")
case("half a file", "files/model-unreadable", config=SOUND, onnx=files()["sound"][:60])
case("weights left behind", "files/weights-missing", config=simple("[4]", "[3]", names=("x", "scores")), onnx=with_weights_beside())
case("labels left behind", "files/labels-missing",
     config=simple("[4]", "[3]", names=("x", "scores")).replace("[3]", '[3] label_filename: "l.txt"'), onnx="classes")  # fmt: skip

# -- ports by themselves
case("no name of an input", "io/name-missing", "io/input-missing", config=SOUND.replace('  name: "x"\n', ""))
case("no dtype", "io/dtype-missing", config=SOUND.replace("  data_type: TYPE_FP32\n", "", 1))
case("dtype of none", "io/dtype-missing", config=SOUND.replace("TYPE_FP32", "TYPE_INVALID", 1))
case("no dims", "io/dims-missing", config=SOUND.replace("  dims: [4, -1]\n", "", 1))
case("empty dims", "io/dims-missing", config=SOUND.replace("[4, -1]", "[]", 1))
case("size of 0", "io/dim-size", config=SOUND.replace("[4, -1]", "[4, 0]", 1))
case("size of -2", "io/dim-size", config=SOUND.replace("[4, -1]", "[4, -2]", 1))
case("input twice", "io/duplicate", config=SOUND + SOUND[SOUND.index("input") : SOUND.index("output")])
case(
    "reshaped to another size", "io/reshape-size", "io/input-dims", config=SOUND.replace("[4, -1]", "[4, -1] reshape { shape: [5, -1] }", 1)
)
case("reshaped to nothing", "io/reshape-empty", config=simple("[1]", batch=0).replace("[1]", "[1] reshape { shape: [] }", 1), onnx="scalar")
case("image of two dims", "io/format-rank", config=SOUND.replace("[4, -1]", "[4, -1] format: FORMAT_NHWC", 1))
case("shape tensor", "io/tensorrt-only", config=SOUND.replace("[4, -1]", "[4, -1] is_shape_tensor: true", 1))
case(
    "batch input of nothing", "io/batch-io", config=SOUND + 'batch_input { target_name: "n" data_type: TYPE_FP32 source_input: "nobody" }\n'
)

# -- ports against the file
case("unknown input", "io/input-unknown", "io/input-missing", config=SOUND.replace('"x"', '"audio"'))
case("unknown output", "io/output-unknown", "io/output-unlisted", config=SOUND.replace('"y"', '"scores"'))
case("missing input", "io/input-missing", "io/output-unlisted", config=simple("[4]", names=("a", "sum")), onnx="two")
case("input too many", "io/input-unknown", config=SOUND + 'input { name: "more" data_type: TYPE_FP32 dims: [1] }\n')
case("another dtype of an input", "io/dtype", config=SOUND.replace("TYPE_FP32", "TYPE_FP16", 1))
case("another dtype of an output", "io/dtype", config=SOUND.replace("TYPE_FP32", "TYPE_INT64").replace("TYPE_INT64", "TYPE_FP32", 1))
case("batch in dims", "io/batch-in-dims", config=SOUND.replace("[4, -1]", "[-1, 4, -1]"))
case("batch nowhere", "io/rank", config=change(max_batch_size="0"))
case("too few dims", "io/rank", config=SOUND.replace("[4, -1]", "[4]"))
case("batch of a fixed file", "io/batch-axis", config=simple("[3, 8]"), onnx="fixed")
case("another size of an input", "io/input-dims", config=SOUND.replace("[4, -1]", "[7, -1]", 1))
case("input that varies where the file does not", "io/input-dims", config=SOUND.replace("[4, -1]", "[-1, -1]", 1))
case("another size of an output", "io/output-dims", config=simple("[4, -1]", "[7, -1]"))
case("output that varies where the file does not", "io/output-dims", config=simple("[4, -1]", "[-1, -1]"))
case("output fixed where the file varies", "io/output-dims", config=simple("[4, -1]", "[4, 7]"))
case("scalar with two numbers", "io/rank", config=simple("[1]", "[2]", batch=0), onnx="scalar")
case("optional input that the file requires", "io/optional", config=SOUND.replace("[4, -1]", "[4, -1] optional: true", 1))
case("ragged input", "io/ragged", config=SOUND.replace("[4, -1]", "[4, -1] allow_ragged_batch: true", 1))
case("served version of another kind", "io/output-unknown", "io/output-unlisted", config=SOUND + "version_policy { all {} }\n",
     more={"2/model.onnx": files()["renamed"]})  # fmt: skip

# -- scheduling
case("preferred above the largest", "batching/preferred-size", config=SOUND + "dynamic_batching { preferred_batch_size: [4, 16] }\n")
case("preferred size of 0", "batching/preferred-size", config=SOUND + "dynamic_batching { preferred_batch_size: 0 }\n")
case("preferred without a batch", "batching/preferred-size", "batching/unbatched",
     config=simple("[-1, 4, -1]", batch=0) + "dynamic_batching { preferred_batch_size: 4 }\n")  # fmt: skip
case("no default priority", "batching/priority", config=SOUND + "dynamic_batching { priority_levels: 2 }\n")
case("priority of 3 of 2", "batching/priority", config=SOUND + "dynamic_batching { priority_levels: 2 default_priority_level: 1"
     " priority_queue_policy { key: 3 value {} } }\n")  # fmt: skip
case("order and priorities", "batching/ordering",
     config=SOUND + "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }\n")  # fmt: skip
case("order and delays", "batching/ordering", config=SOUND + "dynamic_batching { preserve_ordering: true default_queue_policy"
     " { timeout_action: DELAY default_timeout_microseconds: 5 } }\n")  # fmt: skip
case("gpus of any kind", "instance/gpu", config=SOUND + "instance_group { gpus: [0] }\n", live=False)
case("gpu", "instance/gpu", config=SOUND + "instance_group { kind: KIND_GPU }\n", live=False)
case("gpus of a cpu", "instance/gpus", config=SOUND + "instance_group { kind: KIND_CPU gpus: [0] }\n")
case("profile", "instance/profile", config=SOUND + 'instance_group { kind: KIND_CPU profile: "0" }\n')
case("cached sequence", "cache/sequence", config=simple("[4]") + STATE + "response_cache { enable: true }\n", onnx="state")
case("cached and decoupled", "cache/decoupled",
     config=SOUND + "response_cache { enable: true } model_transaction_policy { decoupled: true }\n")  # fmt: skip

# -- sequences
case("state from nowhere", "sequence/state-uninitialised",
     config=simple("[4]") + 'sequence_batching { state { input_name: "s" output_name: "s_next" data_type: TYPE_FP32 dims: [4] } }\n',
     onnx="state")  # fmt: skip
case(
    "initial state of another size",
    "sequence/state-initial",
    config=simple("[4]") + STATE.replace("dims: [4] zero", "dims: [5] zero"),
    onnx="state",
)
case("initial state of another dtype", "sequence/state-initial",
     config=simple("[4]") + STATE.replace("data_type: TYPE_FP32 dims: [4] zero", "data_type: TYPE_FP16 dims: [4] zero"),
     onnx="state")  # fmt: skip
case(
    "initial state that varies",
    "sequence/state-initial",
    config=simple("[4]") + STATE.replace("dims: [4] zero", "dims: [-1] zero"),
    onnx="state",
)
case("initial state without data", "sequence/state-initial", config=simple("[4]") + STATE.replace(" zero_data: true", ""), onnx="state")
case("initial state's file missing", "sequence/state-file",
     config=simple("[4]") + STATE.replace("zero_data: true", 'data_file: "s.bin"'), onnx="state")  # fmt: skip
case("initial state's file too short", "sequence/state-file",
     config=simple("[4]") + STATE.replace("zero_data: true", 'data_file: "s.bin"'), onnx="state",
     more={"initial_state/s.bin": bytes(8)})  # fmt: skip
case("state of no output", "sequence/state-port", "io/output-unlisted", config=simple("[4]") + STATE.replace("s_next", "nothing"),
     onnx="state", live=False)  # fmt: skip
case("state of no input", "sequence/state-port", "io/input-missing", config=simple("[4]") + STATE.replace('"s"', '"nothing"'), onnx="state",
     live=False)  # fmt: skip
case("state that clients send", "sequence/state-listed",
     config=simple("[4]") + 'input { name: "s" data_type: TYPE_FP32 dims: [4] }\n' + STATE, onnx="state")  # fmt: skip
case(
    "state of another dtype",
    "sequence/state-dtype",
    config=simple("[4]") + STATE.replace("TYPE_FP32", "TYPE_FP16"),
    onnx="state",
    live=False,
)
case("state of another size", "sequence/state-dims", config=simple("[4]") + STATE.replace("dims: [4]", "dims: [5]"), onnx="state")
case("control without a name", "sequence/control", "io/input-missing", "sequence/control-port",
     config=simple("[4]") + f"sequence_batching {{ {START} }}\n".replace('name: "start"', ""), onnx="started")  # fmt: skip
case("control twice", "sequence/control", config=simple("[4]") + f"sequence_batching {{ {START} {START} }}\n", onnx="started")
case("control without values", "sequence/control-values",
     config=simple("[4]") + f"sequence_batching {{ {START} }}\n".replace("fp32_false_true: [0, 1]", ""), onnx="started")  # fmt: skip
case("control of one value", "sequence/control-values",
     config=simple("[4]") + f"sequence_batching {{ {START} }}\n".replace("[0, 1]", "[1]"), onnx="started")  # fmt: skip
case("control of another dtype", "sequence/control-port",
     config=simple("[4]") + f"sequence_batching {{ {START} }}\n".replace("fp32", "int32"), onnx="started")  # fmt: skip
case("control of no input", "sequence/control-port", "io/input-missing",
     config=simple("[4]") + f"sequence_batching {{ {START} }}\n".replace('"start"', '"begin"'), onnx="started")  # fmt: skip
case("correlation id as a float", "sequence/corrid-type",
     config=simple("[4]") + 'sequence_batching { control_input { name: "start" control {'
     " kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } } }\n",
     onnx="started")  # fmt: skip
case("half a slot too many", "sequence/slots",
     config=simple("[4]") + f"sequence_batching {{ direct {{ minimum_slot_utilization: 1.5 }} {START} }}\n", onnx="started")  # fmt: skip
case("preferred size of sequences", "batching/preferred-size",
     config=simple("[4]") + f"sequence_batching {{ oldest {{ max_candidate_sequences: 4 preferred_batch_size: 99 }} {START} }}\n",
     onnx="started")  # fmt: skip

# -- warm-up
WARM = 'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [4, 5] zero_data: true } } }\n'
case("warm-up that varies", "warmup/dims", config=SOUND + WARM.replace("[4, 5]", "[4, -1]"))
case("warm-up without data", "warmup/data", config=SOUND + WARM.replace("zero_data: true", ""))
case("warm-up's file missing", "warmup/file", config=SOUND + WARM.replace("zero_data: true", 'input_data_file: "x.bin"'))
case("warm-up's file too short", "warmup/file", config=SOUND + WARM.replace("zero_data: true", 'input_data_file: "x.bin"'),
     more={"warmup/x.bin": bytes(10)})  # fmt: skip
case("warm-up of another input", "warmup/input", config=SOUND + WARM.replace('"x"', '"z"'))
case("warm-up of another dtype", "warmup/dtype", config=SOUND + WARM.replace("FP32", "FP16"))
case("warm-up of what the server completes", "warmup/shape", "config/incomplete", config='backend: "onnxruntime" max_batch_size: 8\n'
     + WARM.replace("[4, 5]", "[5, 5]"))  # fmt: skip
case("warm-up of another shape", "warmup/shape", config=SOUND + WARM.replace("[4, 5]", "[5, 5]"))

# -- ensembles
FIRST = {"config.pbtxt": simple("[4, -1]", head='name: "first"\nbackend: "onnxruntime"'), "1/model.onnx": files()["sound"]}
SECOND = {"config.pbtxt": simple("[4, -1]", head='name: "second"\nbackend: "onnxruntime"'), "1/model.onnx": files()["sound"]}
CHAIN = (
    simple("[4, -1]", head='name: "e"\nplatform: "ensemble"', names=("in", "out"))
    + """ensemble_scheduling {
  step { model_name: "first" model_version: -1 input_map { key: "x" value: "in" } output_map { key: "y" value: "middle" } }
  step { model_name: "second" model_version: -1 input_map { key: "x" value: "middle" } output_map { key: "y" value: "out" } }
}
"""
)


def ensemble(name, *finds, config=CHAIN, first=FIRST, second=SECOND, **more):
    models = {"e": {"config.pbtxt": config, "1": None}, "first": first, "second": second}
    case(name, *finds, models={folder: content for folder, content in models.items() if content}, **more)


def tail(head):
    return {"config.pbtxt": simple("[4]", "[2]", head=head), "1/model.onnx": files()["tail"]}


ensemble("ensemble")
ensemble("ensemble with steps in any order", config=CHAIN.replace("first", "1st").replace("second", "first").replace("1st", "second"))
ensemble("ensemble with a backend", "ensemble/platform", config=CHAIN.replace('platform: "ensemble"', 'backend: "onnxruntime"'))
ensemble("ensemble without steps", "ensemble/steps", config=CHAIN[: CHAIN.index("  step")] + "}\n")
ensemble("step without a model", "ensemble/step", "ensemble/model-missing", config=CHAIN.replace('model_name: "first" ', ""))
ensemble("step without outputs", "ensemble/step", config=CHAIN.replace('output_map { key: "y" value: "middle" }', ""))
ensemble("ensemble with instances", "ensemble/not-for-ensembles", config=CHAIN + "instance_group { count: 1 }\n")
ensemble("ensemble with a warm-up", "ensemble/not-for-ensembles", config=CHAIN + WARM)
ensemble("ensemble of a model that is not there", "ensemble/model-missing", second=None)
ensemble("ensemble of a model that is refused", "ensemble/model-refused", "config/syntax", second={**SECOND, "config.pbtxt": "{"})
ensemble("ensemble of another version", "ensemble/version-missing", config=CHAIN.replace("model_version: -1", "model_version: 3", 1))
ensemble("map of an unknown input", "ensemble/map-unknown", "ensemble/input-unmapped",
         config=CHAIN.replace('input_map { key: "x" value: "middle" }', 'input_map { key: "audio" value: "middle" }'))  # fmt: skip
ensemble("map of an unknown output", "ensemble/map-unknown", config=CHAIN.replace('{ key: "y" value: "out" }', '{ key: "z" value: "out" }'))
ensemble(
    "tensor written twice",
    "ensemble/written-twice",
    "ensemble/unwritten",
    config=CHAIN.replace('value: "out"', 'value: "middle"'),
    live=True,
)
ensemble("input in vain", "ensemble/unused", config=CHAIN + 'input { name: "more" data_type: TYPE_FP32 dims: [1] }\n')
ensemble("output never written", "ensemble/unwritten", config=CHAIN + 'output { name: "more" data_type: TYPE_FP32 dims: [1] }\n')
ensemble("dangling step", "ensemble/unwritten", "ensemble/unused", config=CHAIN.replace('input_map { key: "x" value: "middle" }',
         'input_map { key: "x" value: "elsewhere" }'))  # fmt: skip
ensemble("steps in a circle", "ensemble/cycle", "ensemble/unused", config=CHAIN.replace('input_map { key: "x" value: "in" }',
         'input_map { key: "x" value: "out" }'))  # fmt: skip
ensemble("tensor of two dtypes", "ensemble/dtype", config=CHAIN.replace("TYPE_FP32", "TYPE_FP16", 1))
ensemble("tensor of two shapes", "ensemble/dims", config=CHAIN.replace("[4, -1]", "[5, -1]", 1))
ensemble("step that does not fit the next", "ensemble/dims", first=tail('name: "first"\nbackend: "onnxruntime"'), config=CHAIN.replace(
         "[4, -1]", "[4]", 1))  # fmt: skip
ensemble("ensemble of larger batches", "ensemble/batch-size", config=CHAIN.replace("max_batch_size: 8", "max_batch_size: 9"))
case("ensemble of itself", "ensemble/model-cycle", models={"e": {"1": None, "config.pbtxt": simple("[4, -1]", head='platform: "ensemble"') +
     'ensemble_scheduling { step { model_name: "e" model_version: -1 input_map { key: "x" value: "x" }'
     ' output_map { key: "y" value: "y" } } }\n'}})  # fmt: skip

# -- where the server was asked first: what it makes of them could not be read off its manual
case("latest of none", "versions/selects-none", config=SOUND + "version_policy { latest { num_versions: 0 } }\n")
case("latest of an unknown number", "versions/selects-none", config=SOUND + "version_policy { latest {} }\n")
case("latest of more than there are", config=SOUND + "version_policy { latest { num_versions: 2 } }\n")
case("empty policy", config=SOUND + "version_policy {}\n")
case("version 0", config=SOUND, more={"0/model.onnx": files()["sound"]}, without=("1/model.onnx",))
case("version that begins with a number", "versions/name", "files/model-missing", config=SOUND, more={"2nd/model.onnx": files()["sound"]})
case("version with a plus", "versions/name", "files/model-missing", config=SOUND, more={"+1/model.onnx": files()["sound"]},
     without=("1/model.onnx",))  # fmt: skip
case("version of eighteen digits", config=SOUND, more={f"{'9' * 18}/model.onnx": files()["sound"]})
case("version beyond 64 bits", "versions/number", config=SOUND, more={f"{'9' * 20}/model.onnx": files()["sound"]}, live=False)
case("initial state without a name", "sequence/state-initial", config=simple("[4]") + STATE.replace('name: "zero" ', ""), onnx="state")
case("two initial states", "sequence/state-initial", config=simple("[4]") + STATE.replace("\n  }\n", "\n initial_state {"
     " name: 'b' data_type: TYPE_FP32 dims: [4] zero_data: true }\n  }\n"), onnx="state")  # fmt: skip
case("state without a batch", config=simple("[-1, 4]", batch=0) + STATE.replace("dims: [4]", "dims: [1, 4]"), onnx="state")
case(
    "state that is an output, too",
    config=simple("[4]") + 'output { name: "s_next" data_type: TYPE_FP32 dims: [4] }\n' + STATE,
    onnx="state",
)
case("output twice", "io/duplicate", config=SOUND + SOUND[SOUND.index("output") :])
case("warm-up of a larger batch", "warmup/batch-size", config=SOUND + WARM.replace("batch_size: 1", "batch_size: 99"), live=False)
case("warm-up without a batch", config=simple("[-1, 4, -1]", batch=0) + WARM.replace("[4, 5]", "[2, 4, 5]"))
case("file in a folder", config=SOUND + 'default_model_filename: "sub/net.onnx"\n', more={"1/sub/net.onnx": files()["sound"]},
     without=("1/model.onnx",))  # fmt: skip
case("labels in a folder", config=simple("[4]", "[3]", names=("x", "scores")).replace("[3]", '[3] label_filename: "a/l.txt"'),
     onnx="classes", more={"a/l.txt": "cat\ndog\nbird"})  # fmt: skip
case("name with a dot", models={"a.b-c": {"config.pbtxt": change(name=None), "1/model.onnx": files()["sound"]}})
case(
    "name with a space",
    "model/name-letters",
    models={"a b": {"config.pbtxt": change(name=None), "1/model.onnx": files()["sound"]}},
    live=False,
)
case("response cache that is not there", config=SOUND + "response_cache { enable: true }\n")
case("a count below none", "instance/count", config=SOUND + "instance_group { kind: KIND_CPU count: -1 }\n")
case("kind of instance that there is not", "instance/kind", config=SOUND + "instance_group { kind: 9 }\n")
case("dtype by a number that there is not", "io/dtype", config=SOUND.replace("TYPE_FP32", "99", 1))
case("repository agent", "model/agent", config=SOUND + 'model_repository_agents { agents { name: "checksum" } }\n', live=False)
case("slots that are no number",
     config=simple("[4]") + f"sequence_batching {{ direct {{ minimum_slot_utilization: nan }} {START} }}\n", onnx="started")  # fmt: skip
case("slots below none", "sequence/slots",
     config=simple("[4]") + f"sequence_batching {{ direct {{ minimum_slot_utilization: -1 }} {START} }}\n", onnx="started")  # fmt: skip
case("minus apart from its number", config=SOUND.replace("-1", "- 1"))
case("octal and hexadecimal sizes", config=SOUND.replace("[4, -1]", "[04, -0x1]"))
case("escapes", config=SOUND + 'parameters { key: "a\\x41\\101\\n\\\'" }\n')
case("an escape that there is not", "config/syntax", config=SOUND + 'parameters { key: "a\\q" }\n')
case("a wide space", "config/syntax", config="\u00a0" + SOUND)
case("a digit of another script", "config/syntax", config=SOUND.replace("8", "\uff18", 1))
case("true as T", "config/syntax", config=SOUND + "dynamic_batching { preserve_ordering: T }\n")
case("true as True", config=SOUND + "dynamic_batching { preserve_ordering: True }\n")
case("list where one is meant", "config/syntax", config=SOUND.replace("max_batch_size: 8", "max_batch_size: [8]"))
case("field by its number", "config/syntax", config=SOUND + "4: 8\n")
case("no colon before a number", "config/syntax", config=SOUND.replace("max_batch_size:", "max_batch_size"))
case("form feeds", config=SOUND.replace("\n", "\f\n"))
ensemble("step without a version", "ensemble/version-missing", config=CHAIN.replace("model_version: -1 ", ""))
ensemble("step that the server completes", "config/batch-size-unstated", "config/incomplete", "ensemble/batch-size",
         first={"config.pbtxt": 'backend: "onnxruntime"', "1/model.onnx": files()["sound"]},
         strict=("config/batch-size-unstated", "config/incomplete", "ensemble/model-refused"))  # fmt: skip
ensemble("step without a configuration", "config/missing", "ensemble/batch-size", first={"1/model.onnx": files()["sound"]},
         strict=("config/missing", "ensemble/model-refused"))  # fmt: skip
ensemble("steps that do not count the batch",
         first={"config.pbtxt": simple("[-1, 4, -1]", batch=0, head='backend: "onnxruntime"'),
                "1/model.onnx": files()["sound"]})  # fmt: skip


case("state more than the file has", "sequence/state-port", "io/input-count", config=simple("[4, -1]") + STATE)
case("state beside inputs that the server completes", "io/input-count", "config/incomplete",
     config='backend: "onnxruntime" max_batch_size: 8\n' + STATE, onnx="state", strict=("config/incomplete",))  # fmt: skip
case("batch input that the file does not have", "io/input-count",
     config=SOUND + 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_INT32 source_input: "x" }\n')  # fmt: skip
case("metrics", "config/new-field", config=SOUND + "model_metrics {}\n", live=False)
ensemble("ensemble of few at once", "config/new-field",
         config=CHAIN.replace("ensemble_scheduling {", "ensemble_scheduling { max_inflight_responses: 4"), live=False)  # fmt: skip


# -- TorchScript, which knows its arguments by name, and neither types nor shapes
def script(
    name, *finds, inputs=("first", "second"), outputs=("sum", "difference"), head='backend: "pytorch"', file="both", more="", **options
):
    ports = [
        f'{kind} {{ name: "{one}" data_type: TYPE_FP32 dims: [4] }}\n'
        for kind, names in (("input", inputs), ("output", outputs))
        for one in names
    ]
    text = f"{head}\nmax_batch_size: 8\n{''.join(ports)}{more}"
    case(name, *finds, models={"m": {"config.pbtxt": text, "1/model.pt": scripts()[file]}}, **options)


script("script by its arguments")
script("script by its arguments, in another order", inputs=("second", "first"), head='platform: "pytorch_libtorch"')
script("script by index", inputs=("a__0", "b__1"), outputs=("c__0", "d__1"))
script("script by order", "io/naming", inputs=("a", "b"))
script("script with half an index", "io/naming", outputs=("c__0", "d"))
script("script with an index too large", "io/naming", inputs=("a__0", "b__7"), live=False)
script("script of too many inputs", "io/input-unknown", inputs=("first", "second", "third"))
script("script of too few inputs", "io/input-missing", inputs=("first",), live=False)
script("script of a dtype that torch does not take", "io/dtype-unsupported",
       more='output { name: "more" data_type: TYPE_UINT32 dims: [4] }\n')  # fmt: skip
script("script under another backend", "model/platform-mismatch", head='backend: "pytorch" platform: "onnxruntime_onnx"')
script(
    "script with a state",
    inputs=("x__0",),
    outputs=("y__0",),
    file="keeping",
    more=STATE.replace("s_next", "s_next__1").replace('"s"', '"s__1"'),
)
script("script with a state by name", "io/naming", inputs=("x",), outputs=("y",), file="keeping", more=STATE)
case("broken script", "files/model-unreadable", config=simple("[4, -1]", head='backend: "pytorch"'), more={"1/model.pt": "no archive"},
     without=("1/model.onnx",))  # fmt: skip
case("script without ports", "config/incomplete", "config/batch-size-unstated", config='backend: "pytorch"',
     more={"1/model.pt": scripts()["both"]}, without=("1/model.onnx",), live=False)  # fmt: skip

# -- Other backends, of which files alone do not tell all
case("python model", config=simple("[4, -1]", head='backend: "python"'), more={"1/model.py": "class TritonPythonModel: pass"}, live=False,
     without=("1/model.onnx",))  # fmt: skip


def write(case, root):
    """Makes the repository of a case."""
    for model, inside in case.models.items():
        for path, content in inside.items():
            place = root / model / path
            if content is None:
                place.mkdir(parents=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
