"""`Exportable`: the mix-in that gives a model ``export`` and the hooks with their defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torchport.errors import HookError, OptionError

if TYPE_CHECKING:
    import torch

    from torchport.result import ExportResult

__all__ = ["Exportable"]


class Exportable:
    """Mix it into a ``torch.nn.Module``, a `ModelPT` or a LightningModule, and the model can be exported.

    The model may define any of the hooks that ``docs/exporting.md`` describes: ``input_example``, ``input_types``, ``output_types``,
    ``input_module``, ``output_module``, ``forward_for_export``, ``disabled_deployment_input_names``, ``disabled_deployment_output_names``,
    ``_prepare_for_export``, ``_export_teardown``, ``list_export_subnets``, ``get_export_subnet``, ``get_export_config``,
    ``set_export_config``, ``export_metadata``, ``input_types_for_export``, ``output_types_for_export``, ``dynamic_shapes_for_export``.

    Example:
        >>> import torch
        >>> from torchport import Exportable
        >>> class Scale(torch.nn.Module, Exportable):
        ...     input_types = {"x": "batch 80 time"}
        ...     output_types = {"y": "batch 80 time"}
        ...     def forward(self, x):
        ...         return 2 * x
        >>> result = Scale().export("scale.onnx")  # doctest: +SKIP
    """

    def export(
        self,
        output: str | os.PathLike[str],
        input_example: Any = None,
        output_example: Any = None,
        verbose: bool = False,
        export_params: bool = True,
        do_constant_folding: bool = True,
        keep_initializers_as_inputs: bool = False,
        onnx_opset_version: int | None = None,
        try_script: bool = False,
        set_eval: bool = True,
        check_trace: bool | Sequence[Any] = False,
        use_dynamic_axes: bool = True,
        dynamic_axes: Mapping[str, Any] | None = None,
        check_tolerance: float = 0.01,
        verify: bool = True,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> ExportResult:
        """Exports the model and proves the artifact equal to it.

        Args:
            output: The path to write. The extension picks the format: ``.onnx``, ``.pt`` or ``.ts`` (TorchScript), ``.pt2``.
            input_example: A tuple of positional inputs whose last ``dict`` holds inputs by name; a bare tensor; a bare ``dict``. ``None``
                takes the model's own ``input_example``, else makes one from the declared types.
            output_example: What the model returns for ``input_example``; compared with what it does return.
            verbose: Print each stage and the exporter's own log, to standard error.
            export_params: Weights inside the artifact. ``False`` leaves them as inputs under their qualified names.
            do_constant_folding: ONNX: fold constants.
            keep_initializers_as_inputs: ONNX: list the weights among the graph's inputs too.
            onnx_opset_version: ONNX: 13 or later; ``None`` takes the best tested one.
            try_script: TorchScript: script first, then trace.
            set_eval: Export in eval mode; the module's own modes come back afterwards.
            check_trace: Also run the artifact on ``input_example`` and compare within ``check_tolerance``. A list of examples is
                checked one by one and serves the proof.
            use_dynamic_axes: Export with dynamic axes.
            dynamic_axes: ``{name: {axis: symbol}}`` or ``{name: [axis]}``; ``None`` infers them from the declared types.
            check_tolerance: Relative tolerance of ``check_trace``, scaled by the output's own magnitude.
            verify: Prove the artifact over its dynamic axes. ``False`` is a recorded opt-out.
            overwrite: Replace an existing artifact.
            **kwargs: ``strategy`` (``auto``, ``trace``, ``torch_export``, ``script``), ``keep_rejected``, ``allow_ties``, ``power`` (also
                measure what the proof would notice: ``True``, or a number of mutants), ``debug_map`` (a JSON file with the source line of
                every node), ``reproduction`` (a new directory for the first wrong node, should the proof fail); any other reaches
                ``_prepare_for_export`` (``replace_1D_2D=True``).

        Returns:
            The artifacts, their signature, strategy, digests, timings and proof; unpacks as ``paths, descriptions``.

        Raises:
            TorchportError: One of its subclasses. Nothing is written, and the model is as it was.
        """
        from torchport.pipeline import export

        return export(
            self,  # type: ignore[arg-type]  # mixed into a module
            output,
            input_example=input_example,
            output_example=output_example,
            verbose=verbose,
            export_params=export_params,
            do_constant_folding=do_constant_folding,
            keep_initializers_as_inputs=keep_initializers_as_inputs,
            onnx_opset_version=onnx_opset_version,
            try_script=try_script,
            set_eval=set_eval,
            check_trace=check_trace,
            use_dynamic_axes=use_dynamic_axes,
            dynamic_axes=dynamic_axes,
            check_tolerance=check_tolerance,
            verify=verify,
            overwrite=overwrite,
            **kwargs,
        )

    def _prepare_for_export(self, *, replace_1D_2D: bool = False, **kwargs: Any) -> None:  # noqa: N803 - the contract's name
        """Called once before the capture; whatever it changes is undone afterwards. The base swaps known modules."""
        from torchport.prepare import replace_for_export

        replace_for_export(self, replace_1D_2D)  # type: ignore[arg-type]

    def _export_teardown(self) -> None:
        """Called once after the capture, whether it worked or not."""

    def list_export_subnets(self) -> list[str]:
        """The names of the sub-models that become one artifact each; ``self`` is the model itself."""
        return ["self"]

    def get_export_subnet(self, subnet: str | None = None) -> torch.nn.Module:
        """The sub-model of that name: the model itself for ``None`` and ``self``, else the attribute.

        Raises:
            HookError: There is no such attribute.
        """
        if subnet is None or subnet == "self":
            return self  # type: ignore[return-value]
        part = getattr(self, subnet, None)
        if part is None:
            raise HookError(
                f"{type(self).__name__} has no subnet {subnet!r}", where="get_export_subnet", expected=", ".join(self.list_export_subnets())
            )
        return part  # type: ignore[no-any-return]

    def get_export_config(self) -> dict[str, Any]:
        """The model's export settings: a copy of its ``export_config``."""
        return dict(getattr(self, "export_config", {}))

    def set_export_config(self, config: Mapping[str, Any]) -> None:
        """Changes export settings that the model has in ``export_config``.

        Raises:
            OptionError: The model has no such setting.
        """
        known = self.get_export_config()
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise OptionError(
                f"{type(self).__name__} has no export setting {unknown[0]!r}", where="export_config", expected=", ".join(known) or "none"
            )
        self.export_config = {**known, **config}

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """What whoever runs the artifact has to know, by the keys of the metadata's schema; nothing unless the model says it.

        Args:
            subnet: The part that becomes the artifact; ``self`` for the model itself.
        """
        return {}

    def as_onnx_module(self) -> Any:
        """The model as a ``torch.onnx.ExportableModule``, to be passed to ``torch.onnx.export`` where that must be called itself."""
        from torchport._onnx_module import as_exportable_module

        return as_exportable_module(self)  # type: ignore[arg-type]  # mixed into a module
