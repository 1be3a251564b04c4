//! Sums of products beside those of the reference, from every start.

use super::{Case, GARBAGE, Guarded};
use crate::common::results_on;
use kernels::{Isa, Layout, Start};
use proptest::prelude::*;
use reference::{assert_close, relu};

/// Sums of products as they should be, and how far rounding may lead from them.
pub struct Sums {
    /// Image by image.
    pub values: Vec<f64>,
    /// The sums of the absolute values of all terms; nothing where sums must be exact.
    pub magnitudes: Option<Vec<f64>>,
    /// By how many ε a term may be off.
    pub roundings: f64,
    /// Whether they are computed in bfloat16, of which there is a path more.
    pub in_bf16: bool,
}

impl Sums {
    /// The paths that compute them, each in its own way.
    fn paths(&self) -> Vec<Isa> {
        if self.in_bf16 { Isa::available_bf16() } else { Isa::available() }
    }

    /// What each sum may be off by when it starts at zero.
    pub fn allowances(&self) -> Vec<f64> {
        let unit = self.roundings * f64::from(f32::EPSILON);
        self.magnitudes.iter().flatten().map(|magnitude| unit * magnitude).collect()
    }

    /// `got` is these sums, each with what it started at, after a ReLU if asked for.
    #[track_caller]
    pub fn assert_close(&self, what: &str, got: &[f32], start: &[f32], activated: bool) {
        let mut expected: Vec<f64> =
            self.values.iter().zip(start).map(|(sum, start)| sum + f64::from(*start)).collect();
        if activated {
            expected = relu(&expected);
        }
        let unit = self.roundings * f64::from(f32::EPSILON);
        assert_close(what, got, &expected, |i| {
            let size = |magnitudes: &Vec<f64>| magnitudes[i] + f64::from(start[i].abs());
            self.magnitudes.as_ref().map_or(0.0, |magnitudes| unit * size(magnitudes))
        });
    }

    /// Runs a kernel that gives these sums as activations of the layout `target`, on every path.
    pub fn check(
        &self,
        what: &str,
        case: &Case,
        target: &Layout,
        (begin, activated): (Begin, bool),
        kernel: impl Fn(Isa, Start<'_>, &mut [f32]),
    ) {
        let what = format!("{what}, start {begin:?}, relu {activated}");
        let layout = case.batch.layout(target);
        let bias = case.values(5, target.channels());
        let started: Vec<f32> = match begin {
            Begin::Zero => vec![0.0; self.values.len()],
            Begin::Bias => {
                let of = |i: usize| bias[i / target.pixels() % target.channels()];
                (0..self.values.len()).map(of).collect()
            }
            Begin::Output => case.values(7, self.values.len()),
        };
        let guarded = Guarded::new(&bias);
        let results = results_on(self.paths(), &what, |isa| {
            let (start, mut y) = match begin {
                Begin::Zero => (Start::Zero, Guarded::poisoned(layout.len())),
                Begin::Bias => (Start::Bias(&guarded), Guarded::poisoned(layout.len())),
                Begin::Output => (Start::Output, case.batch.lanes(target, &started, GARBAGE)),
            };
            kernel(isa, start, &mut y);
            y.assert_unused(&what, &layout);
            case.batch.images(target, &y)
        });
        for (isa, y) in results {
            self.assert_close(&format!("{what}, {isa}"), &y, &started, activated);
        }
    }

    /// Runs a kernel that adds these sums, the gradient of weights, to what is there.
    pub fn check_added(&self, what: &str, case: &Case, kernel: impl Fn(Isa, &mut [f32])) {
        let old = case.values(6, self.values.len());
        let results = results_on(self.paths(), what, |isa| {
            let mut dw = Guarded::new(&old);
            kernel(isa, &mut dw);
            dw.assert_guards(what);
            dw.to_vec()
        });
        for (isa, dw) in results {
            self.assert_close(&format!("{what}, {isa}"), &dw, &old, false);
        }
    }
}

/// The variants of [`Start`], without their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Zero,
    Bias,
    Output,
}

pub const BEGINS: [Begin; 3] = [Begin::Zero, Begin::Bias, Begin::Output];

pub fn begins() -> impl Strategy<Value = Begin> {
    prop::sample::select(&BEGINS[..])
}
