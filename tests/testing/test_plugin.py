"""`pytest --exportables`: what becomes a test, what it says, and that suites without the option notice nothing."""

import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAD = """
import torch
from torchport import Exportable

class Sum(torch.nn.Module, Exportable):
    input_types = {"x": ("batch time", "float32")}
    output_types = {"y": ("batch", "float32")}

    def forward(self, x):
        return x.sum(1)
"""
LIMITED = """
class Limited(Sum):
    def forward(self, x):
        return x.sum(1) if x.shape[1] <= 40 else x.sum(1) + 1
"""
WIDE = """
class Wide(torch.nn.Module, Exportable):
    input_types = {"x": ("batch width", "float32")}
    output_types = {"y": ("batch width", "float32")}

    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(width))

    def forward(self, x):
        return x * self.weight.sum()
"""


@pytest.fixture
def package(pytester, inner):
    """Makes the package ``pack``, and runs pytest over it."""

    class Package:
        def write(self, **files):
            pytester.mkpydir("pack")
            for name, text in files.items():
                path = pytester.path / "pack" / f"{name if name.startswith('__') else name.replace('__', '/')}.py"
                if not path.parent.exists():
                    path.parent.mkdir()
                    (path.parent / "__init__.py").touch()
                path.write_text(text)
            return self

        def run(self, *args, target="pack", formats="onnx"):
            return inner(f"--exportables={target}", f"--exportables-formats={formats}", *args)

    return Package()


def test_every_exportable_class_becomes_a_test(package):
    result = package.write(models=HEAD + LIMITED).run("-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["pack.models::Sum[[]onnx[]]*PASSED*", "pack.models::Limited[[]onnx[]]*FAILED*"])


def test_each_format_is_a_test(package):
    result = package.write(models=HEAD).run("--collect-only", "-q", formats="onnx,.ts,exported_program")
    result.stdout.fnmatch_lines(
        ["pack.models::Sum[[]onnx[]]", "pack.models::Sum[[]ts[]]", "pack.models::Sum[[]pt2[]]", "3 tests collected*"]
    )


def test_a_failure_is_told_in_a_few_lines_with_the_smallest_sizes(package):
    result = package.write(models=HEAD + LIMITED).run("-k", "Limited")
    result.stdout.fnmatch_lines(
        [
            "*Limited[[]onnx[]] of pack.models*",
            "test: Limited cannot be exported to .onnx",
            "*smallest failing sizes: batch=1, time=41",
            "*port*sizes*worst element*",
            "FAILED pack.models::Limited[[]onnx[]]*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    first = next(at for at, line in enumerate(result.outlines) if line.startswith("test: Limited"))
    last = next(at for at, line in enumerate(result.outlines) if "short test summary" in line)
    assert last - first < 16  # not pytest's own lines: what is installed and how wide the terminal is decide their number


def test_tests_of_the_suite_run_too_and_a_marker_selects(package, pytester):
    pytester.makepyfile(test_own="def test_own(): pass")
    package.write(models=HEAD)
    package.run().assert_outcomes(passed=2)
    package.run("-m", "exportable", "--strict-markers").assert_outcomes(passed=1, deselected=1)


def test_the_whole_package_is_walked_but_not_what_it_imports(package):
    files = {"models": HEAD, "zoo__deep": HEAD, "other": "from pack.models import Sum", "__main__": "raise SystemExit('run')"}
    tests = dict.fromkeys(("tests__helpers", "conftest", "test_models", "models_test"), HEAD)
    result = package.write(**files, **tests).run("--collect-only", "-q")
    result.stdout.fnmatch_lines(["pack.models::Sum[[]onnx[]]", "pack.zoo.deep::Sum[[]onnx[]]", "2 tests collected*"])


def test_plain_modules_with_input_types_count_and_others_do_not(package):
    typed = HEAD.replace(", Exportable)", ")")
    result = package.write(models=typed + "class Plain(torch.nn.Linear): pass\nclass NoModule(Exportable): pass\n").run(
        "--collect-only", "-q"
    )
    result.stdout.fnmatch_lines(["pack.models::Sum[[]onnx[]]", "1 test collected*"])


def test_classes_that_are_no_models_by_themselves_are_left_out_and_named(package):
    code = """
import abc
class Base(torch.nn.Module, Exportable): pass
class Abstract(Sum, abc.ABC):
    @abc.abstractmethod
    def width(self): ...
"""
    result = package.write(models=HEAD + code).run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["exportables: left out pack.models.Base (no forward)", "exportables: left out pack.models.Abstract (abstract)"]
    )


def test_a_class_that_cannot_be_made_fails_with_what_to_do(package):
    result = package.write(models=HEAD + WIDE).run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Wide could not be made: TypeError: *'width'*", "*try: *exportable_instances*pytest_torchport_make*"])


def test_a_conftest_makes_instances_and_leaves_classes_out(package, pytester):
    pytester.makeconftest("""
        import pytest
        def pytest_torchport_make(cls):
            if cls.__name__ == "Wide":
                return {"small": cls(2), "wide": cls(40)}
            if cls.__name__ == "Limited":
                pytest.skip("known to be limited")
    """)
    result = package.write(models=HEAD + WIDE + LIMITED).run("-rs")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*known to be limited"])


def test_a_class_gives_its_own_instances_and_a_failing_one_is_named(package):
    code = """
    @classmethod
    def exportable_instances(cls):
        yield cls(2)
        broken = cls(3)
        broken.forward = lambda x: x * int(x.shape[1])
        yield broken
"""
    result = package.write(models=HEAD + WIDE + code).run("-k", "Wide")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["test: 1 of 2 instances of Wide cannot be exported to .onnx", "  1: .onnx: *", "*smallest failing sizes: batch=1, width=*"]
    )


@pytest.mark.parametrize("made", ["3", "'text'", "[]", "{'a': 3}"])
def test_what_is_no_instance_is_refused(package, made):
    code = f"\n    @classmethod\n    def exportable_instances(cls):\n        return {made}\n"
    result = package.write(models=HEAD + code).run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Sum.exportable_instances makes no model*", "*expected: a torch.nn.Module, a list of them*"])


def test_a_module_that_cannot_be_imported_is_a_failure(package):
    result = package.write(models=HEAD, broken="import torch\nraise ValueError('no luck')\n", typo="import pack.nothing").run()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*pack.broken cannot be imported: ValueError: no luck",
            "*where: *broken.py:2",
            "*pack.typo cannot be imported: ModuleNotFoundError*",
        ]
    )


def test_a_module_whose_optional_package_is_missing_is_skipped_with_the_reason(package):
    result = package.write(models=HEAD, extra="import no_such_package_anywhere").run("-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*extra.py*pack.extra needs no_such_package_anywhere, which is not installed"])


def test_an_error_that_nobody_expected_keeps_its_traceback(package, pytester):
    pytester.makeconftest("def pytest_torchport_make(cls):\n    raise BaseException('out of the blue')\n")
    result = package.write(models=HEAD).run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*raise BaseException('out of the blue')*"])


@pytest.mark.parametrize("target", ["./pack", "pack/models.py", "pack.models", "pack,pack.models"])
def test_packages_go_by_name_or_path(package, target):
    result = package.write(models=HEAD).run("--collect-only", "-q", target=target)
    result.stdout.fnmatch_lines(["pack.models::Sum[[]onnx[]]", "1 test collected*"])


def test_a_single_file_will_do(package, pytester):
    (pytester.path / "alone.py").write_text(HEAD)
    package.run(target="alone.py").assert_outcomes(passed=1)


@pytest.mark.parametrize("target", ["nowhere", "./nowhere", "no-name", "missing.py"])
def test_a_package_that_is_not_there_is_a_usage_error(package, target):
    result = package.run(target=target)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --exportables: declare: there is no such package*"])


def test_nothing_to_test_is_a_usage_error(package):
    result = package.write(models="import torch\nfrom torchport import Exportable\nclass B(torch.nn.Module, Exportable): pass").run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --exportables: pack has no exportable class; left out pack.models.B (no forward)"])


def test_an_unknown_format_is_a_usage_error(package):
    result = package.write(models=HEAD).run(formats="onx")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --exportables: declare: no format has the extension '.onx'"])


def test_warnings_as_errors_and_reports_to_files_work(package, pytester):
    result = package.write(models=HEAD + WIDE).run("-W", "error", "--junitxml=report.xml", formats="onnx,ts")
    result.assert_outcomes(passed=2, failed=2)
    cases = ElementTree.parse(pytester.path / "report.xml").findall(".//testcase")
    assert [case.get("name") for case in cases] == ["Sum[onnx]", "Sum[ts]", "Wide[onnx]", "Wide[ts]"]


def test_last_failed_runs_what_failed(package):
    package.write(models=HEAD + LIMITED)
    package.run().assert_outcomes(passed=1, failed=1)
    package.run("--lf").assert_outcomes(failed=1, deselected=1)


def test_contracts_of_a_package_are_snapshots(package, pytester):
    package.write(models=HEAD)
    missing = package.run("--contracts=locks")
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*there is no snapshot of the contract*", "*where: *locks/pack.models.Sum.onnx.contract.json"])
    package.run("--contracts=locks", "--update-contracts").assert_outcomes(passed=1)
    assert [path.name for path in (pytester.path / "locks").iterdir()] == ["pack.models.Sum.onnx.contract.json"]
    package.run("--contracts=locks").assert_outcomes(passed=1)
    package.run().assert_outcomes(passed=1)
    (pytester.path / "pack" / "models.py").write_text(HEAD.replace('"y":', '"total":'))
    pytester.makeini("[pytest]\ntorchport_contracts = locks\n")
    broken = package.run()
    broken.assert_outcomes(failed=1)
    broken.stdout.fnmatch_lines(["*sum.onnx breaks its contract*", "*breaking*y*total*"])


def test_instances_have_contracts_of_their_own(package, pytester):
    pytester.makeconftest(
        "def pytest_torchport_make(cls):\n    return {'small': cls(2), 'wide': cls(4)} if cls.__name__ == 'Wide' else None"
    )
    package.write(models=HEAD + WIDE).run("-k", "Wide", "--contracts=locks", "--update-contracts").assert_outcomes(passed=1, deselected=1)
    names = sorted(path.name for path in (pytester.path / "locks").iterdir())
    assert names == ["pack.models.Wide.small.onnx.contract.json", "pack.models.Wide.wide.onnx.contract.json"]


def test_the_fixture_asserts_and_heeds_the_option(pytester, inner):
    test = (
        "def test_sum(assert_exportable):\n    assert list(assert_exportable(Sum(), '.onnx', contract='sum.contract.json')) == ['.onnx']\n"
    )
    pytester.makepyfile(HEAD + "\n" + test)
    inner().assert_outcomes(failed=1)
    inner("--update-contracts").assert_outcomes(passed=1)
    assert (pytester.path / "sum.contract.json").is_file()
    inner().assert_outcomes(passed=1)


def test_a_failed_assertion_in_a_test_ends_its_traceback_there(pytester, inner):
    pytester.makepyfile(
        HEAD + LIMITED + "\nfrom torchport.testing import assert_exportable\ndef test_it():\n    assert_exportable(Limited(), '.onnx')\n"
    )
    result = inner()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">*assert_exportable(Limited(), '.onnx')", "E*smallest failing sizes: batch=1, time=41"])
    result.stdout.no_fnmatch_line("*pipeline.py*")


def fresh(folder, *args, **environment):
    """pytest in a fresh process, as a user starts it."""
    code = "import sys, pytest; code = pytest.main(sys.argv[1:]); print('torch imported:', 'torch' in sys.modules); sys.exit(code)"
    path = os.pathsep.join([str(folder), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    full = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "", "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-c", code, *args], cwd=folder, env=full, capture_output=True, text=True, timeout=200)


@pytest.fixture
def installed(pytester):
    """A suite beside the metadata that an installed torchport has."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = pytester.mkdir("torchport_plugin-1.dist-info")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchport-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()))
    pytester.makepyfile(test_own="def test_own(): pass")
    return pytester.path


def test_a_suite_without_the_option_does_not_import_torch(installed):
    done = fresh(installed, "--co", "-q", "--strict-markers", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "test_own.py::test_own"
    assert "torch imported: False" in done.stdout
    assert "--exportables" in fresh(installed, "--help").stdout


def test_loading_the_plugin_by_hand_as_well_is_no_conflict(installed):
    done = fresh(installed, "--co", "-q", "-p", "torchport.testing.plugin")
    assert done.returncode == 0, done.stdout + done.stderr
    blocked = fresh(installed, "--co", "-q", "-p", "no:torchport.testing.plugin", "--exportables=x")
    assert "unrecognized arguments" in blocked.stderr


def test_the_tests_are_shared_by_two_workers(package, pytester):
    package.write(models=HEAD + WIDE)
    options = ("-p", "torchport.testing.plugin", "-p", "xdist", "-n", "2", "--exportables=pack", "--exportables-formats=onnx", "-q")
    done = fresh(pytester.path, *options)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "Wide could not be made: TypeError" in done.stdout
    assert "torch imported: False" in done.stdout  # the controller only hands out
