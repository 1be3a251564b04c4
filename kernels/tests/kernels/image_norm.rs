//! Norms of single images against the reference.

use crate::common::{Batch, EPSILON, assert_same_bits, on_every_path, on_every_path_stored};
use kernels::{ImageNorm, ImageNormGradients, Isa, LANES, NormSets, Store, image_norm};
use proptest::prelude::*;
use reference::{self, assert_close, uniform, widen};

/// √ε is a deviation of 0.1 at least: normalised values, and what is made of them, stay below 10.
const STABILISER: f32 = 0.01;

#[derive(Debug)]
struct Case {
    batch: Batch,
    sets: NormSets,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Case {
    fn op(&self) -> ImageNorm<'_> {
        let Batch { images, layout } = self.batch;
        let (gamma, beta, epsilon) = (&self.gamma, &self.beta, STABILISER);
        ImageNorm { layout, images, sets: self.sets, gamma, beta, epsilon }
    }

    /// The statistics that the kernel keeps, and its output in lanes.
    fn run(&self, isa: Isa) -> (Vec<f32>, Vec<f32>) {
        let op = self.op();
        let mut statistics = vec![f32::NAN; op.statistics()];
        let mut y = vec![f32::NAN; self.batch.layout.len()];
        image_norm(isa, &op, &self.batch.poisoned(&self.x), &mut statistics, &mut y);
        (statistics, y)
    }

    /// Values of a set.
    fn count(&self) -> usize {
        let layout = &self.batch.layout;
        match self.sets {
            NormSets::Groups(groups) => layout.channels() / groups * layout.pixels(),
            NormSets::Pixels => layout.channels(),
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sets = prop_oneof![
        (1..=5usize, 1..=5usize)
            .prop_map(|(groups, each)| (groups * each, NormSets::Groups(groups))),
        (1..=40usize).prop_map(|channels| (channels, NormSets::Pixels)),
    ];
    let shape = (1..50usize, sets, [1..9usize, 1..9usize]);
    (shape, 0..3usize, 0..1000u64).prop_map(|((images, (channels, sets), size), each, seed)| {
        let batch = Batch::new(images, channels, size);
        let parameters = [0, channels, channels * batch.layout.pixels()][each];
        let [gamma, beta] = [1, 2].map(|stream| uniform(parameters, seed + stream));
        Case { batch, sets, x: batch.uniform(seed), gamma, beta }
    })
}

proptest! {
    #[test]
    fn forward(case in cases()) {
        let (gamma, beta) = (widen(&case.gamma), widen(&case.beta));
        let (planes, epsilon) = (case.batch.planes(), STABILISER.into());
        let exact =
            reference::image_norm(&planes, case.sets, &widen(&case.x), (&gamma, &beta), epsilon);
        let depth = (case.count() / 2 + 12) as f64;
        on_every_path(
            case.batch.layout.len(),
            |isa, y| y.copy_from_slice(&case.run(isa).1),
            |path, y| {
                assert_close(path, &case.batch.rows(y), &exact, |_| 100.0 * depth * EPSILON);
            },
        );
    }

    #[test]
    fn backward(case in cases(), seed in 0..1000u64) {
        let (batch, parameters) = (case.batch, case.gamma.len());
        let (gamma, beta) = (widen(&case.gamma), widen(&case.beta));
        let dy = batch.uniform(seed + 3);
        let exact = reference::image_norm_backward(
            &batch.planes(), case.sets, &widen(&case.x), (&gamma, &beta), STABILISER.into(), &widen(&dy),
        );
        let before = uniform::<f32>(2 * parameters, seed + 4);
        let sums = [exact.dgamma.as_slice(), &exact.dbeta].concat();
        let sums: Vec<f64> = sums.iter().zip(&before).map(|(sum, old)| sum + f64::from(*old)).collect();
        let inputs = [batch.poisoned(&case.x), batch.poisoned(&dy)];
        let run = |isa, x: Option<(&mut [f32], Store)>| {
            let (statistics, _) = case.run(isa);
            let mut all = before.clone();
            let (gamma, beta) = all.split_at_mut(parameters);
            let inputs = [inputs[0].as_slice(), &inputs[1]];
            let to = ImageNormGradients { gamma, beta, x };
            kernels::image_norm_backward(isa, &case.op(), inputs, &statistics, to);
            all
        };
        let depth = (case.count() / 2 + 12) as f64 * EPSILON;
        on_every_path(
            2 * parameters,
            |isa, all| {
                let mut dx = vec![f32::NAN; batch.layout.len()];
                all.copy_from_slice(&run(isa, Some((&mut dx, Store::Overwrite))));
                // Without the gradient of the input, the same sums.
                assert_same_bits(isa.name(), all, &run(isa, None));
            },
            |path, all| {
                let terms = (case.x.len() / parameters.max(1)) as f64;
                assert_close(path, all, &sums, |_| 100.0 * terms * (depth + terms * EPSILON));
            },
        );
        on_every_path_stored(
            batch.layout.len(),
            |isa, dx, store| drop(run(isa, Some((dx, store)))),
            |path, dx| {
                assert_close(path, &batch.rows(dx), &exact.dx, |_| 1000.0 * depth);
                let block = batch.layout.block_len();
                for (i, dx) in dx.iter().enumerate() {
                    let image = i / block * LANES + i % LANES;
                    let used = i / LANES % batch.layout.plane() < batch.layout.pixels();
                    assert!(image < batch.images || !used || *dx == 0.0, "{path}: {i}");
                }
            },
        );
    }

    /// An image has one result, wherever in whatever batch it is.
    #[test]
    fn images_are_each_by_themselves(case in cases()) {
        let (layout, images) = (case.batch.layout, case.batch.images);
        let values = layout.channels() * layout.pixels();
        let alone = Batch::new(1, layout.channels(), layout.size());
        for isa in Isa::available() {
            let together = case.batch.rows(&case.run(isa).1);
            let x = case.x[(images - 1) * values..].to_vec();
            let last = Case { batch: alone, x, gamma: case.gamma.clone(), beta: case.beta.clone(), ..case };
            let y = alone.rows(&last.run(isa).1);
            assert_same_bits(isa.name(), &together[(images - 1) * values..], &y);
        }
    }
}

#[test]
#[should_panic(expected = "5 channels in 2 groups")]
fn groups_must_divide_the_channels() {
    let batch = Batch::new(1, 5, [1, 1]);
    let sets = NormSets::Groups(2);
    Case { batch, sets, x: vec![0.0; 5], gamma: vec![], beta: vec![] }.run(Isa::detect());
}
