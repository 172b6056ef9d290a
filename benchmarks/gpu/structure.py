"""Kernels, loops and bytes of a compiled program, read from the text of its optimised HLO.

A fusion, a call of a library, a copy, a sort or a scatter is a kernel. Bytes are what it must read and write once:
of a slice or a gather the part taken, of an update in place the part written. Loops count as often as they turn; one
that ends on a condition has no known number of turns and counts once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

_WIDTH = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8}
"""Bytes of a number where they are not 4."""
_ARRAY = re.compile(r"\b(pred|[su]\d+|b?f\d+)\[([\d,]*)\]")
_KERNELS = {
    *("fusion", "custom-call", "copy", "sort", "scatter", "reduce", "dot", "concatenate", "transpose", "gather"),
    *("dynamic-slice", "dynamic-update-slice", "broadcast", "iota", "slice", "pad"),
}
LARGE = 2**20
"""Bytes from which a copy inside a loop is counted as one of a large array."""


@dataclass
class Instruction:
    """One line of HLO: its name, type, operation, operands, and what stands behind them."""

    name: str
    type: str
    op: str
    operands: list[str]
    rest: str
    is_root: bool

    def called(self, role: str) -> str:
        """Return the computation that the instruction names as its `role`."""
        found = re.search(rf"\b{role}=%?([^\s,)}}]+)", self.rest)
        if found is None:
            raise ValueError(f"{self.name} has no {role}: {self.rest[:120]}")
        return found[1]


Computation = dict[str, Instruction]


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """Return the computations of an HLO module by name, and the name of the one that it begins with."""
    computations: dict[str, Computation] = {}
    current, entry = "", ""
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([^\s(]+) \(.*\) -> .*\{$", line)
        if head:
            current = head[2]
            computations[current] = {}
            entry = current if head[1] else entry
        body = re.match(r"^  (ROOT )?%?([^\s=]+) = (.*)$", line)
        if body and current:
            stated = re.sub(r"/\*index=\d+\*/", "", body[3])
            kind, after = _split_bracket(stated) if stated[0] == "(" else tuple(stated.split(" ", 1))
            op = after.strip().split("(", 1)[0]
            operands, rest = _split_bracket(after.strip()[len(op) :])
            names = re.findall(r"%([^\s,()]+)", operands)
            computations[current][body[2]] = Instruction(body[2], kind, op, names, rest, bool(body[1]))
    return computations, entry


def describe(text: str, top: int = 0) -> dict[str, Any]:
    """Return facts about a compiled program.

    Args:
        text: its optimised HLO.
        top: kernels to list, those that move most first.

    Returns:
        `loops`: turns (None if not known), kernels and megabytes a turn, scatters and copies of large arrays in it;
        `kernels`, `gigabytes`: of a whole run; `sorts`, `scatters`; `largest_scalar_sum`: instructions of the largest
        kernel that adds up to one number, which runs on one block of threads; `dots`: number formats that are
        multiplied, with their operations in GFLOP.
    """
    computations, entry = parse(text)
    rows = list(_walk(computations, entry, 1, ""))
    loops: dict[str, dict[str, Any]] = {}
    dots: dict[str, float] = {}
    for row in rows:
        loop = loops.setdefault(
            row["loop"] or "outside",
            {"turns": row["turns"], "kernels": 0, "megabytes": 0.0, "scatters": 0, "large_copies": 0},
        )
        loop["kernels"] += 1
        loop["megabytes"] += row["bytes"] / 1e6
        loop["scatters"] += row["scatter"]
        loop["large_copies"] += row["op"] == "copy" and row["bytes"] >= LARGE
        for dtype, flops in row["dots"].items():
            dots[dtype] = dots.get(dtype, 0.0) + row["times"] * flops / 1e9
    largest = sorted(rows, key=lambda row: -row["times"] * row["bytes"])[:top]
    return {
        "loops": loops,
        "kernels": sum(row["times"] for row in rows),
        "gigabytes": sum(row["times"] * row["bytes"] for row in rows) / 1e9,
        "sorts": sum(row["sort"] for row in rows),
        "scatters": sum(row["scatter"] for row in rows),
        "largest_scalar_sum": max((row["scalar_sum"] for row in rows), default=0),
        "dots": dots,
        "top": [{name: row[name] for name in ("name", "loop", "times", "bytes", "source")} for row in largest],
    }


def _walk(computations: dict[str, Computation], name: str, times: int, loop: str, turns: int | None = 1) -> Iterator:
    for found in computations[name].values():
        if found.op == "while":
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', found.rest)
            inner = int(known[1]) if known else None
            yield from _walk(computations, found.called("body"), times * (inner or 1), f"{loop}/{found.name}", inner)
        elif found.op == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", found.rest)
            names = re.findall(r"%([^\s,]+)", branches[1]) if branches else []
            names = names or [found.called("true_computation"), found.called("false_computation")]
            yield from max((list(_walk(computations, x, times, loop, turns)) for x in names), key=len)
        elif found.op == "call":
            yield from _walk(computations, found.called("to_apply"), times, loop, turns)
        elif found.op in _KERNELS:
            yield _kernel(computations, computations[name], found) | {"times": times, "loop": loop, "turns": turns}


def _kernel(computations: dict[str, Computation], around: Computation, found: Instruction) -> dict[str, Any]:
    source = re.search(r'op_name="([^"]*)"', found.rest)
    inside = computations[found.called("calls")] if found.op == "fusion" else {found.name: found}
    ops = [x.op for x in inside.values()]
    scalar_sum = any(x.op == "reduce" and any(not shape for _, shape in _arrays(x.type)) for x in inside.values())
    moved = _fusion_bytes(inside) if found.op == "fusion" else None
    return {
        "name": found.name,
        "op": found.op,
        "bytes": moved if moved is not None else sum(_size(around[x].type) for x in found.operands) + _size(found.type),
        "sort": found.op == "sort" or "sort" in ops,
        "scatter": "scatter" in ops,
        "scalar_sum": len(inside) if scalar_sum else 0,
        "dots": _dots(around, found, inside),
        "source": source[1][-70:] if source else "",
    }


def _fusion_bytes(inside: Computation) -> float:
    users: dict[str, list[tuple[Instruction, int]]] = {}
    for found in inside.values():
        for place, operand in enumerate(found.operands):
            users.setdefault(operand, []).append((found, place))

    def read(name: str) -> float | None:
        """Return the bytes read of a value of which parts alone are used, or None where all of it is."""
        total = 0.0
        for user, place in users.get(name, []):
            if user.op in ("bitcast", "reshape"):
                part = read(user.name)
                if part is None:
                    return None
                total += part
            elif user.op == "slice" or (user.op in ("dynamic-slice", "gather") and place == 0):
                total += _size(user.type)
            elif not (user.op in ("dynamic-update-slice", "scatter") and place == 0):
                return None
        return total

    def written(name: str) -> float:
        found = inside[name]
        if found.op == "tuple":
            return sum(written(x) for x in found.operands)
        if found.op in ("bitcast", "reshape"):
            return written(found.operands[0])
        if found.op == "dynamic-update-slice":
            return _size(inside[found.operands[1]].type)
        return 2 * _size(inside[found.operands[-1]].type) if found.op == "scatter" else _size(found.type)

    total = sum(written(x.name) for x in inside.values() if x.is_root)
    for found in inside.values():
        if found.op == "parameter":
            part = read(found.name)
            total += _size(found.type) if part is None else min(part, _size(found.type))
    return total


def _dots(around: Computation, found: Instruction, inside: Computation) -> dict[str, float]:
    """Return the operations of the matrix products of a kernel by the number format that is multiplied."""
    flops: dict[str, float] = {}
    for dot in inside.values():
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.rest) if dot.op == "dot" else None
        if dot.op == "custom-call" and re.search(r'custom_call_target="[^"]*(gemm|matmul)', dot.rest):
            contracted = re.search(r'"lhs_contracting_dimensions":\["([\d",]*)"\]', dot.rest)
        if contracted is None:
            continue
        left = (around if dot is found else inside)[dot.operands[0]].type
        dtype, shape = _arrays(left)[0]
        axes = [int(x) for x in contracted[1].replace('"', "").split(",") if x]
        work = 2 * prod(shape[axis] for axis in axes) * prod(_arrays(dot.type)[0][1])
        flops[dtype] = flops.get(dtype, 0.0) + work
    return flops


def _arrays(stated: str) -> list[tuple[str, list[int]]]:
    return [(dtype, [int(x) for x in sizes.split(",") if x]) for dtype, sizes in _ARRAY.findall(stated)]


def _size(stated: str) -> float:
    return float(sum(_WIDTH.get(dtype, 4) * prod(shape) for dtype, shape in _arrays(stated)))


def _split_bracket(text: str) -> tuple[str, str]:
    """Return what the bracket that a text begins with holds, brackets included, and what follows it."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: place + 1], text[place + 1 :]
    raise ValueError(f"A bracket is not closed: {text[:120]}")
