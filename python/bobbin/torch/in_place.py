"""Operations that change their input in place, where that is more than a way to save memory.

A trace says which values an operation takes, not when they change: one whose result stands for its input from then on
is read rightly, any other would be read as if it changed nothing.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from torch import fx, nn

from .errors import unsupported
from .functions import name_of
from .layers import FUNCTIONS

if TYPE_CHECKING:
    from .trace import Operation

# What gives another shape of the same memory.
_VIEWS = {"view", "reshape", "flatten", "squeeze", "unsqueeze", "contiguous", "float"}
_VIEWING = (nn.Flatten, nn.Identity)
_OPERATORS = (operator.iadd, operator.imul)


def check(module: nn.Module, operations: list[Operation], needed: set[fx.Node]) -> None:
    """Raises ``UnsupportedModule`` where an operation changes in place what is used again, or its result is not used.

    ``needed`` are the nodes that the output depends on.
    """
    # Of each node the first that has the same memory.
    memory: dict[fx.Node, fx.Node] = {}
    made: dict[fx.Node, int] = {}
    for i, op in enumerate(operations):
        node, x = op.node, _input(op.node)
        made[node] = i
        changes = x is not None and changes_input(module, node)
        memory[node] = memory[x] if x is not None and (changes or _is_view(module, node)) else node
        if not changes or x is None:
            continue
        if node not in needed:
            what = "its result is not used, and it changes its input in place"
            raise unsupported(op.place, what, "assign its result, without inplace")
        for later in operations[i + 1 :]:
            again = [n for n in later.node.all_input_nodes if memory.get(n) is memory[node] and made[n] < i]
            # The shape of what has changed is still that.
            if again and later.node in needed and (later.shape is not None or later.node.op == "output"):
                raise unsupported(op.place, "what it changes in place is used again", "write it without inplace")


def changes_input(module: nn.Module, node: fx.Node) -> bool:
    """Whether an operation writes into its first argument."""
    if node.op == "call_module":
        return getattr(module.get_submodule(str(node.target)), "inplace", False) is True
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op != "call_function":
        return False
    target = node.target
    if target in _OPERATORS:
        return True
    # But for Python's `and_` and `not_`.
    if getattr(target, "__name__", "").endswith("_") and getattr(target, "__module__", "") != "_operator":
        return True
    settings = list(FUNCTIONS[name_of(node)].settings) if name_of(node) in FUNCTIONS else []
    place = settings.index("inplace") + 1 if "inplace" in settings else len(node.args)
    return bool(node.args[place] if len(node.args) > place else node.kwargs.get("inplace", False))


def _input(node: fx.Node) -> fx.Node | None:
    first = node.args[0] if node.args else node.kwargs.get("input")
    return first if isinstance(first, fx.Node) else None


def _is_view(module: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), _VIEWING)
    return node.op in ("call_method", "call_function") and name_of(node) in _VIEWS
