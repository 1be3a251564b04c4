//! Losses of classifiers beside PyTorch in float64: the mean, and its gradient, on every SIMD path.
//!
//! The file comes from `tests/fixtures/make_losses.py`; the README beside it describes it.

use autograd::{Tape, Tensor, Workspace};
use kernels::{Isa, Loss, LossKind, Targets};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const BYTES: &[u8] = include_bytes!("fixtures/losses.safetensors");

/// The values of a tensor and its shape, if there is one.
fn tensor(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<f64>, Vec<usize>)> {
    let found = file.tensor(name).ok()?;
    let eights = |bytes: &[u8]| bytes.as_chunks::<8>().0.to_vec();
    let values = match found.dtype() {
        Dtype::F32 => {
            let fours = found.data().as_chunks::<4>().0.iter();
            fours.map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        Dtype::F64 => eights(found.data()).into_iter().map(f64::from_le_bytes).collect(),
        Dtype::I64 => {
            eights(found.data()).into_iter().map(|b| i64::from_le_bytes(b) as f64).collect()
        }
        other => panic!("{name}: {other:?}"),
    };
    Some((values, found.shape().to_vec()))
}

fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let file = SafeTensors::deserialize(BYTES).unwrap();
    let (_, header) = SafeTensors::read_metadata(BYTES).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let cases = about["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 15);
    for (name, settings) in cases {
        let of = |part: &str| tensor(&file, &format!("{name}/{part}"));
        let kind = match settings["kind"].as_str().unwrap() {
            "cross-entropy" => LossKind::CrossEntropy,
            "nll" => LossKind::Nll,
            "bce" => LossKind::Bce,
            other => panic!("{other}"),
        };
        let (x, shape) = of("x").unwrap();
        let [images, outputs] = shape[..] else { panic!("{name}: {shape:?}") };
        let (x, weights) = (narrow(x), of("weights").map(|(weights, _)| narrow(weights)));
        let smoothing = settings["smoothing"].as_f64().unwrap() as f32;
        let loss = Loss { kind, smoothing, weights: weights.as_deref() };
        let labels: Option<Vec<u32>> =
            of("labels").map(|(labels, _)| labels.into_iter().map(|label| label as u32).collect());
        let rows = of("rows").map(|(rows, _)| narrow(rows));
        // PyTorch's mean: by the weights of labels, by the images where targets are rows.
        let (targets, divisor) = match (&labels, &rows) {
            (Some(labels), _) => {
                let weight = |l: &u32| weights.as_ref().map_or(1.0, |w| w[*l as usize]);
                (Targets::Labels(labels), labels.iter().map(weight).sum())
            }
            (None, rows) => (Targets::Rows(rows.as_ref().unwrap()), images as f32),
        };
        let (y, dx) = (of("y").unwrap().0[0], of("dx").unwrap().0);
        for isa in Isa::available() {
            let mut memory = Workspace::default();
            let mut tape = Tape::training(isa, &mut memory, &[], images);
            let x = tape.variable(&Tensor::from_rows(&x, images, outputs, [1, 1]));
            let (loss, sums) = tape.loss(x, targets, &loss, divisor);
            let found = f64::from(tape.value(loss).to_rows()[0]);
            assert!((found - y).abs() <= 2e-6 * y.abs(), "{name}, {isa}: {found}, not {y}");
            let mean = sums.loss / f64::from(divisor);
            assert!((mean - y).abs() <= 2e-6 * y.abs(), "{name}, {isa}: {mean}, not {y}");
            tape.backward(loss, &mut []);
            let found = tape.gradient(x).unwrap().to_rows();
            // A probability is off by the rounding of its exponent, which is up to 400 here.
            let largest = dx.iter().fold(0.0f64, |most, dx| most.max(dx.abs()));
            for (i, (found, exact)) in found.iter().zip(&dx).enumerate() {
                let off = (f64::from(*found) - exact).abs();
                assert!(off <= 4e-6 * largest, "{name}, {isa}: dx {i} is {found}, not {exact}");
            }
        }
    }
}
