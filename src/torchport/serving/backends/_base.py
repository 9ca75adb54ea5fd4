"""What the stand-ins share: they speak with the server's Python backend, and leave the model to their subclass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from .batching import Arrays, answer_together
from .completing import Completion
from .contract import Refused
from .sequences import SequenceStates

__all__ = ["Backend"]


class Backend:
    """The class that the server's Python backend makes one of for each instance of a model."""

    model_file: str

    @classmethod
    def auto_complete_config(cls, config: Any) -> Any:
        """Completes a configuration, where the native backend does; the server asks only if it was not told to leave them as they are."""
        # The server's Python backend names the model's file as the first argument of this process, and nowhere else.
        path = Path("/proc/self/cmdline").read_bytes().split(b"\0")[1].decode(errors="surrogateescape")
        try:
            done = cls.complete(config.as_dict(), Path(path))
        except Refused as error:
            raise triton.TritonModelException(str(error)) from None
        if done.max_batch_size is not None:
            config.set_max_batch_size(done.max_batch_size)
        if done.dynamic_batching:
            config.set_dynamic_batching()
        for kind, ports in done.ports.items():
            for port in ports:
                getattr(config, f"add_{kind}")(port)
        return config

    @classmethod
    def complete(cls, config: Mapping[str, Any], path: Path) -> Completion:
        """What is added to a configuration; nothing, unless the native backend adds something.

        Args:
            config: The configuration.
            path: The model's file.

        Raises:
            Refused: It cannot be completed.
        """
        return Completion()

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the model and holds its configuration against it."""
        self.config: dict[str, Any] = json.loads(args["model_config"])
        if int(np.__version__.partition(".")[0]) > 1:
            raise triton.TritonModelException(f"numpy {np.__version__} is too new for this server: it needs numpy 1")
        path = Path(args["model_repository"]) / args["model_version"] / (self.config.get("default_model_filename") or self.model_file)
        self.batched = int(self.config["max_batch_size"]) > 0
        self.names = [port["name"] for port in self.config["input"]]
        sequences = self.config.get("sequence_batching") or {}
        self.names += [one["name"] for one in sequences.get("control_input") or ()]
        states = sequences.get("state") or ()
        try:
            self.open(path)
        except Refused as error:
            raise triton.TritonModelException(str(error)) from None
        dtypes = {one["input_name"]: np.dtype(triton.triton_string_to_numpy(one["data_type"])).name for one in states}
        self.states = SequenceStates(states, dtypes, batched=self.batched) if states else None

    def open(self, path: Path) -> None:
        """Opens the model.

        Raises:
            Refused: It cannot be served with ``self.config``.
        """
        raise NotImplementedError

    def run(self, feed: Arrays) -> Arrays:
        """The model's outputs by name."""
        raise NotImplementedError

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers what the server's scheduler put together."""
        try:
            feeds = [self._feed(request) for request in requests]
            answers = answer_together(feeds, self.run, batched=self.batched)
            if self.states is not None:
                for request, answer in zip(requests, answers, strict=True):
                    self.states.after(request.correlation_id(), request.flags(), answer)
            wanted = {port["name"] for port in self.config["output"]}
            return [
                triton.InferenceResponse(
                    [triton.Tensor(name, np.ascontiguousarray(array)) for name, array in answer.items() if name in wanted]
                )
                for answer in answers
            ]
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the answer
            return [triton.InferenceResponse([], triton.TritonError(f"{type(error).__name__}: {error}")) for _ in requests]

    def _feed(self, request: Any) -> dict[str, Any]:
        feed = {}
        for name in self.names:
            tensor = triton.get_input_tensor_by_name(request, name)
            if tensor is not None:  # an optional one may be missing
                feed[name] = tensor.as_numpy()
        if self.states is not None:
            feed.update(self.states.before(request.correlation_id(), request.flags()))
        return feed
