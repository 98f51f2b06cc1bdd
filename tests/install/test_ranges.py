"""pyproject.toml: ranges that hold what is imported, the pins of the commands, and the oldest that are tested."""

import ast
import pathlib
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = {canonicalize_name(one.name): one for one in map(Requirement, PROJECT["dependencies"])}
GROUPS = PROJECT["optional-dependencies"].values()
EXTRAS = {canonicalize_name(Requirement(one).name) for group in GROUPS for one in group} - {*RANGES}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "absl": "absl-py", "PIL": "pillow"}
NOT_IMPORTED = {"importlib-resources", "tf-keras"}  # by tensorflow-datasets and tensorflow-probability


def pins(name):
    """The versions in a file of requirements."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    found = {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}
    return {name: next(iter(one.specifier)).version for name, one in found.items()}


def imported():
    """Distributions that the package's modules import, late imports included."""
    names = set()
    for path in (ROOT / "ebm_tf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"ebm_tf", "msvcrt"}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in tops}


def test_what_is_imported_is_asked_for():
    found = imported()
    assert {"tensorflow", "scikit-learn", "pillow"} <= found
    assert found - EXTRAS == set(RANGES) - NOT_IMPORTED


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-oldest.txt"])
def test_the_pins_lie_in_the_ranges(name):
    versions = pins(name)
    assert set(RANGES) <= set(versions)
    for package, wanted in RANGES.items():
        assert wanted.specifier.contains(versions[package]), f"{name}: {package}=={versions[package]}"


def test_the_oldest_pins_are_the_lower_ends():
    """Not only within: what is promised is what is tested."""
    versions = pins("requirements-oldest.txt")
    for package, wanted in RANGES.items():
        (lowest,) = (one for one in wanted.specifier if one.operator == ">=")
        assert Requirement(f"x=={lowest.version}").specifier.contains(versions[package]), package
