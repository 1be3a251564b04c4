//! Changes beside a pixel at a time, choices beside their probabilities, and training on changed
//! images beside training on images that were changed before.

use super::*;
use crate::{Trainer, Workers};
use dataset::{Dataset, Source};
use kernels::Isa;
use model::{flatten, layers, linear};
use proptest::prelude::*;
use std::path::Path;

fn recipe(settings: &[(&str, &str)]) -> Recipe {
    let settings = settings.iter().map(|&(field, value)| (field.to_owned(), value.to_owned()));
    Recipe::load("paper", &settings.collect::<Vec<_>>()).unwrap()
}

fn augmentation(settings: &[(&str, &str)], shape: [usize; 3]) -> Augmentation {
    Augmentation::new(&recipe(settings), shape, &[0.3, 0.5, 0.7])
}

/// What becomes of an image, pixel by pixel.
fn naive(augmentation: &Augmentation, change: &Change, from: &[u8]) -> Vec<u8> {
    let [channels, height, width] = augmentation.shape;
    let mut to = vec![];
    for y in 0..height {
        for x in 0..width {
            let inside = |r: &Rectangle| {
                (r.top..r.top + r.height).contains(&y) && (r.left..r.left + r.width).contains(&x)
            };
            let row = y as isize - change.down;
            let column = if change.flip { width - 1 - x } else { x } as isize - change.right;
            for c in 0..channels {
                let outside =
                    !(0..height as isize).contains(&row) || !(0..width as isize).contains(&column);
                to.push(if change.erased.as_ref().is_some_and(inside) {
                    augmentation.colour[c]
                } else if outside {
                    0
                } else {
                    from[(row as usize * width + column as usize) * channels + c]
                });
            }
        }
    }
    to
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i * 31 + i * 7 + 1) as u8).collect()
}

proptest! {
    #[test]
    fn every_change_is_that_of_a_pixel_at_a_time(
        channels in 1..5usize,
        height in 1..14usize,
        width in 1..34usize,
        shift in prop_oneof![Just(0), 1..4usize, Just(40), Just(1024)],
        flip in prop_oneof![Just(0.0), Just(1.0), Just(0.5)],
        erase in prop_oneof![Just(0.0), Just(1.0)],
        areas in prop::array::uniform2(0.001..=1.0f64),
        seed in 0..1u64 << 63,
        epoch: u32,
        first: u32,
    ) {
        let [a, b] = areas;
        let augmentation = augmentation(
            &[
                ("seed", &seed.to_string()),
                ("augment.shift", &shift.to_string()),
                ("augment.flip", &flip.to_string()),
                ("augment.erase", &erase.to_string()),
                ("augment.erase_area", &format!("[{:?}, {:?}]", a.min(b), a.max(b))),
            ],
            [channels, height, width],
        );
        let off = shift == 0 && flip == 0.0 && erase == 0.0;
        prop_assert_eq!(augmentation.is_identity(), off);
        let from = noise(channels * height * width);
        for image in (0..20).map(|i| first.wrapping_add(i)) {
            let change = augmentation.choose(epoch, image);
            prop_assert!(change.down.unsigned_abs() <= shift, "{change:?}");
            prop_assert!(change.right.unsigned_abs() <= shift, "{change:?}");
            let mut to = vec![99; from.len()];
            augmentation.apply(epoch, image, &mut from.clone(), &mut to);
            prop_assert_eq!(&to, &naive(&augmentation, &change, &from), "{:?}", change);
            prop_assert!(!off || to == from);
        }
    }
}

/// Whether so many of `all` are as many as a probability says, within five standard deviations.
fn assert_frequency(count: usize, all: usize, probability: f64, what: &str) {
    let expected = all as f64 * probability;
    let deviation = (expected * (1.0 - probability)).sqrt();
    let close = (count as f64 - expected).abs() < 5.0 * deviation;
    assert!(close, "{what}: {count} instead of {expected} ± {deviation}");
}

#[test]
fn choices_are_as_frequent_as_the_recipe_says() {
    let settings = [("augment.shift", "3"), ("augment.flip", "0.3"), ("augment.erase", "0.2")];
    let augmentation = augmentation(&settings, [1, 28, 28]);
    let all = 40_000;
    // Half of them another epoch's.
    let changes = (0..all).map(|i| augmentation.choose(i / 20_000, i % 20_000));
    let changes: Vec<_> = changes.collect();
    let count = |wanted: &dyn Fn(&Change) -> bool| changes.iter().filter(|c| wanted(c)).count();
    let all = all as usize;
    assert_frequency(count(&|c| c.flip), all, 0.3, "flips");
    assert_frequency(count(&|c| c.erased.is_some()), all, 0.2, "erasures");
    assert_frequency(count(&|c| c.flip && c.erased.is_some()), all, 0.06, "both");
    for down in -3..=3 {
        for right in -3..=3 {
            let found = count(&|c| (c.down, c.right) == (down, right));
            assert_frequency(found, all, 1.0 / 49.0, &format!("shifts by {down}, {right}"));
        }
    }
}

/// Area and logarithm of the ratio uniform, and the place too: their means, within five standard
/// deviations. No such rectangle is larger than the image, so none is drawn again.
#[test]
fn rectangles_are_uniform() {
    let settings = [("augment.erase", "1"), ("augment.erase_area", "[0.1, 0.2]")];
    let augmentation = augmentation(&settings, [1, 1000, 900]);
    let all = 10_000;
    let mut sums = [0.0; 4];
    for image in 0..all {
        let r = augmentation.choose(0, image).erased.unwrap();
        let [top, left, height, width] = [r.top, r.left, r.height, r.width].map(|n| n as f64);
        let (area, ratio) = (height * width / 900_000.0, height / width);
        assert!((0.099..0.201).contains(&area), "{r:?}");
        assert!((0.295..3.35).contains(&ratio), "{r:?}");
        let ratio = (ratio / 0.3).ln() / (3.3f64 / 0.3).ln();
        let parts = [(area - 0.1) / 0.1, ratio, top / (1000.0 - height), left / (900.0 - width)];
        sums = std::array::from_fn(|i| sums[i] + parts[i]);
    }
    for sum in sums {
        let (mean, deviation) = (sum / f64::from(all), (1.0 / 12.0 / f64::from(all)).sqrt());
        // Sides are rounded to whole pixels, which moves a mean by less than 0.001.
        assert!((mean - 0.5).abs() < 5.0 * deviation + 0.001, "{sums:?}");
    }
}

#[test]
fn choices_depend_on_seed_epoch_and_image() {
    let settings = [("augment.shift", "100"), ("augment.erase", "0.5")];
    let changes = |seed: &str, epoch: u32, first: u32| -> Vec<Change> {
        let augmentation = augmentation(&[&settings[..], &[("seed", seed)]].concat(), [3, 28, 28]);
        (first..first + 10).map(|image| augmentation.choose(epoch, image)).collect()
    };
    let some = changes("1", 0, 0);
    assert_eq!(some, changes("1", 0, 0));
    assert_eq!(some[5..], changes("1", 0, 5)[..5]);
    for others in [changes("2", 0, 0), changes("1", 1, 0), changes("1", 0, 10)] {
        assert!(some.iter().zip(&others).all(|(a, b)| a != b), "{some:?} {others:?}");
    }
}

/// Three channels of six images of 5 × 4 pixels.
const SHAPE: [usize; 3] = [3, 5, 4];

fn write(directory: &Path, images: &[Vec<u8>]) -> Dataset {
    let count = images.len() as u8;
    let header = [0, 0, 8, 4, 0, 0, 0, count, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 3];
    let images = [&header[..], &images.concat()].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, count][..], &[0, 1, 2, 1, 0, 1]].concat();
    std::fs::write(directory.join("train-images-idx4-ubyte"), images).unwrap();
    std::fs::write(directory.join("train-labels-idx1-ubyte"), labels).unwrap();
    Dataset::open(&Source::new(directory)).unwrap()
}

/// A step sees the images as they are changed, whatever the batch they are in and their order.
#[test]
fn training_sees_the_changed_images() {
    let settings = [
        ("data.validation", "none"),
        ("augment.shift", "1"),
        ("augment.flip", "0.5"),
        ("augment.erase", "0.5"),
    ];
    let recipe = recipe(&settings);
    let plain = Recipe { augment: Default::default(), ..recipe.clone() };
    let augmentation = Augmentation::new(&recipe, SHAPE, &[0.5]);
    let images: Vec<_> = (0..6).map(|i| noise(66 + i).split_off(6 + i)).collect();
    let changed: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(i, image)| naive(&augmentation, &augmentation.choose(0, i as u32), image))
        .collect();
    let directories = [(); 2].map(|()| tempfile::TempDir::new().unwrap());
    let [original, changed] =
        [(0, &images), (1, &changed)].map(|(i, images)| write(directories[i].path(), images));
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let weights = |recipe: &Recipe, data: &Dataset, batches: &[&[u32]]| {
        let layers = layers![flatten(), linear(3)];
        let mut trainer = Trainer::with_layers(recipe, &layers, data, &workers).unwrap();
        for batch in batches {
            trainer.step(batch).unwrap();
        }
        trainer.weights().to_vec()
    };
    for batches in [&[&[0, 1, 2, 3, 4, 5][..]][..], &[&[4, 0, 2], &[3], &[5, 1]]] {
        let found = weights(&recipe, &original, batches);
        assert_eq!(found, weights(&plain, &changed, batches));
        assert_ne!(found, weights(&plain, &original, batches));
    }
}
