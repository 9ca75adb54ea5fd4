"""Judges a condition in a model's source: may a size decide it, without a comparison that was noted?"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

import torch

__all__ = ["is_a_check", "is_caught", "may_hang_on_a_size"]

_ASK_KINDS = frozenset(
    {
        "isinstance", "issubclass", "hasattr", "callable", "type", "is_scripting", "is_tracing", "is_in_onnx_export", "is_compiling",
        "is_autocast_enabled", "is_initialized", "is_available", "is_grad_enabled",
    }
)  # fmt: skip
"""Functions whose answer no size changes."""

_OF_TENSORS = frozenset(
    {"dtype", "device", "layout", "ndim", "dim", "is_floating_point", "is_complex", "is_cuda", "requires_grad", "is_nested", "is_sparse"}
)
"""What a tensor tells of itself without its sizes."""

_PLAIN = (type(None), str, bytes, bool, torch.dtype, torch.device, torch.nn.Module)
"""What no size turns into, but for a truth value: the assignment to its name tells where that comes from."""

_DEPTH = 6
"""So many assignments are followed back."""


def may_hang_on_a_size(condition: ast.expr | None, frame: FrameType) -> bool:
    """Whether a size may decide a condition.

    Settings (``self.training``, an attribute of the object, an argument of ``True`` or ``False``), kinds and absences (``is None``) do not;
    a call of anything else on anything that is not a setting may.

    Args:
        condition: The condition; ``None``, where its source is not known: it may.
        frame: Where it is about to be decided: the names' values tell.
    """
    return condition is None or _may(condition, frame, _DEPTH, {})


def is_a_check(code: CodeType, lines: range) -> bool:
    """Whether what is decided in these lines of a function is whether it raises: the model refuses that way, and answers none otherwise.

    Where the function itself may catch it, it does not.
    """
    above = code.co_firstlineno - 1
    tree = _source(code)
    checks = (
        node.test
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) or (isinstance(node, ast.If) and all(isinstance(one, ast.Raise) for one in node.body))
    )
    found = any(test.lineno + above <= lines.start and lines.stop - 1 <= (test.end_lineno or test.lineno) + above for test in checks)
    return found and not _is_tried(tree, lines.start - above)


def is_caught(callers: Iterable[FrameType]) -> bool:
    """Whether a call stands in a ``try`` of one of the functions that led to it, which may catch what is raised.

    Args:
        callers: The frames of the model's own code that led to it.
    """
    return any(_is_tried(_source(frame.f_code), frame.f_lineno - frame.f_code.co_firstlineno + 1) for frame in callers)


def _is_tried(tree: ast.AST, line: int) -> bool:
    """Whether a line stands in the body of a ``try`` that catches anything."""
    bodies = (node.body for node in ast.walk(tree) if isinstance(node, (ast.Try, ast.TryStar)) and node.handlers)
    return any(body[0].lineno <= line <= (body[-1].end_lineno or body[-1].lineno) for body in bodies)


def _may(node: ast.AST, frame: FrameType, depth: int, followed: dict[str, int]) -> bool:
    if isinstance(node, ast.Constant):
        return False
    if isinstance(node, ast.Name):
        return _name_may(node.id, frame, depth, followed)
    if isinstance(node, ast.Attribute):
        return not _is_setting(node, frame) and node.attr not in _OF_TENSORS and _may(node.value, frame, depth, followed)
    if isinstance(node, ast.Compare) and all(isinstance(one, (ast.Is, ast.IsNot)) for one in node.ops):
        return False
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _ASK_KINDS or name in _OF_TENSORS or (name == "len" and _is_record(node.args, frame)):
            return False
    children = (child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.expr, ast.comprehension)))
    return any(_may(child, frame, depth, followed) for child in children)


def _is_setting(node: ast.Attribute, frame: FrameType) -> bool:
    """Whether this is an attribute, at any depth, of the object that the function belongs to, or of a module."""
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name):
        return False
    value = frame.f_locals.get(root.id, frame.f_globals.get(root.id))
    return not isinstance(value, torch.Tensor) and (
        isinstance(value, torch.nn.Module) or inspect.ismodule(value) or _is_first(root.id, frame)
    )


def _is_first(name: str, frame: FrameType) -> bool:
    code = frame.f_code
    return bool(code.co_argcount) and code.co_varnames[0] == name == "self"


def _name_may(name: str, frame: FrameType, depth: int, followed: dict[str, int]) -> bool:
    if name not in frame.f_locals:
        return False  # of the module, or built in
    if followed.get(name, -1) >= depth:
        return False  # it is looked at elsewhere: `x = f(x, x)`, a dozen times over, would be followed without end
    followed[name] = depth
    value = frame.f_locals[name]
    given = _assigned(name, frame.f_code)
    code = frame.f_code
    argument = name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if not given or argument:  # an argument that is assigned anew, too: `size = halved(size)` still comes from the caller
        may = not isinstance(value, _PLAIN) and not callable(value) and not _is_held(value, frame)
        if may or not given:
            return may
    if isinstance(value, _PLAIN) and not isinstance(value, bool):
        return False
    return depth > 0 and any(_may(one, frame, depth - 1, followed) for one in given)


def _is_held(value: Any, frame: FrameType) -> bool:
    """Whether this is the very list or mapping that the function's object holds: a setting passed on."""
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    if not isinstance(owner, torch.nn.Module) or not isinstance(value, (list, tuple, Mapping)):
        return False
    return any(one is value for one in vars(owner).values())


def _is_record(arguments: Sequence[ast.expr], frame: FrameType) -> bool:
    """Whether the length asked for is that of a tuple of unlike parts: what a function gave back, not pieces of an axis."""
    if len(arguments) != 1 or not isinstance(arguments[0], ast.Name):
        return False
    value = frame.f_locals.get(arguments[0].id)
    if not isinstance(value, tuple):
        return False
    kinds = {(one.dtype, one.dim()) if isinstance(one, torch.Tensor) else type(one) for one in value}
    return len(kinds) > 1 and any(isinstance(one, torch.Tensor) for one in value)


def _assigned(name: str, code: CodeType) -> list[ast.expr]:
    """What a function assigns to a name."""
    found: list[ast.expr] = []
    for node in ast.walk(_source(code)):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
            targets: list[Any] = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.value is not None and any(_binds(target, name) for target in targets):
                found.append(node.value)
        elif isinstance(node, (ast.For, ast.comprehension)) and _binds(node.target, name):
            found.append(node.iter)
    return found


def _binds(target: ast.expr, name: str) -> bool:
    return any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(target))


@functools.lru_cache(maxsize=256)
def _source(code: CodeType) -> ast.AST:
    """The function as a tree; an empty one where there is no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, TypeError):
        return ast.Module([], [])
