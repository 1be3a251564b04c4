//! Batch normalisation.
//!
//! How exact it can be: let `n` be the values per channel, `X` the largest of them and `s` the
//! deviation that divides them. The mean is a sum of `n` terms, so it is off by up to `n · ε · X`,
//! and with it every deviation from the mean; the variance, a sum of their squares, is off by `n · ε`
//! of itself and by the square of the error of the mean. So with `u = n · ε · (1 + X / s)`, and while
//! `u` is below one, normalised values `x̂` are off by `3 · u · (1 + |x̂|)`, give or take a few `ε`.

use crate::harness::*;
use autograd::{BatchNorm, ImageNorm, Param, Tape, Tensor, Workspace};
use kernels::{Activation, Isa, NormSets};
use proptest::prelude::*;
use reference::*;

fn norm(p: &[Param], epsilon: f32) -> BatchNorm {
    let [weight, bias, mean, variance, batches] = [p[0], p[1], p[2], p[3], p[4]];
    BatchNorm { weight, bias, mean, variance, batches, epsilon, share: 1.0 }
}

fn relu_if(relu: bool) -> Option<Activation> {
    relu.then_some(Activation::Relu)
}

/// The definition, with what the bounds above need.
struct Exact {
    planes: Planes,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    epsilon: f64,
    x: Vec<f64>,
    normalised: Vec<f64>,
    variance: Vec<f64>,
    mean: Vec<f64>,
    /// The largest value of each channel.
    largest: Vec<f64>,
}

impl Exact {
    fn new(planes: Planes, x: Vec<f64>, gamma: Vec<f64>, beta: Vec<f64>, epsilon: f32) -> Exact {
        let epsilon = f64::from(epsilon);
        let [ones, zeros] = [1.0, 0.0].map(|v| vec![v; planes.channels]);
        let found = reference::batch_norm2d(&planes, &x, &ones, &zeros, epsilon);
        let (normalised, variance, mean) = (found.y, found.variance, found.mean);
        let mut largest = vec![0.0; planes.channels];
        for (i, x) in x.iter().enumerate() {
            let most: &mut f64 = &mut largest[i / planes.pixels() % planes.channels];
            *most = most.max(x.abs());
        }
        Exact { planes, gamma, beta, epsilon, x, normalised, variance, mean, largest }
    }

    fn channel(&self, i: usize) -> usize {
        i / self.planes.pixels() % self.planes.channels
    }

    fn count(&self) -> usize {
        self.planes.images * self.planes.pixels()
    }

    fn deviation(&self, channel: usize) -> f64 {
        (self.variance[channel] + self.epsilon).sqrt()
    }

    /// `1 + X / s`.
    fn condition(&self, channel: usize) -> f64 {
        1.0 + self.largest[channel] / self.deviation(channel)
    }

    /// The mean over a channel of `f` of each place.
    fn mean_of(&self, channel: usize, f: impl Fn(usize) -> f64) -> f64 {
        let own = (0..self.x.len()).filter(|i| self.channel(*i) == channel);
        own.map(f).sum::<f64>() / self.count() as f64
    }

    fn y(&self, relu: bool) -> Expected {
        let Exact { gamma, beta, .. } = self;
        let y = batch_norm2d(&self.planes, &self.x, gamma, beta, self.epsilon).y;
        let y = if relu { reference::relu(&y) } else { y };
        let size = |(i, x): (usize, &f64)| {
            let c = self.channel(i);
            self.condition(c) * (gamma[c].abs() * (1.0 + x.abs()) + beta[c].abs())
        };
        let size = self.normalised.iter().enumerate().map(size).collect();
        Expected::sums(4 * self.count(), y, size)
    }

    fn gradients(&self, dy: &[f64]) -> [Expected; 3] {
        let BatchNormGradients { dx, dgamma, dbeta } =
            batch_norm2d_backward(&self.planes, &self.x, &self.gamma, self.epsilon, dy);
        let (n, channels) = (self.count(), 0..self.planes.channels);
        // The terms of Σ dy · x̂, each with the error of its x̂.
        let weight = |i: usize| dy[i].abs() * (1.0 + self.normalised[i].abs());
        let means: Vec<f64> = channels.clone().map(|c| self.mean_of(c, weight)).collect();
        let size_dx = |i: usize| {
            let c = self.channel(i);
            let slope = self.gamma[c].abs() / self.deviation(c);
            let spread = (1.0 + self.normalised[i].abs()) * means[c];
            slope * self.condition(c) * (dy[i].abs() + spread)
        };
        let size_dx = (0..dx.len()).map(size_dx).collect();
        let size_dgamma =
            channels.clone().map(|c| self.condition(c) * means[c] * n as f64).collect();
        let size_dbeta = channels.map(|c| means[c] * n as f64).collect();
        [
            Expected::sums(8 * n, dx, size_dx),
            Expected::sums(4 * n, dgamma, size_dgamma),
            Expected::sums(n, dbeta, size_dbeta),
        ]
    }

    /// The shares of mean and unbiased variance of a batch of which this is a part.
    fn statistics(&self, batch: usize) -> [Expected; 2] {
        let share = self.planes.images as f64 / batch as f64;
        let n = self.count();
        let unbiased = share * n as f64 / (n.max(2) - 1) as f64;
        let of = |values: &[f64], factor: f64| values.iter().map(|v| factor * v).collect();
        let size = |power| move |c: usize| self.largest[c].powi(power) * share * 2.0;
        let channels = 0..self.planes.channels;
        [
            Expected::sums(n + 2, of(&self.mean, share), channels.clone().map(size(1)).collect()),
            Expected::sums(4 * n, of(&self.variance, unbiased), channels.map(size(2)).collect()),
        ]
    }
}

proptest! {
    #[test]
    fn batch_norm2d_and_its_gradients(
        planes in planes(),
        epsilon in prop::sample::select(vec![1e-5f32, 1e-3, 0.5]),
        mean in -1.5..1.5f32,
        others in 0..40usize,
        [relu, shared] in any::<[bool; 2]>(),
        seed in any::<u64>(),
    ) {
        let batch = planes.images + others;
        let c = planes.channels;
        let case = Case::new(Numbers::Any, seed, &[planes], &[c, c, c, c, 1])
            .with_input(0, |x| x + mean)
            .shared(shared)
            .batch(batch);
        let exact = Exact::new(planes, case.x(0), case.p(0), case.p(1), epsilon);
        let y = exact.y(relu);
        case.on_every_path(
            |tape, x, p| tape.batch_norm2d(x[0], norm(p, epsilon), relu_if(relu)),
            |got| {
                case.check("y", &got.y, y.clone())?;
                let [dx, dgamma, dbeta] = exact.gradients(&widen(&through_relu(relu, got)));
                case.check_dx(0, got, dx)?;
                case.check_dp(0, got, dgamma)?;
                case.check_dp(1, got, dbeta)?;
                let [mean, variance] = exact.statistics(batch);
                case.check_dp(2, got, mean)?;
                case.check_dp(3, got, variance)?;
                // Its share of the one batch.
                let share = planes.images as f64 / batch as f64;
                case.check_dp(4, got, Expected::sums(1, vec![share], vec![share]))
            },
        )?;
    }

    /// A tape that does not record takes the running statistics.
    #[test]
    fn evaluation_uses_running_statistics(
        planes in planes(),
        relu in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let c = planes.channels;
        let x: Vec<f32> = uniform(planes.len(), seed);
        let mut flat: Vec<f32> = uniform(4 * c, seed ^ 1);
        flat[3 * c..].iter_mut().for_each(|variance| *variance = variance.abs() + 0.1);
        let params = [0, 1, 2, 3, 4].map(|i| Param { offset: i * c, len: if i < 4 { c } else { 0 } });
        let [gamma, beta, mean, variance, _] = params.map(|p| widen(p.of(&flat)));
        let statistics = (&mean[..], &variance[..]);
        let line = (&gamma[..], &beta[..]);
        let mut y = batch_norm2d_eval(&planes, &widen(&x), statistics, line, 1e-5);
        if relu {
            y = reference::relu(&y);
        }
        for isa in Isa::available() {
            let mut workspace = Workspace::default();
            let mut tape = Tape::evaluation(isa, &mut workspace, &flat);
            let input = Tensor::from_rows(&x, planes.images, planes.channels, planes.size);
            let input = tape.variable(&input);
            let out = tape.batch_norm2d(input, norm(&params, 1e-5), relu_if(relu));
            // x and mean below 1, a deviation of at least √0.1: values up to 2/√0.1 · γ, and β.
            compare(&tape.value(out).to_rows(), &y, |_| 8.0 * f64::from(f32::EPSILON) * 7.4)?;
        }
    }
}

/// Planes, the sets of a norm of theirs, and how many parameters it has.
fn norms() -> impl Strategy<Value = (Planes, NormSets, usize)> {
    let sets = prop_oneof![
        (1..=3usize, 1..=3usize)
            .prop_map(|(groups, each)| (groups * each, NormSets::Groups(groups))),
        (2..=20usize).prop_map(|channels| (channels, NormSets::Pixels)),
    ];
    (images(), sets, [1..=6usize, 1..=6usize], 0..3usize).prop_map(
        |(images, (channels, sets), size, each)| {
            let planes = Planes { images, channels, size };
            (planes, sets, [0, channels, channels * planes.pixels()][each])
        },
    )
}

proptest! {
    /// With a deviation of at least √ε = 0.1 and values below 1, normalised values are below 10, and off by some roundings
    /// of a hundred.
    #[test]
    fn image_norms_and_their_gradients(
        (planes, sets, parameters) in norms(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(Numbers::Any, seed, &[planes], &[parameters, parameters]).shared(shared);
        let (x, gamma, beta) = (case.x(0), case.p(0), case.p(1));
        let (both, epsilon) = ((&gamma[..], &beta[..]), 0.01);
        let y = image_norm(&planes, sets, &x, both, epsilon);
        let n = match sets {
            NormSets::Groups(groups) => planes.channels / groups * planes.pixels(),
            NormSets::Pixels => planes.channels,
        };
        let size = |len: usize, each: f64| vec![each; len];
        let y = Expected::sums(4 * n + 8, y, size(planes.len(), 100.0));
        case.on_every_path(
            |tape, x, p| {
                let norm = ImageNorm { sets, weight: p[0], bias: p[1], epsilon: 0.01 };
                tape.image_norm(x[0], norm)
            },
            |got| {
                case.check("y", &got.y, y.clone())?;
                let ImageNormGradients { dx, dgamma, dbeta } =
                    image_norm_backward(&planes, sets, &x, both, epsilon, &widen(&got.r));
                case.check_dx(0, got, Expected::sums(8 * n + 8, dx, size(planes.len(), 1000.0)))?;
                let each = planes.len() / parameters.max(1);
                let sums = |sums, unit: f64| Expected::sums(4 * n + each, sums, size(parameters, each as f64 * unit));
                case.check_dp(0, got, sums(dgamma, 100.0))?;
                case.check_dp(1, got, sums(dbeta, 1.0))
            },
        )?;
    }

    /// Without scale and shift a batch norm has the bits of one with ones and zeros.
    #[test]
    fn batch_norm_without_parameters(planes in planes(), relu in any::<bool>(), seed in any::<u64>()) {
        let c = planes.channels;
        let plain = Case::new(Numbers::Any, seed, &[planes], &[0, 0, c, c, 1]);
        let with = plain.clone().with_parameters(&[vec![1.0; c], vec![0.0; c]]);
        for isa in Isa::available() {
            let run = |case: &Case| {
                case.run(isa, &|tape: &mut Tape<'_>, x: &[_], p: &[Param]| {
                    tape.batch_norm2d(x[0], norm(p, 1e-3), relu_if(relu))
                })
            };
            let (plain, with) = (run(&plain), run(&with));
            prop_assert_eq!(&plain.y, &with.y);
            prop_assert_eq!(&plain.dx, &with.dx);
            prop_assert_eq!(&plain.dp[2..], &with.dp[2..]);
        }
    }
}
