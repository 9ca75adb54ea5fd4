"""Ports, declared once: what enters and leaves a graph, under which names, with which axes."""

from torchport.ports.annotations import port_from_annotation, signature_from_annotations
from torchport.ports.axis import Axis, AxisKind, AxisType
from torchport.ports.checking import typecheck
from torchport.ports.dtypes import DTYPES, DType, dtype_of
from torchport.ports.element import ElementComparison, ElementType
from torchport.ports.elements import VoidType
from torchport.ports.examples import make_inputs
from torchport.ports.neural_type import NeuralType, NeuralTypeComparison
from torchport.ports.port import Port
from torchport.ports.signature import Direction, Signature
from torchport.ports.spellings import as_port, is_port_like
from torchport.ports.text import format_axes, parse_axes

__all__ = [
    # what a port is
    "Axis",
    "AxisKind",
    "AxisType",
    "ElementComparison",
    "ElementType",
    "NeuralType",
    "NeuralTypeComparison",
    "Port",
    "VoidType",
    # all of them together
    "Direction",
    "Signature",
    "as_port",
    "is_port_like",
    "port_from_annotation",
    "signature_from_annotations",
    # notations
    "DTYPES",
    "DType",
    "dtype_of",
    "format_axes",
    "parse_axes",
    # values
    "make_inputs",
    "typecheck",
]
