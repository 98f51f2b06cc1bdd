"""The limits of the house: how large its parts may be, and that the modules of a folder import each other in no circle.

  python tools/house.py

`make house` runs it after lint-imports, which holds the floors. What must be above a limit stands in HELD with its
number and, in a comment, its reason: it may not grow, and a number that has fallen is to be written down, until the
limit is met and the entry goes.
"""

import ast
import graphlib
import pathlib
import sys

import grimp  # comes with import-linter

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMITS = {  # the most there may be of each
    "modules": 13,  # in a folder, beside __init__.py
    "lines": 350,  # of a module
    "evaluation lines": 2_499,  # of all modules of evaluation/, which once was a third of the package
    "function lines": 40,  # of a function without its docstring
    "fields": 10,  # of a class of settings
    "arguments": 7,  # positional ones of a function, beside self
    "rings": 1,  # times that "rings" is spelled out where RINGS_ROOMS are not: once, in settings/data.py
    "whole configs": 5,  # functions that take a whole config and touch one member of it or none; settings apart
}
RINGS_ROOMS = ("data", "build.py", "paper", "__init__.py")  # of the last the public name
HELD: dict[str, dict[str, int]] = {}


def main() -> int:
    faults = [*faults_of(measure(ROOT / "ebm_tf"), HELD), *circles(ROOT)]
    for fault in faults:
        print(fault)
    print(f"house: {len(faults)} faults" if faults else "house: within its limits")
    return 1 if faults else 0


def measure(package):
    """{limit: {place: number}} of everything in a package's source files."""
    numbers = {limit: {} for limit in LIMITS}
    spelled, whole, evaluation = 0, 0, 0
    for file in sorted(package.rglob("*.py")):
        place, text = file.relative_to(package).as_posix(), file.read_text(encoding="utf-8")
        room = place.split("/")[0]
        tree, folder = ast.parse(text), file.parent.relative_to(package.parent).as_posix()
        if file.name != "__init__.py":
            numbers["modules"][folder] = numbers["modules"].get(folder, 0) + 1
        numbers["lines"][place] = len(text.splitlines())
        evaluation += numbers["lines"][place] if room == "evaluation" else 0
        for name, node in _functions(tree):
            numbers["function lines"][f"{place}:{name}"] = _lines(node)
            numbers["arguments"][f"{place}:{name}"] = _positional(node)
            whole += room != "settings" and _wastes_config(node)
        if room == "settings":
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    numbers["fields"][f"{place}:{node.name}"] = sum(isinstance(one, ast.AnnAssign) for one in node.body)
        if room not in RINGS_ROOMS:
            spelled += sum(isinstance(node, ast.Constant) and node.value == "rings" for node in ast.walk(tree))
    of_all = {"rings": spelled, "whole configs": whole, "evaluation lines": evaluation}
    return {**numbers, **{limit: {"all": number} for limit, number in of_all.items()}}


def _functions(tree, prefix=""):
    """(dotted name, node) of all functions, nested ones and methods included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        name = f"{prefix}{node.name}." if isinstance(node, ast.FunctionDef | ast.ClassDef) else prefix
        yield from _functions(node, name)


def _lines(node):
    docstring = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    return node.end_lineno - node.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def _positional(node):
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def _wastes_config(node):
    """Whether a function takes `config` and touches one member of it or none."""
    if "config" not in [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]:
        return False
    touched = [one for one in ast.walk(node) if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)]
    return len({one.attr for one in touched if one.value.id == "config"}) <= 1


def excesses(numbers):
    """Those of the numbers that are above their limits."""
    above = {
        limit: {place: number for place, number in found.items() if number > LIMITS[limit]}
        for limit, found in numbers.items()
    }
    return {limit: found for limit, found in above.items() if found}


def faults_of(numbers, held):
    """One line for every number above its limit that is not held, or not what it is held at."""
    above = excesses(numbers)
    for limit in LIMITS:
        found, allowed = above.get(limit, {}), held.get(limit, {})
        for place in sorted({*found, *allowed}):
            if place not in found:
                yield f"{place}: {limit} are within {LIMITS[limit]} now; remove the entry from HELD"
            elif place not in allowed:
                yield f"{place}: {found[place]} {limit}, expected at most {LIMITS[limit]}"
            elif found[place] > allowed[place]:
                yield f"{place}: {found[place]} {limit}, held at {allowed[place]} on the way to {LIMITS[limit]}"
            elif found[place] < allowed[place]:
                yield f"{place}: {limit} fell from {allowed[place]} to {found[place]}; write that into HELD"


def circles(root):
    """One line for every folder whose modules and folders import each other in a circle, late imports included."""
    sys.path.insert(0, str(root))
    graph = grimp.build_graph("ebm_tf", exclude_type_checking_imports=True, cache_dir=None)
    edges = {}  # folder -> {part of it: parts that it imports}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            one, other = importer.split("."), imported.split(".")
            depth = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), None)
            if depth is not None:
                parts = edges.setdefault(".".join(one[:depth]), {})
                parts.setdefault(one[depth], set()).add(other[depth])
    for folder in sorted(edges):
        try:
            graphlib.TopologicalSorter(edges[folder]).prepare()
        except graphlib.CycleError as error:
            yield f"{folder}: imports go in a circle: {' <- '.join(error.args[1])}"


if __name__ == "__main__":
    sys.exit(main())
