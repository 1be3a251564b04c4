//! Dropout: its gradient, and whom its masks follow.

use crate::harness::*;
use autograd::{Tape, Tensor, Var, Workspace};
use kernels::Isa;
use proptest::prelude::*;
use reference::{dropout, dropout_backward, magnitude, widen};

/// An operation of the tape that drops with some probability.
type Drop = fn(&mut Tape<'_>, Var, f32) -> Var;

const VALUES: Drop = |tape, x, p| tape.dropout(x, p);
const CHANNELS: Drop = |tape, x, p| tape.dropout2d(x, p);
const IMAGES: Drop = |tape, x, p| tape.stochastic_depth(x, p);

/// Which values of these images are kept, image by image.
fn masks(seed: u64, epoch: u32, layer: usize, images: &[u32], p: f32) -> Vec<Vec<bool>> {
    masks_of(VALUES, seed, epoch, layer, images, p)
}

fn masks_of(
    drop: Drop,
    seed: u64,
    epoch: u32,
    layer: usize,
    images: &[u32],
    p: f32,
) -> Vec<Vec<bool>> {
    const SHAPE: (usize, [usize; 2]) = (3, [4, 6]);
    let mut workspace = Workspace::default();
    workspace.set_origin(seed, epoch, images.iter().copied());
    let mut tape = Tape::training(Isa::detect(), &mut workspace, &[], images.len());
    let (channels, size) = SHAPE;
    let values = channels * size[0] * size[1];
    let ones = vec![1.0; images.len() * values];
    let x = tape.variable(&Tensor::from_rows(&ones, images.len(), channels, size));
    tape.set_layer(layer);
    let y = drop(&mut tape, x, p);
    tape.value(y).to_rows().chunks(values).map(|v| v.iter().map(|y| *y != 0.0).collect()).collect()
}

proptest! {
    #[test]
    fn dropout_and_its_gradients(
        planes in planes(),
        p in 0.05..0.95f32,
        shared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        // No zeros, so that a zero is a value dropped.
        let case = Case::new(Numbers::Any, seed, &[planes], &[])
            .with_input(0, |x| if x == 0.0 { 1.0 } else { x })
            .shared(shared);
        let (x, rate) = (case.x(0), f64::from(p));
        // Values that share a lot: one, those of a channel, those of an image.
        let channel = planes.pixels();
        let units: [(Drop, usize); 3] = [
            (VALUES, 1),
            (CHANNELS, channel),
            (IMAGES, channel * planes.channels),
        ];
        for (drop, unit) in units {
            case.on_every_path(|tape, x, _| drop(tape, x[0], p), |got| {
                let keep: Vec<bool> = got.y.iter().map(|y| *y != 0.0).collect();
                for together in keep.chunks(unit) {
                    prop_assert!(together.iter().all(|keep| *keep == together[0]));
                }
                let size = |values: Vec<f64>| values.iter().map(|v| v / (1.0 - rate)).collect();
                // 1 − p and its inverse are rounded too; the former by up to ε/2 of one.
                let terms = 2 + (1.0 / (1.0 - rate)) as usize;
                let y = dropout(&x, &keep, rate);
                case.check("y", &got.y, Expected::sums(terms, y, size(case.abs_x(0))))?;
                let dx = dropout_backward(&keep, rate, &widen(&got.r));
                case.check_dx(0, got, Expected::sums(terms, dx, size(magnitude(&got.r))))
            })?;
        }
    }

    /// An image has one mask, wherever in whatever batch it is.
    #[test]
    fn masks_follow_images(
        images in prop::collection::vec(0..60_000u32, 1..40),
        others in prop::collection::vec(0..60_000u32, 0..40),
        seed in any::<u64>(),
    ) {
        for drop in [VALUES, CHANNELS, IMAGES] {
            let of = |list: &[u32]| masks_of(drop, seed, 7, 2, list, 0.5);
            let own = of(&images);
            let backwards: Vec<u32> = images.iter().rev().copied().collect();
            prop_assert!(of(&backwards).iter().eq(own.iter().rev()));
            let shifted = [&others[..], &images].concat();
            prop_assert_eq!(&of(&shifted)[others.len()..], &own[..]);
        }
    }
}

#[test]
fn masks_differ_by_image_epoch_layer_and_seed() {
    let mask = |seed, epoch, layer, image| masks(seed, epoch, layer, &[image], 0.5).remove(0);
    let one = mask(1, 0, 4, 17);
    for other in [mask(2, 0, 4, 17), mask(1, 1, 4, 17), mask(1, 0, 5, 17), mask(1, 0, 4, 18)] {
        // 72 fair coins: 10 to 62 of them agree, but for once in a billion.
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!((10..=62).contains(&same), "{same}");
    }
}

/// The share of values dropped is `p`, overall and at each place, within five deviations.
#[test]
fn the_rate_is_right() {
    let images: Vec<u32> = (0..5000).collect();
    for p in [0.1, 0.25, 0.5, 0.9] {
        let masks = masks(11, 0, 0, &images, p);
        let (values, rate) = (masks[0].len(), f64::from(p));
        let within = |dropped: usize, n: usize| {
            let (mean, variance) = (n as f64 * rate, n as f64 * rate * (1.0 - rate));
            (dropped as f64 - mean).abs() < 5.0 * variance.sqrt()
        };
        let all = masks.iter().flatten().filter(|keep| !**keep).count();
        assert!(within(all, 5000 * values), "{p}: {all} of {}", 5000 * values);
        for place in 0..values {
            let dropped = masks.iter().filter(|mask| !mask[place]).count();
            assert!(within(dropped, 5000), "{p}: {dropped} of 5000 at {place}");
        }
    }
}

/// A channel, or an image, is dropped with the probability asked for, within five deviations.
#[test]
fn the_rate_of_channels_and_images_is_right() {
    let images: Vec<u32> = (0..8000).collect();
    for p in [0.1, 0.5, 0.9] {
        for (drop, lots) in [(CHANNELS, 3), (IMAGES, 1)] {
            let masks = masks_of(drop, 11, 0, 0, &images, p);
            let dropped = |lot: usize| masks.iter().filter(|m| !m[lot * m.len() / lots]).count();
            let (n, rate) = (images.len() as f64, f64::from(p));
            for lot in 0..lots {
                let error = (dropped(lot) as f64 - n * rate).abs();
                assert!(error < 5.0 * (n * rate * (1.0 - rate)).sqrt(), "{p}: {error}, {lot}");
            }
        }
    }
}

#[test]
fn all_nothing_and_evaluation() {
    let ones = Tensor::from_rows(&[1.0; 20], 20, 1, [1, 1]);
    let mut workspace = Workspace::default();
    workspace.set_origin(1, 0, 0..20);
    let mut tape = Tape::training(Isa::detect(), &mut workspace, &[], 20);
    let x = tape.variable(&ones);
    assert_eq!(tape.dropout(x, 0.0), x);
    let nothing = tape.dropout(x, 1.0);
    assert_eq!(tape.value(nothing).to_rows(), [0.0; 20]);

    let mut tape = Tape::evaluation(Isa::detect(), &mut workspace, &[]);
    let x = tape.variable(&ones);
    assert_eq!(tape.dropout(x, 0.5), x);
}

#[test]
#[should_panic(expected = "dropout must know the images")]
fn masks_need_images() {
    let mut workspace = Workspace::default();
    workspace.set_origin(1, 0, 0..19);
    let mut tape = Tape::training(Isa::detect(), &mut workspace, &[], 20);
    let x = tape.variable(&Tensor::zeros(20, 1, [1, 1]));
    tape.dropout(x, 0.5);
}
