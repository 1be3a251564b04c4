//! Single operations on the tape beside others' results: PyTorch in float64, values and every gradient, by cases of our
//! own and by PyTorch's samples (OpInfo); ONNX's own tests of operators. On every SIMD path.
//!
//! The files come from `make_ops.py`, `make_convolutions.py`, `make_bf16.py`, `make_opinfo.py` and `make_onnx_nodes.py`
//! in `tests/fixtures`; the README beside them describes them.

#[path = "support/cases.rs"]
mod cases;

use cases::run_every_case;

#[test]
fn cases_of_our_own() {
    let counts = run_every_case("ops.safetensors");
    assert_eq!(counts.values().sum::<usize>(), 44, "{counts:?}");
}

#[test]
fn convolutions() {
    let counts = run_every_case("convolutions.safetensors");
    assert_eq!(counts.values().sum::<usize>(), 36);
}

/// Operands rounded to bfloat16 in the same places.
#[test]
fn convolutions_in_bf16() {
    let counts = run_every_case("bf16.safetensors");
    assert_eq!(counts.values().sum::<usize>(), 6);
}

/// What is left out, and why, is in docs/trust.md.
#[test]
fn samples_of_pytorch() {
    let counts = run_every_case("opinfo.safetensors");
    assert_eq!(counts.values().sum::<usize>(), 207, "{counts:?}");
    assert_eq!(counts.len(), 25, "{counts:?}");
}

/// What is left out, and why, is in docs/trust.md.
#[test]
fn tests_of_onnx() {
    let counts = run_every_case("onnx_nodes.safetensors");
    assert_eq!(counts.values().sum::<usize>(), 65, "{counts:?}");
    assert_eq!(counts.len(), 21, "{counts:?}");
}
