"""What ``import torchport`` brings, and what it must not."""

import subprocess
import sys

import torchport

HEAVY = ("torch", "onnx", "onnxruntime", "onnx_ir", "onnxscript", "numpy", "yaml", "rich", "typer")


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_torchport_imports_nothing_heavy():
    assert run(f"import sys, torchport; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_declaring_ports_needs_no_torch():
    code = (
        "import sys, torchport, torchport.types as t; torchport.NeuralType(('B', 'D', 'T'), t.SpectrogramType());"
        "torchport.Port('batch 80 time', dtype='float32'); torchport.Exportable; print('torch' in sys.modules)"
    )
    assert run(code) == "False"


def test_every_public_name_is_there_and_no_other_leaks():
    for name in torchport.__all__:
        assert getattr(torchport, name) is not None
    expected = {
        *(
            "Exportable",
            "ModelPT",
            "export",
            "verify",
            "load",
            "package",
            "NeuralType",
            "AxisType",
            "AxisKind",
            "Port",
            "Axis",
            "Signature",
        ),
        *("typecheck", "replace_for_export", "ExportResult", "PretrainedModelInfo", "TorchportError", "ProofError", "__version__"),
    }
    assert set(torchport.__all__) == expected
    assert set(dir(torchport)) == expected


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(torchport, "nothing_of_the_kind")
