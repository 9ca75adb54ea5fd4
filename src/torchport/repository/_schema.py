"""The fields of a model's configuration, as far as its text needs them: names, kinds and enums.

Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto (BSD-3-Clause, NVIDIA). A configuration is
text, and text knows fields by name: their numbers are left to chance here, so nothing of this may be written in protobuf's binary form.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["new_config"]

_PACKAGE = "torchport.repository"

_ENUMS = {
    "DataType": "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32 TYPE_INT64"
    " TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16",
    "InstanceKind": "KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL",
    "SecondaryDeviceKind": "KIND_NVDLA",
    "InputFormat": "FORMAT_NONE FORMAT_NHWC FORMAT_NCHW",
    "BatchInputKind": "BATCH_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO"
    " BATCH_MAX_ELEMENT_COUNT_AS_SHAPE BATCH_ITEM_SHAPE BATCH_ITEM_SHAPE_FLATTEN",
    "BatchOutputKind": "BATCH_SCATTER_WITH_INPUT_SHAPE",
    "ModelPriority": "PRIORITY_DEFAULT PRIORITY_MAX PRIORITY_MIN",
    "TimeoutAction": "REJECT DELAY",
    "ControlKind": "CONTROL_SEQUENCE_START CONTROL_SEQUENCE_READY CONTROL_SEQUENCE_END CONTROL_SEQUENCE_CORRID",
}
"""The values of every enum, counted from 0 on."""

_MESSAGES = {
    "Resource": "name string, global bool, count uint32",
    "RateLimiter": "resources Resource*, priority uint32",
    "SecondaryDevice": "kind SecondaryDeviceKind, device_id int64",
    "InstanceGroup": "name string, kind InstanceKind, count int32, rate_limiter RateLimiter, gpus int32*,"
    " secondary_devices SecondaryDevice*, profile string*, passive bool, host_policy string",
    "Reshape": "shape int64*",
    "Input": "name string, data_type DataType, format InputFormat, dims int64*, reshape Reshape, is_shape_tensor bool,"
    " allow_ragged_batch bool, optional bool, is_non_linear_format_io bool",
    "Output": "name string, data_type DataType, dims int64*, reshape Reshape, label_filename string, is_shape_tensor bool,"
    " is_non_linear_format_io bool",
    "BatchInput": "kind BatchInputKind, target_name string*, data_type DataType, source_input string*",
    "BatchOutput": "target_name string*, kind BatchOutputKind, source_input string*",
    "Latest": "num_versions uint32",
    "All": "",
    "Specific": "versions int64*",
    "VersionPolicy": "latest Latest|choice, all All|choice, specific Specific|choice",
    "Graph": "level int32",
    "GraphShape": "dim int64*",
    "GraphLowerBound": "batch_size int32, input string->GraphShape",
    "GraphSpec": "batch_size int32, input string->GraphShape, graph_lower_bound GraphLowerBound",
    "Cuda": "graphs bool, busy_wait_events bool, graph_spec GraphSpec*, output_copy_stream bool",
    "Accelerator": "name string, parameters string->string",
    "Accelerators": "gpu_execution_accelerator Accelerator*, cpu_execution_accelerator Accelerator*",
    "PinnedMemory": "enable bool",
    "Optimization": "graph Graph, priority ModelPriority, cuda Cuda, execution_accelerators Accelerators,"
    " input_pinned_memory PinnedMemory, output_pinned_memory PinnedMemory, gather_kernel_buffer_threshold uint32, eager_batching bool",
    "QueuePolicy": "timeout_action TimeoutAction, default_timeout_microseconds uint64, allow_timeout_override bool, max_queue_size uint32",
    "DynamicBatching": "preferred_batch_size int32*, max_queue_delay_microseconds uint64, preserve_ordering bool, priority_levels uint64,"
    " default_priority_level uint64, default_queue_policy QueuePolicy, priority_queue_policy uint64->QueuePolicy",
    "Control": "kind ControlKind, int32_false_true int32*, fp32_false_true float*, bool_false_true bool*, data_type DataType",
    "ControlInput": "name string, control Control*",
    "InitialState": "data_type DataType, dims int64*, zero_data bool|data, data_file string|data, name string",
    "State": "input_name string, output_name string, data_type DataType, dims int64*, initial_state InitialState*,"
    " use_same_buffer_for_input_output bool, use_growable_memory bool",
    "Direct": "max_queue_delay_microseconds uint64, minimum_slot_utilization float",
    "Oldest": "max_candidate_sequences int32, preferred_batch_size int32*, max_queue_delay_microseconds uint64, preserve_ordering bool",
    "SequenceBatching": "direct Direct|strategy, oldest Oldest|strategy, max_sequence_idle_microseconds uint64,"
    " control_input ControlInput*, state State*, iterative_sequence bool",
    "Step": "model_name string, model_version int64, input_map string->string, output_map string->string, model_namespace string",
    "Ensembling": "step Step*, max_inflight_responses uint32",
    "Parameter": "string_value string",
    "WarmupInput": "data_type DataType, dims int64*, zero_data bool|data, random_data bool|data, input_data_file string|data",
    "Warmup": "name string, batch_size uint32, inputs string->WarmupInput, count uint32",
    "Operations": "op_library_filename string*",
    "TransactionPolicy": "decoupled bool",
    "Agent": "name string, parameters string->string",
    "Agents": "agents Agent*",
    "ResponseCache": "enable bool",
    "MetricIdentifier": "family string",
    "Histogram": "buckets double*",
    "MetricControl": "metric_identifier MetricIdentifier, histogram_options Histogram|options",
    "Metrics": "metric_control MetricControl*",
    "ModelConfig": "name string, platform string, backend string, runtime string, version_policy VersionPolicy, max_batch_size int32,"
    " input Input*, output Output*, batch_input BatchInput*, batch_output BatchOutput*, optimization Optimization,"
    " dynamic_batching DynamicBatching|scheduling, sequence_batching SequenceBatching|scheduling,"
    " ensemble_scheduling Ensembling|scheduling, instance_group InstanceGroup*, default_model_filename string,"
    " cc_model_filenames string->string, metric_tags string->string, parameters string->Parameter, model_warmup Warmup*,"
    " model_operations Operations, model_transaction_policy TransactionPolicy, model_repository_agents Agents,"
    " response_cache ResponseCache, model_metrics Metrics",
}
"""The fields of every message: ``name type``, with ``*`` where repeated, ``|choice`` where at most one of a group may stand, ``key->value``
where a map."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
}


def new_config() -> Any:
    """An empty configuration, for ``google.protobuf.text_format`` to fill."""
    return _config_class()()


@cache
def _config_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="torchport/repository.proto", package=_PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        _describe(file.message_type.add(name=name), fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelConfig"))


def _describe(message: descriptor_pb2.DescriptorProto, fields: str) -> None:
    choices: dict[str, int] = {}
    for number, field in enumerate(filter(None, (part.strip() for part in fields.split(","))), start=1):
        name, _, kind = field.partition(" ")
        kind, _, choice = kind.partition("|")
        key, arrow, value = kind.partition("->")
        if arrow:
            entry = message.nested_type.add(name="".join(word.capitalize() for word in name.split("_")) + "Entry")
            entry.options.map_entry = True
            _typed(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), key)
            _typed(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), value)
            added = message.field.add(name=name, number=number, label=_Field.LABEL_REPEATED, type=_Field.TYPE_MESSAGE)
            added.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
            continue
        label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
        added = message.field.add(name=name, number=number, label=label)
        _typed(added, kind.removesuffix("*"))
        if choice:
            if choice not in choices:
                choices[choice] = len(choices)
                message.oneof_decl.add(name=choice)
            added.oneof_index = choices[choice]


def _typed(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_ENUM if kind in _ENUMS else _Field.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind}"
