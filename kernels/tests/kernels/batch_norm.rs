//! Batch normalisation against the reference.

use crate::common::{Batch, EPSILON, assert_same_bits, on_every_path, on_every_path_stored};
use crate::smooth::ALL;
use kernels::{
    Activation, BatchNorm, BatchNormGradients, Isa, LANES, Statistics, Store, batch_norm,
    batch_norm_backward, batch_norm_evaluate,
};
use proptest::prelude::*;
use reference::{self, assert_close, uniform, widen};

const STABILISER: f32 = 1e-3;

/// A batch with its parameters.
struct Case {
    batch: Batch,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Case {
    /// Values around 0.5, as far from zero as they are apart.
    fn new(batch: Batch, seed: u64) -> Case {
        let parameter = |seed| uniform::<f32>(batch.layout.channels(), seed);
        let x = batch.uniform(seed).iter().map(|x| x + 0.5).collect();
        Case { batch, x, gamma: parameter(seed + 1), beta: parameter(seed + 2) }
    }

    fn op(&self, activation: Option<Activation>) -> BatchNorm<'_> {
        let Batch { images, layout } = self.batch;
        BatchNorm {
            layout,
            images,
            gamma: &self.gamma,
            beta: &self.beta,
            epsilon: STABILISER,
            activation,
        }
    }

    /// Mean, variance and output in `f64`.
    fn exact(&self) -> reference::BatchNorm<f64> {
        let (gamma, beta) = (widen(&self.gamma), widen(&self.beta));
        let planes = self.batch.planes();
        reference::batch_norm2d(&planes, &widen(&self.x), &gamma, &beta, STABILISER.into())
    }

    /// Mean and variance that the kernel finds, and its output in lanes.
    fn run(&self, isa: Isa, activation: Option<Activation>) -> ([Vec<f32>; 2], Vec<f32>) {
        let channels = self.batch.layout.channels();
        let [mut mean, mut variance] = [(); 2].map(|()| vec![f32::NAN; channels]);
        let mut y = vec![f32::NAN; self.batch.layout.len()];
        let x = self.batch.poisoned(&self.x);
        let statistics = Statistics { mean: &mut mean[..], variance: &mut variance[..] };
        batch_norm(isa, &self.op(activation), &x, statistics, &mut y);
        ([mean, variance], y)
    }

    /// How many roundings lie between a value and its channel's sum.
    fn depth(&self) -> f64 {
        (self.batch.layout.pixels() / 2 + self.batch.layout.blocks() + 12) as f64
    }

    fn channel(&self, i: usize) -> usize {
        i / self.batch.layout.pixels() % self.batch.layout.channels()
    }
}

/// The mean is off by `depth · ε` of the largest value, and with it each deviation; a normalised
/// value by that over the standard deviation and by the relative error of the latter.
fn normalised_error(case: &Case, variance: f64, normalised: f64) -> f64 {
    let inverse = 1.0 / (variance + f64::from(STABILISER)).sqrt();
    case.depth() * EPSILON * 1.5 * inverse * (1.0 + normalised.abs() * (1.0 + inverse))
}

fn batches() -> impl Strategy<Value = Batch> {
    (1..50usize, 1..5usize, 1..13usize, 1..13usize)
        .prop_map(|(images, channels, rows, columns)| Batch::new(images, channels, [rows, columns]))
}

fn activations() -> Vec<Activation> {
    [&ALL[..], &[Activation::Relu, Activation::LeakyRelu(0.1), Activation::Gelu]].concat()
}

proptest! {
    #[test]
    fn training_forward(batch in batches(), seed in 0..1000u64) {
        let case = Case::new(batch, seed);
        let exact = case.exact();
        let channels = batch.layout.channels();
        let depth = case.depth() * EPSILON;
        // Statistics and output side by side, so that both are compared between paths.
        on_every_path(
            2 * channels + batch.layout.len(),
            |isa, all| {
                let ([mean, variance], y) = case.run(isa, None);
                all.copy_from_slice(&[mean, variance, y].concat());
            },
            |path, all| {
                let (mean, rest) = all.split_at(channels);
                let (variance, y) = rest.split_at(channels);
                assert_close(path, mean, &exact.mean, |_| 1.5 * depth);
                assert_close(path, variance, &exact.variance, |c| depth * (exact.variance[c] + 4.5));
                assert_close(path, &batch.rows(y), &exact.y, |i| {
                    let c = case.channel(i);
                    let [gamma, beta] = [case.gamma[c], case.beta[c]].map(f64::from);
                    let normalised = (exact.y[i] - beta) / gamma;
                    let error = normalised_error(&case, exact.variance[c], normalised);
                    gamma.abs() * error + EPSILON * (2.0 * exact.y[i].abs() + beta.abs())
                });
            },
        );
    }

    #[test]
    fn evaluation_forward(batch in batches(), seed in 0..1000u64, relu in any::<bool>()) {
        let case = Case::new(batch, seed);
        let mean = uniform::<f32>(batch.layout.channels(), seed + 3);
        let variance: Vec<f32> = mean.iter().map(|x| x.abs() + 0.1).collect();
        let (planes, [gamma, beta]) = (batch.planes(), [&case.gamma, &case.beta].map(|p| widen(p)));
        let (wide_mean, wide_variance) = (widen(&mean), widen(&variance));
        let mut exact = reference::batch_norm2d_eval(
            &planes,
            &widen(&case.x),
            (&wide_mean, &wide_variance),
            (&gamma, &beta),
            STABILISER.into(),
        );
        if relu {
            exact = reference::relu(&exact);
        }
        let x = batch.poisoned(&case.x);
        on_every_path(
            batch.layout.len(),
            |isa, y| {
                let statistics = Statistics { mean: &mean[..], variance: &variance[..] };
                batch_norm_evaluate(isa, &case.op(relu.then_some(Activation::Relu)), &x, statistics, y);
            },
            // |x − mean| ≤ 2.5, 1/√variance ≤ 3.2, |gamma|, |beta| ≤ 1; four roundings and a sum.
            |path, y| assert_close(path, &batch.rows(y), &exact, |_| 40.0 * EPSILON),
        );
    }

    #[test]
    fn backward(batch in batches(), seed in 0..1000u64) {
        check_backward(&Case::new(batch, seed), seed);
    }

    /// An activation in the same pass is one after it, forward and backward, to the bit.
    #[test]
    fn activations_are_those_after_it(
        batch in batches(), f in prop::sample::select(activations()), seed in 0..1000u64,
        added in any::<bool>(),
    ) {
        let case = Case::new(batch, seed);
        let x = batch.poisoned(&case.x);
        let dy = batch.lanes(&batch.uniform(seed + 3));
        let before = batch.lanes(&batch.uniform(seed + 4));
        for isa in Isa::available() {
            let ([mean, variance], plain) = case.run(isa, None);
            let (_, y) = case.run(isa, Some(f));
            let mut after = vec![f32::NAN; plain.len()];
            kernels::activate(isa, f, &plain, &mut after);
            assert_same_bits(isa.name(), &batch.rows(&y), &batch.rows(&after));
            let mut through = dy.clone();
            kernels::activate_backward(isa, f, &plain, &dy, &mut through, Store::Overwrite);
            let run = |activation, dy: &[f32]| {
                let op = case.op(activation);
                let [mut dgamma, mut dbeta] = [(); 2].map(|()| vec![0.0; batch.layout.channels()]);
                let mut dx = if added { before.clone() } else { vec![f32::NAN; before.len()] };
                let inputs = [x.as_slice(), dy];
                let statistics = Statistics { mean: &mean[..], variance: &variance[..] };
                let store = if added { Store::Accumulate } else { Store::Overwrite };
                let (gamma, beta, x) = (&mut dgamma[..], &mut dbeta[..], &mut dx[..]);
                let gradients = BatchNormGradients { gamma, beta, x, store };
                let mut room = vec![f32::NAN; op.scratch()];
                batch_norm_backward(isa, &op, inputs, statistics, gradients, &mut room);
                [dgamma, dbeta, batch.rows(&dx)].concat()
            };
            assert_same_bits(isa.name(), &run(Some(f), &dy), &run(None, &through));
        }
    }

    #[test]
    fn activations_in_evaluation(
        batch in batches(), f in prop::sample::select(activations()), seed in 0..1000u64,
    ) {
        let case = Case::new(batch, seed);
        let mean = uniform::<f32>(batch.layout.channels(), seed + 3);
        let variance: Vec<f32> = mean.iter().map(|x| x.abs() + 0.1).collect();
        let x = batch.poisoned(&case.x);
        for isa in Isa::available() {
            let run = |activation| {
                let mut y = vec![f32::NAN; batch.layout.len()];
                let statistics = Statistics { mean: &mean[..], variance: &variance[..] };
                batch_norm_evaluate(isa, &case.op(activation), &x, statistics, &mut y);
                y
            };
            let mut after = run(None);
            kernels::activate_in_place(isa, f, &mut after);
            assert_same_bits(isa.name(), &batch.rows(&run(Some(f))), &batch.rows(&after));
        }
    }
}

fn check_backward(case: &Case, seed: u64) {
    let batch = case.batch;
    let (planes, channels) = (batch.planes(), batch.layout.channels());
    let dy = batch.uniform(seed + 3);
    let (gamma, epsilon) = (widen(&case.gamma), STABILISER.into());
    let exact =
        reference::batch_norm2d_backward(&planes, &widen(&case.x), &gamma, epsilon, &widen(&dy));
    let statistics = case.exact();
    // The largest normalised value of a channel bounds all that is computed from them.
    let mut largest = vec![0.0; channels];
    for (i, y) in statistics.y.iter().enumerate() {
        let c = case.channel(i);
        largest[c] = f64::max(largest[c], ((y - f64::from(case.beta[c])) / gamma[c]).abs());
    }
    let error = |c: usize| normalised_error(case, statistics.variance[c], largest[c]);
    let count = (batch.images * batch.layout.pixels()) as f64;
    let before = uniform::<f32>(2 * channels, seed + 4);
    let sums: Vec<f64> = [exact.dgamma.as_slice(), &exact.dbeta].concat();
    let sums: Vec<f64> = sums.iter().zip(&before).map(|(sum, old)| sum + f64::from(*old)).collect();
    let inputs = [batch.poisoned(&case.x), batch.poisoned(&dy)];
    let run = |isa, dx: &mut [f32], store| {
        let ([mean, variance], _) = case.run(isa, None);
        let mut all = before.clone();
        let (gamma, beta) = all.split_at_mut(channels);
        let inputs = [inputs[0].as_slice(), &inputs[1]];
        let statistics = Statistics { mean: &mean[..], variance: &variance[..] };
        let gradients = BatchNormGradients { gamma, beta, x: dx, store };
        batch_norm_backward(isa, &case.op(None), inputs, statistics, gradients, &mut []);
        all
    };
    on_every_path(
        2 * channels,
        |isa, all| {
            let mut dx = vec![f32::NAN; batch.layout.len()];
            all.copy_from_slice(&run(isa, &mut dx, Store::Overwrite));
        },
        |path, all| {
            let rounding = case.depth() * EPSILON;
            let allowance = |i| match i / channels {
                0 => count * (error(i % channels) + rounding * largest[i % channels]) + EPSILON,
                _ => count * rounding + EPSILON,
            };
            assert_close(path, all, &sums, allowance);
        },
    );
    on_every_path_stored(
        batch.layout.len(),
        |isa, dx, store| drop(run(isa, dx, store)),
        |path, dx| {
            assert_close(path, &batch.rows(dx), &exact.dx, |i| {
                let c = case.channel(i);
                let slope = gamma[c] / (statistics.variance[c] + f64::from(STABILISER)).sqrt();
                let along = (1.0 + 2.0 * largest[c]) * error(c)
                    + case.depth() * EPSILON * (2.0 + 2.0 * largest[c] * largest[c]);
                slope.abs() * along
            });
            assert_lanes_without_images_are_zero(&batch, dx);
        },
    );
}

fn assert_lanes_without_images_are_zero(batch: &Batch, dx: &[f32]) {
    let block_len = batch.layout.block_len();
    for (i, dx) in dx.iter().enumerate() {
        let image = i / block_len * LANES + i % LANES;
        let pixel = i / LANES % batch.layout.plane();
        if image >= batch.images && pixel < batch.layout.pixels() {
            assert_eq!(*dx, 0.0, "lane {} of {i}", i % LANES);
        }
    }
}

#[test]
fn a_large_mean_costs_no_digits_of_the_variance() {
    let batch = Batch::new(32, 1, [8, 8]);
    let mut case = Case::new(batch, 1);
    case.x.iter_mut().for_each(|x| *x += 1000.0);
    let exact = case.exact();
    for isa in Isa::available() {
        let ([_, variance], _) = case.run(isa, None);
        // The mean is off by a few times 1000 ε, and the variance by the square of that.
        assert_close(isa.name(), &variance, &exact.variance, |_| 1e-6);
    }
}

#[test]
fn an_image_alone_is_its_own_mean() {
    let case = Case::new(Batch::new(1, 3, [1, 1]), 1);
    for isa in Isa::available() {
        let ([mean, variance], y) = case.run(isa, None);
        assert_eq!((mean, variance), (case.x.clone(), vec![0.0; 3]));
        assert_eq!(case.batch.rows(&y), case.beta);
    }
}

#[test]
#[should_panic(expected = "33 images in room for 32")]
fn images_must_fit() {
    let case = Case::new(Batch::new(32, 1, [1, 1]), 1);
    let op = BatchNorm { images: 33, ..case.op(None) };
    let (x, mut y) = ([0.0; 32], [0.0; 32]);
    let statistics = Statistics { mean: &mut [0.0][..], variance: &mut [0.0][..] };
    batch_norm(Isa::detect(), &op, &x, statistics, &mut y);
}
