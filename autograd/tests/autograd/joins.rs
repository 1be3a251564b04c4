//! What joins several values: sums of any number, channels side by side, planes times a value each.

use crate::harness::*;
use autograd::{Tape, Tensor, Workspace};
use kernels::{Cores, Isa, Team};
use proptest::prelude::*;
use reference::*;

proptest! {
    #[test]
    fn sums_of_three_and_their_gradients(
        planes in planes(),
        numbers in numbers(),
        relu in any::<bool>(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(numbers, seed, &[planes; 3], &[]).shared(shared);
        let sum = |x: [Vec<f64>; 3]| add(&add(&x[0], &x[1]), &x[2]);
        let exact = sum([0, 1, 2].map(|i| case.x(i)));
        let y: Vec<f64> = exact.iter().map(|y| if relu { y.max(0.0) } else { *y }).collect();
        let expected = Expected::sums(2, y, sum([0, 1, 2].map(|i| case.abs_x(i))));
        case.on_every_path(|tape, x, _| tape.add_all(x, relu), |got| {
            case.check("sum", &got.y, expected.clone())?;
            let dx = widen(&through_relu(relu, got));
            (0..3).try_for_each(|i| case.check_dx(i, got, Expected::exactly(dx.clone())))
        })?;
    }

    #[test]
    fn concatenation_and_its_gradients(
        planes in planes(),
        channels in [1..=5usize, 1..=5usize],
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let all = [planes, Planes { channels: channels[0], ..planes }, Planes { channels: channels[1], ..planes }];
        let case = Case::new(numbers, seed, &all, &[]).shared(shared);
        let y = concat(planes.images, &[0, 1, 2].map(|i| case.x(i)));
        let lengths = all.map(|p| p.channels * p.pixels());
        case.on_every_path(|tape, x, _| tape.concat(x), |got| {
            case.check("y", &got.y, Expected::exactly(y.clone()))?;
            let dx = concat_backward(&lengths, &widen(&got.r));
            dx.into_iter().enumerate().try_for_each(|(i, dx)| {
                case.check_dx(i, got, Expected::exactly(dx))
            })
        })?;
    }

    #[test]
    fn planes_times_a_value_each_and_their_gradients(
        planes in planes(),
        numbers in numbers(),
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let factors = features(planes.images, planes.channels);
        let case = Case::new(numbers, seed, &[planes, factors], &[]).shared(shared);
        let pixels = planes.pixels();
        let y = scale_planes(pixels, &case.x(0), &case.x(1));
        let size = scale_planes(pixels, &case.abs_x(0), &case.abs_x(1));
        let expected = Expected::sums(1, y, size);
        case.on_every_path(|tape, x, _| tape.scale_planes(x[0], x[1]), |got| {
            case.check("y", &got.y, expected.clone())?;
            let back = |x: &[f64], s: &[f64], r: &[f64]| scale_planes_backward(pixels, x, s, r);
            let (dx, ds) = back(&case.x(0), &case.x(1), &widen(&got.r));
            let (size_x, size_s) = back(&case.abs_x(0), &case.abs_x(1), &magnitude(&got.r));
            case.check_dx(0, got, Expected::sums(1, dx, size_x))?;
            case.check_dx(1, got, Expected::sums(pixels, ds, size_s))
        })?;
    }
}

/// A team whose parts are done from the last to the first.
struct Backwards(usize);

// SAFETY: each number is called once, and all calls have returned at the end.
unsafe impl Team for Backwards {
    fn size(&self) -> usize {
        self.0
    }

    fn most(&self) -> usize {
        self.0
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        assert!(parts <= self.0, "{parts} parts by {}", self.0);
        (0..parts).rev().for_each(part);
    }
}

/// Joins in parts have the bits of joins whole: values and gradients.
#[test]
fn parts_are_the_whole() {
    let [rows, columns] = [13, 16];
    let x = |channels: usize, seed| {
        let values: Vec<f32> = uniform(33 * channels * rows * columns, seed);
        Tensor::from_rows(&values, 33, channels, [rows, columns])
    };
    let (a, b) = (x(7, 1), x(7, 2));
    let run = |cores: Cores<'_>| {
        let mut workspace = Workspace::default();
        let mut tape = Tape::training(cores, &mut workspace, &[], 33);
        let [a, b] = [&a, &b].map(|x| tape.variable(x));
        let sum = tape.add_all(&[a, b, a], true);
        let factors = tape.global_avg_pool2d(b);
        let scaled = tape.scale_planes(a, factors);
        let all = tape.concat(&[sum, a, scaled, b]);
        let product = tape.mul(all, all);
        let loss = tape.sum(product);
        tape.backward(loss, &mut []);
        let gradients = [a, b].map(|x| tape.gradient(x).expect("a gradient").to_rows());
        [tape.value(all).to_rows(), gradients.concat()].concat()
    };
    for isa in Isa::available() {
        let whole = run(isa.into());
        for size in [2, 3, 7, 16] {
            let parts = run(Cores::new(isa, &Backwards(size)));
            let same = whole.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{size} parts on {isa}");
        }
    }
}
