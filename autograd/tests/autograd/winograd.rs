//! Convolutions, by Winograd's method and by im2col, which keep their weights in another form: never those of another
//! step. What they compute is tested beside all other convolutions.

use autograd::{Buffer, Generation, Param, Tape, Tensor, Workspace};
use kernels::{Conv2dOptions, Convolution, Isa, PaddingMode, Precision, Window, Winograd};
use reference::{Conv, uniform};

const WINDOW: Window = Window { kernel: [3, 3], stride: [1, 1], padding: [1, 0], dilation: [1, 1] };

const OPTIONS: Conv2dOptions = Conv2dOptions {
    window: WINDOW,
    padding_after: WINDOW.padding,
    padding_mode: PaddingMode::Zeros,
    groups: 1,
};
const CONV: Conv = Conv { images: 3, inputs: 32, outputs: 33, size: [5, 7], options: OPTIONS };
/// Where Winograd's method would save nothing.
const SMALL: Conv = Conv { size: [3, 5], ..CONV };

/// Quarters from −1 to 1, with which all is exact.
fn quarters(len: usize, seed: u64) -> Vec<f32> {
    let values: Vec<f32> = uniform(len, seed);
    values.iter().map(|x| (4.0 * x).round() / 4.0 + 0.0).collect()
}

fn weights(seed: u64) -> Buffer {
    let mut weights = Buffer::zeros(CONV.weights());
    weights.copy_from_slice(&quarters(CONV.weights(), seed));
    weights
}

fn images(conv: &Conv, seed: u64) -> Vec<f32> {
    quarters(conv.input().len(), seed)
}

/// The output `y`; for `f = Σ r·y` where it was trained, the gradients of images and weights too.
#[derive(Debug, PartialEq)]
struct Outcome {
    y: Vec<f32>,
    gradients: Option<[Vec<f32>; 2]>,
}

fn r(conv: &Conv) -> Vec<f32> {
    quarters(conv.output().len(), 77)
}

/// A run of [`CONV`].
fn run(isa: Isa, workspace: &mut Workspace, x: &[f32], weights: &[f32], trained: bool) -> Outcome {
    let tape = match trained {
        true => Tape::training(isa, workspace, weights, CONV.images),
        false => Tape::evaluation(isa, workspace, weights),
    };
    outcome(&CONV, tape, x, weights, trained)
}

fn outcome(conv: &Conv, mut tape: Tape<'_>, x: &[f32], weights: &[f32], trained: bool) -> Outcome {
    let (input, output) = (conv.input(), conv.output());
    let x = tape.variable(&Tensor::from_rows(x, input.images, input.channels, input.size));
    let y = tape.conv2d(x, Param { offset: 0, len: weights.len() }, None, WINDOW, false);
    let mut outcome = Outcome { y: tape.value(y).to_rows(), gradients: None };
    if trained {
        let r = Tensor::from_rows(&r(conv), output.images, output.channels, output.size);
        let fill = |tensor: &mut Tensor| tensor.data_mut().copy_from_slice(r.data());
        let r = tape.input(output.images, output.channels, output.size, fill);
        let product = tape.mul(y, r);
        let f = tape.sum(product);
        let mut dw = Buffer::zeros(weights.len());
        tape.backward(f, &mut dw);
        outcome.gradients = Some([tape.gradient(x).unwrap().to_rows(), dw.to_vec()]);
    }
    outcome
}

#[test]
fn one_is_by_winograd() {
    let [large, small] = [CONV, SMALL].map(|Conv { inputs, size, outputs, options, .. }| {
        Winograd::applies(&Convolution::new(inputs, size, outputs, options).unwrap())
    });
    assert!(large && !small);
}

/// In whatever order steps and evaluations share a workspace, each is what it is in a new one.
#[test]
fn weights_are_never_those_of_another_step() {
    let x = images(&CONV, 9);
    for isa in Isa::available() {
        let mut workspace = Workspace::default();
        for (seed, trained) in
            [(1, true), (2, false), (3, true), (1, true), (1, false), (2, true), (3, false)]
        {
            let weights = weights(seed);
            let got = run(isa, &mut workspace, &x, &weights, trained);
            let alone = run(isa, &mut Workspace::default(), &x, &weights, trained);
            assert!(got == alone, "{isa}: weights {seed}, trained: {trained}");
        }
    }
}

/// What was made of a generation's weights is used for all tapes of it, and for no others.
#[test]
fn forms_are_kept_as_long_as_their_generation() {
    for conv in [CONV, SMALL] {
        for precision in [Precision::F32, Precision::Bf16] {
            forms_are_kept(&conv, precision);
        }
    }
}

fn forms_are_kept(conv: &Conv, precision: Precision) {
    let x = images(conv, 9);
    let of = |workspace: &mut Workspace, generation: Option<Generation>, seed| {
        let weights = weights(seed);
        let mut tape = Tape::training(Isa::detect(), workspace, &weights, conv.images);
        tape.set_precision(precision);
        if let Some(generation) = generation {
            tape.set_generation(generation);
        }
        outcome(conv, tape, &x, &weights, true)
    };
    let alone = |seed| of(&mut Workspace::default(), None, seed);
    let mut workspace = Workspace::default();
    let mut of = |generation, seed| of(&mut workspace, generation, seed);
    let dx = |outcome: Outcome| outcome.gradients.map(|[dx, _]| dx);
    let [first, second] = [Some(Generation::new()), Some(Generation::new())];
    assert!(of(first, 1) == alone(1) && of(first, 1) == alone(1));
    // A broken promise shows that they are not made again.
    assert!(dx(of(first, 2)) == dx(alone(1)));
    assert!(of(second, 2) == alone(2) && of(None, 3) == alone(3) && of(None, 1) == alone(1));
    assert!(of(second, 2) == alone(2) && of(first, 1) == alone(1));
}

/// The function is linear in weights and in images, and quarters are exact: so are differences.
#[test]
fn gradients_are_differences() {
    let (x, w) = (images(&CONV, 4), weights(5));
    let f = |isa, x: &[f32], w: &[f32]| -> f64 {
        let y = run(isa, &mut Workspace::default(), x, w, false).y;
        y.iter().zip(r(&CONV)).map(|(y, r)| f64::from(y * r)).sum()
    };
    for isa in Isa::available() {
        let outcome = run(isa, &mut Workspace::default(), &x, &w, true);
        let [dx, dw] = outcome.gradients.unwrap();
        for i in (0..x.len()).step_by(101) {
            let [up, down] = [0.25, -0.25].map(|step| {
                let mut x = x.clone();
                x[i] += step;
                f(isa, &x, &w)
            });
            assert_eq!(f64::from(dx[i]), 2.0 * (up - down), "{isa}: value {i}");
        }
        for i in (0..w.len()).step_by(601) {
            let [up, down] = [0.25, -0.25].map(|step| {
                let mut w = w.to_vec();
                w[i] += step;
                f(isa, &x, &w)
            });
            assert_eq!(f64::from(dw[i]), 2.0 * (up - down), "{isa}: weight {i}");
        }
    }
}
