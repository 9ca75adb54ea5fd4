"""The rules: everything that may be wrong with a model repository, what the server makes of it, and how it is put right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["RULES", "Effect", "Rule", "Severity", "severity_of"]

Effect = Literal["refused", "wrong", "loads", "depends"]
"""``refused``: the server does not load the model. ``wrong``: it loads the model, and requests fail or are answered wrong. ``loads``: it
serves the model, though not as the configuration reads. ``depends``: on what nobody sees here, such as the machine."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Rule:
    """One thing that may be wrong.

    Attributes:
        id: Its name, as ``--ignore`` takes it.
        effect: What the server makes of it.
        words: What is wrong, in a sentence.
        fix: What to do.
        strict: The effect with a server that completes nothing (``--disable-auto-complete-config``), where it is another one.
    """

    id: str
    effect: Effect
    words: str
    fix: str
    strict: Effect | None = None

    @property
    def severity(self) -> Severity:
        """``error`` where the model is refused or answers wrong, else ``warning``."""
        return severity_of(self.effect)


def severity_of(effect: Effect) -> Severity:
    """What an effect is called."""
    return "error" if effect in ("refused", "wrong") else "warning"


_R: Effect = "refused"
_W: Effect = "wrong"
_L: Effect = "loads"
_D: Effect = "depends"

_ALL = (
    # -- files and folders
    Rule("files/unreadable", _D, "a folder or file cannot be read, or is no regular one", "make it a plain file that the server may read"),
    Rule("files/link", _D, "a link or a name leads out of the repository: what is there is not looked at", "keep all files inside"),
    Rule("files/too-large", _D, "more than a repository holds: the rest is not looked at", "check a smaller folder, or fewer models"),
    Rule("files/model-missing", _R, "the model's file is not there",
         "put it into the version's folder, or name it in default_model_filename"),
    Rule("files/model-unreadable", _R, "the model's file is broken, or of another format",
         "export it again; look at default_model_filename"),
    Rule("files/weights-missing", _R, "the model's weights lie in a file that is not beside it", "copy the weights' file beside the model"),
    Rule("files/labels-missing", _R, "the file of labels is not there", "put it into the model's folder, beside config.pbtxt"),
    Rule("files/labels-count", _L, "there are more or fewer labels than classes",
         "one label in each line, as many as the output has classes"),
    Rule("files/unfinished", _W, "a packaging of several models was killed on its way: some are the new ones, some are not",
         "torchport package into the repository, or torchport serve: either finishes it first"),
    # -- the configuration as a text
    Rule("config/missing", _D, "there is no config.pbtxt: the server has to guess it", "write a config.pbtxt", strict=_R),
    Rule("config/syntax", _R, "the text is no model configuration", "correct the text at this place"),
    Rule("config/encoding", _D, "the text is not UTF-8", "save it as UTF-8"),
    Rule("config/duplicate-key", _L, "a key stands twice: the last one counts", "keep one of them"),
    Rule("config/incomplete", _L, "inputs or outputs are left to the server, which then may batch requests, too",
         "list all inputs and outputs", strict=_R),
    Rule("config/batch-size-unstated", _L, "max_batch_size is not stated, which means 0 or is guessed", "write max_batch_size, 0 too"),
    Rule("config/new-field", _D, "older servers do not know this field, and refuse it", "leave it out, or use a newer server"),
    # -- which model, which backend
    Rule("model/name", _R, "the name is not that of the folder", "name both alike, or leave the name out"),
    Rule("model/backend-missing", _R, "nothing says which backend serves the model", "write backend"),
    Rule("model/backend-unknown", _D, "no backend of that name comes with Triton",
         "correct the name, or see that the server has that backend"),
    Rule("model/backend-misspelt", _R, "that is not the backend's name", "write the backend's own name"),
    Rule("model/platform-unknown", _R, "there is no such platform, and no backend is named", "write backend instead of platform"),
    Rule("model/platform-new", _D, "older servers do not know this platform, and refuse it", "another format, or a newer server"),
    Rule("model/platform-mismatch", _R, "platform and backend do not belong together", "leave platform out"),
    Rule("model/name-letters", _D, "the folder's name has letters that tools and addresses stumble over", "letters, digits, _ . -"),
    Rule("model/agent", _D, "the model wants a repository agent, which few servers have", "leave model_repository_agents out"),
    Rule("model/batch-size", _R, "max_batch_size is negative", "0, or the largest batch"),
    # -- versions
    Rule("versions/none", _R, "there is no version's folder", "put the model's file into a folder 1"),
    Rule("versions/name", _L, "a folder is no version, and ignored, or taken for another one", "name it 1, 2 …, without zeros in front"),
    Rule("versions/number", _R, "a folder's name is a number beyond 64 bits: the server ends when it reads it", "rename the folder"),
    Rule("versions/selects-none", _R, "the version policy selects no version that is there", "name versions that are there"),
    Rule("versions/missing", _L, "the version policy names a version that is not there: it is left out", "name versions that are there"),
    Rule("versions/drift", _L, "a version that is not served has other ports: going back to it fails",
         "keep the ports, or name it as a model of its own"),
    # -- inputs and outputs by themselves
    Rule("io/name-missing", _R, "a port has no name", "give it the name that it has in the model's file"),
    Rule("io/dtype-missing", _R, "a port has no data_type", "write data_type"),
    Rule("io/dims-missing", _R, "a port has no dims", "write dims; one number for each row is [ 1 ] with an empty reshape"),
    Rule("io/dim-size", _R, "a size is 0 or negative", "a size of 1 or more, or -1 where it varies"),
    Rule("io/duplicate", _W, "two ports have one name", "keep one of them"),
    Rule("io/reshape-size", _R, "dims and reshape hold different numbers of elements",
         "give both as many elements, and -1 at the same places"),
    Rule("io/reshape-empty", _R, "an empty reshape without a batch: there are no scalars", "max_batch_size above 0, or no reshape"),
    Rule("io/format-rank", _R, "an image format needs three dims", "three dims, without the batch; or no format"),
    Rule("io/tensorrt-only", _R, "that is for TensorRT alone", "leave it out"),
    Rule("io/batch-io", _R, "a batch_input or batch_output cannot be made", "one source_input that is an input; TYPE_INT32 or TYPE_FP32"),
    # -- inputs and outputs against the model's file
    Rule("io/input-unknown", _R, "the model's file has no such input", "the names are those in the file"),
    Rule("io/input-missing", _R, "an input of the model's file is not listed", "list every input"),
    Rule("io/input-count", _R, "inputs, states, controls and batch inputs are not as many as in the file", "list each of them once"),
    Rule("io/output-unknown", _R, "the model's file has no such output", "the names are those in the file"),
    Rule("io/output-unlisted", _L, "an output of the model's file is not listed: clients cannot ask for it", "list it, if clients want it"),
    Rule("io/dtype", _R, "the data_type is not that of the model's file", "write the file's data_type"),
    Rule("io/dtype-unsupported", _R, "the backend does not take that data_type", "let the model take or give another one"),
    Rule("io/rank", _R, "there are more or fewer dims than in the model's file",
         "as many dims as the file has axes, the batch not counted if max_batch_size is above 0"),
    Rule("io/batch-in-dims", _R, "dims hold the batch, which max_batch_size adds by itself", "leave the first of the dims out"),
    Rule("io/batch-axis", _R, "max_batch_size is above 0, and the first axis in the file does not vary",
         "max_batch_size: 0, or export with a dynamic batch"),
    Rule("io/input-dims", _R, "a size is not that of the model's file", "the file's sizes; -1 only where the file's axis varies"),
    Rule("io/output-dims", _R, "a size is not exactly that of the model's file",
         "the file's sizes; -1 where, and only where, the file's axis varies"),
    Rule("io/optional", _R, "an optional input is batched or ragged, or the model's file has no value for it", "leave optional out"),
    Rule("io/ragged", _R, "a ragged input has to be one axis that varies in the model's file", "leave allow_ragged_batch out"),
    Rule("io/naming", _L, "names are neither the arguments of forward nor name__0, name__1: their order counts",
         "name them name__0, name__1 …"),
    # -- batching
    Rule("batching/unbatched", _L, "dynamic_batching with max_batch_size 0 does nothing", "max_batch_size above 0, or no dynamic_batching"),
    Rule("batching/preferred-size", _R, "a preferred batch size is not between 1 and max_batch_size", "sizes from 1 to max_batch_size"),
    Rule("batching/priority", _R, "a priority is not between 1 and priority_levels",
         "set default_priority_level, from 1 to priority_levels"),
    Rule("batching/ordering", _R, "preserve_ordering does not go with priorities or delayed requests", "leave one of them out"),
    # -- sequences
    Rule("sequence/state-uninitialised", _W, "the state of a new sequence is whatever the memory holds",
         "initial_state { … zero_data: true }"),
    Rule("sequence/state-initial", _R, "the initial state does not fit the state",
         "one, with a name, the state's data_type and dims, every size fixed, and zero_data or data_file"),
    Rule("sequence/state-file", _R, "the file of an initial state is missing or too short", "put it into the model's folder initial_state"),
    Rule("sequence/state-port", _W, "the model's file has no such input or output for the state", "the names are those in the file"),
    Rule("sequence/state-listed", _R, "an input is a state or a control, and an input of clients too", "leave it out of the inputs"),
    Rule("sequence/state-dtype", _W, "the state's data_type is not that of the model's file", "write the file's data_type"),
    Rule("sequence/state-dims", _W, "the state's dims are not those of the model's file", "the file's sizes, without the batch"),
    Rule("sequence/control", _R, "a control has no name, or two controls are one", "one name and one kind for each control"),
    Rule("sequence/control-values", _R, "a control does not say what false and true are",
         "exactly one of int32_, fp32_ and bool_false_true, with two values"),
    Rule("sequence/corrid-type", _R, "the correlation id has a data_type that it cannot have",
         "TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 or TYPE_STRING"),
    Rule("sequence/control-port", _R, "the model's file has no such input for a control, or of another kind",
         "an input of the control's data_type and of dims [ 1 ]"),
    Rule("sequence/slots", _R, "minimum_slot_utilization is not between 0 and 1", "a part of the slots, such as 0.5"),
    # -- ensembles
    Rule("ensemble/platform", _R, 'an ensemble needs platform "ensemble", and has no backend', 'platform: "ensemble", no backend'),
    Rule("ensemble/steps", _R, "an ensemble has no steps", "list the steps in ensemble_scheduling"),
    Rule("ensemble/step", _R, "a step has no model_name, no input_map or no output_map", "write all three"),
    Rule("ensemble/not-for-ensembles", _R, "instance_group, optimization and model_warmup are not for ensembles",
         "set them in the models of the steps"),
    Rule("ensemble/model-missing", _R, "the model of a step is not in the repository", "put it there; the names are those of the folders"),
    Rule("ensemble/model-refused", _R, "the model of a step is refused itself", "put that model right first"),
    Rule("ensemble/version-missing", _R, "a step wants a version that is not served", "model_version: -1, or a version that is served"),
    Rule("ensemble/model-cycle", _R, "ensembles are each other's steps", "take one of the steps out"),
    Rule("ensemble/input-unmapped", _R, "an input of a step's model gets nothing", "map every input that is not optional"),
    Rule("ensemble/map-unknown", _R, "a map names a port that the step's model does not have",
         "on the left the model's port, on the right the tensor of the ensemble"),
    Rule("ensemble/written-twice", _R, "two outputs write the same tensor", "a tensor of its own for each output"),
    Rule("ensemble/unused", _R, "a tensor or input of the ensemble is not used by any step", "use it, or leave it out"),
    Rule("ensemble/unwritten", _R, "an output of the ensemble, or a step's input, is never written", "let a step write it"),
    Rule("ensemble/cycle", _R, "steps wait for each other's outputs", "break the cycle"),
    Rule("ensemble/dtype", _R, "the two ends of a tensor have different data_types", "the data_type of the step's model"),
    Rule("ensemble/dims", _R, "the two ends of a tensor have different dims", "the dims of the step's model"),
    Rule("ensemble/batch-size", _R, "the ensemble's max_batch_size is above that of a step's model", "at most that of every step"),
    # -- warm-up
    Rule("warmup/dims", _R, "a warm-up input has a size that is not fixed", "fixed sizes"),
    Rule("warmup/data", _R, "a warm-up input has no data", "zero_data, random_data or input_data_file"),
    Rule("warmup/file", _R, "the file of a warm-up input is missing or too short",
         "put it into the model's folder warmup, raw and row by row"),
    Rule("warmup/input", _R, "a warm-up sends an input that the model does not have, or leaves one out",
         "all inputs, by the names in the configuration"),
    Rule("warmup/dtype", _R, "a warm-up input has another data_type than the model's", "the input's data_type"),
    Rule("warmup/shape", _R, "a warm-up input has another shape than the model's", "the input's dims, without the batch"),
    Rule("warmup/skipped", _L, "a warm-up of batch_size 0 is skipped", "batch_size: 1"),
    Rule("warmup/batch-size", _R, "a warm-up sends more rows than the model takes: the server may end", "at most max_batch_size"),
    # -- instances, cache
    Rule("instance/gpu", _D, "the model asks for a GPU: a machine without one refuses it", "KIND_CPU or no kind, if it has to run without"),
    Rule("instance/gpus", _R, "GPUs are listed for a kind that runs on none", "leave gpus out, or KIND_GPU"),
    Rule("instance/profile", _R, "profiles are for TensorRT alone", "leave profile out"),
    Rule("instance/kind", _R, "there is no such kind of instance", "KIND_CPU, KIND_GPU or KIND_MODEL"),
    Rule("instance/count", _L, "a count below 1 means the default", "count: 1"),
    Rule("cache/sequence", _R, "the response cache does not go with sequences", "leave response_cache out"),
    Rule("cache/decoupled", _R, "the response cache does not go with decoupled models", "leave response_cache out"),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""Every rule, by id."""
