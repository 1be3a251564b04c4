//! What training promises: the same weights on any number of threads, and that it learns.

mod support {
    pub mod data;
}

use dataset::{Dataset, Source};
use kernels::Isa;
use model::{Kind, Layer, batch_norm2d, conv2d, dropout, flatten, gelu, global_avg_pool2d};
use model::{layers, linear};
use reference::{norm, uniform, widen};
use support::data::{self, Part};
use tempfile::TempDir;
use trainer::{Epoch, Recipe, TrainError, Trainer, Workers};

const PRESETS: [&str; 3] = ["lenet", "cnn-bn", "resnet"];

/// Batches of 50 in shards of 16, 16, 16 and 2; the last of an epoch has 20 in 16 and 4.
fn uneven(preset: &str) -> Recipe {
    data::recipe(&[
        ("model.preset", preset),
        ("model.init", "he"),
        ("model.label_smoothing", "0.1"),
        ("data.batch_size", "50"),
        ("data.shard", "16"),
        ("optimizer.lr", "0.02"),
        ("optimizer.nesterov", "true"),
        ("optimizer.weight_decay", "1e-3"),
        ("schedule.kind", "one-cycle"),
        ("stop.epochs", "2"),
    ])
}

/// Two epochs of batches of 50 in shards of 16, 16, 16 and 2.
const BATCHES: &[(&str, &str)] =
    &[("data.batch_size", "50"), ("data.shard", "16"), ("stop.epochs", "2")];

/// The weights after training, and what each epoch reported.
fn train(recipe: &Recipe, data: &Dataset, isa: Isa, threads: usize) -> (Vec<f32>, Vec<Epoch>) {
    let workers = Workers::new(isa, threads).unwrap();
    let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
    let mut epochs = vec![];
    trainer.run(|epoch| epochs.push(*epoch)).unwrap();
    (trainer.weights().to_vec(), epochs)
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|w| w.to_bits()).collect()
}

#[test]
fn threads_change_no_bit() {
    let (_directory, data) = data::random(120, [1, 16, 16], 10);
    for preset in PRESETS {
        let recipe = uneven(preset);
        let (weights, epochs) = train(&recipe, &data, Isa::detect(), 1);
        assert_ne!(epochs[0].training, epochs[1].training, "{preset} does not move");
        for threads in [2, 3, 7] {
            let (other, reports) = train(&recipe, &data, Isa::detect(), threads);
            assert!(bits(&weights) == bits(&other), "{preset}: {threads} threads change weights");
            for (a, b) in epochs.iter().zip(reports) {
                assert_eq!((a.training, a.validation), (b.training, b.validation), "{preset}");
            }
        }
    }
}

/// Dropout follows images, so threads change nothing there either.
#[test]
fn threads_change_no_mask() {
    let (_directory, data) = data::random(120, [1, 16, 16], 10);
    let layers = layers![conv2d(4, 3), gelu(), dropout(0.3), flatten(), dropout(0.5), linear(10)];
    let weights = |threads: usize, layers: &[Layer]| {
        let workers = Workers::new(Isa::detect(), threads).unwrap();
        let mut trainer = Trainer::with_layers(&uneven("lenet"), layers, &data, &workers).unwrap();
        trainer.run(|_| {}).unwrap();
        bits(trainer.weights())
    };
    let alone = weights(1, &layers);
    assert!(alone == weights(2, &layers) && alone == weights(3, &layers));
    let without = layers.clone().into_iter().filter(|l| !matches!(l.kind, Kind::Dropout(_)));
    assert!(alone != weights(1, &without.collect::<Vec<_>>()));
}

/// Nor do they change an augmentation, which follows images too.
#[test]
fn threads_change_no_augmentation() {
    for shape in [[1, 16, 16], [3, 16, 18]] {
        let (_directory, data) = data::random(120, shape, 10);
        let layers = layers![conv2d(4, 3), gelu(), flatten(), linear(10)];
        let weights = |threads: usize, settings: &[(&str, &str)]| {
            let recipe = data::recipe(&[BATCHES, settings].concat());
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
            trainer.run(|_| {}).unwrap();
            bits(trainer.weights())
        };
        let changes = [("augment.shift", "2"), ("augment.flip", "0.5"), ("augment.erase", "0.5")];
        let alone = weights(1, &changes);
        assert!(alone == weights(2, &changes) && alone == weights(5, &changes));
        let plain = weights(1, &[]);
        for change in changes {
            let one = weights(1, &[change]);
            assert!(one != plain && one != alone, "{change:?} does nothing");
        }
    }
}

/// With weights that stay as they are, only the training images look different.
#[test]
fn validation_images_are_not_changed() {
    let (_directory, data) = data::random(60, [1, 16, 16], 10);
    let epochs = |flip: &str| {
        let recipe = data::recipe(&[("optimizer.lr", "1.2e-38"), ("augment.flip", flip)]);
        train(&recipe, &data, Isa::detect(), 1).1
    };
    for (plain, changed) in epochs("0").iter().zip(epochs("1")) {
        assert_ne!(plain.training, changed.training);
        assert_eq!(plain.validation, changed.validation);
    }
}

/// A loop of one's own need not run as one of the workers.
#[test]
fn steps_outside_of_the_workers() {
    let (_directory, data) = data::random(100, [1, 16, 16], 10);
    let weights = |threads: usize, inside: bool| {
        let workers = Workers::new(Isa::detect(), threads).unwrap();
        let mut trainer = Trainer::new(&uneven("resnet"), &data, &workers).unwrap();
        let images: Vec<u32> = (0..100).collect();
        let mut steps = || {
            for images in images.chunks(50) {
                trainer.step(images).unwrap();
            }
        };
        if inside {
            workers.run(steps)
        } else {
            steps()
        }
        bits(trainer.weights())
    };
    let expected = weights(1, true);
    for threads in [1, 2, 3] {
        assert!(expected == weights(threads, false), "{threads} threads");
    }
}

/// AVX-512 and AVX2 compute the same bits. The portable path rounds products, so its weights drift,
/// but no further than those of a run whose initial weights are off by some roundings. (That may be
/// far: batch norm of few values with a ReLU whose input is all but zero.)
#[test]
fn paths_agree() {
    let (_directory, data) = data::random(120, [1, 16, 16], 10);
    for preset in PRESETS {
        let run = |isa, noise, seed| {
            let workers = Workers::new(isa, 2).unwrap();
            let mut trainer = Trainer::new(&uneven(preset), &data, &workers).unwrap();
            let off: Vec<f32> = uniform(trainer.weights().len(), seed);
            trainer.weights_mut().iter_mut().zip(off).for_each(|(w, off)| *w += *w * noise * off);
            trainer.run(|_| {}).unwrap();
            trainer.weights().to_vec()
        };
        let weights = run(Isa::detect(), 0.0, 0);
        let drift = |other: Vec<f32>| {
            let drift: Vec<f32> = weights.iter().zip(&other).map(|(a, b)| a - b).collect();
            norm(&widen(&drift)) / norm(&widen(&weights))
        };
        let allowed = (1..=4)
            .map(|seed| drift(run(Isa::detect(), 8.0 * f32::EPSILON, seed)))
            .fold(0.0, f64::max);
        for isa in Isa::available() {
            let other = run(isa, 0.0, 0);
            if isa.name() != "portable" {
                assert!(bits(&weights) == bits(&other), "{preset} on {isa}");
            } else {
                let drift = drift(other);
                println!("{preset}: {drift:.1e}, allowed {allowed:.1e}");
                assert!(drift <= 2.0 * allowed, "{preset}: {drift:e}, by noise {allowed:e}");
            }
        }
    }
}

/// The seed decides; what was trained before does not.
#[test]
fn runs_are_a_function_of_the_recipe() {
    let (_directory, data) = data::random(40, [1, 16, 16], 4);
    let weights = |seed: &str| {
        let recipe = data::recipe(&[("seed", seed), ("stop.epochs", "1")]);
        bits(&train(&recipe, &data, Isa::detect(), 2).0)
    };
    assert!(weights("1") == weights("1"));
    assert!(weights("1") != weights("2"));
}

/// The first images of the bundled Fashion-MNIST.
fn fashion_mnist(images: usize) -> (TempDir, Dataset) {
    let cache = TempDir::new().unwrap();
    let mut source = Source::bundled().unwrap();
    source.cache = Some(cache.path().to_owned());
    let all = Dataset::open(&source).unwrap();
    let train = all.train().unwrap();
    let part = Part {
        shape: all.image_shape(),
        pixels: (0..images).flat_map(|i| train.image(i)).collect(),
        labels: train.labels()[..images].iter().map(|&label| label as u8).collect(),
    };
    data::open(&part, None)
}

#[test]
fn one_batch_is_learnt_by_heart() {
    let (_directory, data) = fashion_mnist(64);
    let recipe = data::recipe(&[
        ("data.batch_size", "64"),
        ("data.validation", "none"),
        ("optimizer.lr", "0.05"),
        ("stop.epochs", "150"),
    ]);
    let (_, epochs) = train(&recipe, &data, Isa::detect(), 2);
    let [first, .., last] = &epochs[..] else { panic!("150 epochs") };
    assert!((first.training.loss - 10f64.ln()).abs() < 0.1, "{first:?}");
    assert!(last.training.loss < 1e-3 && last.training.accuracy == 1.0, "{last:?}");
    assert_eq!(last.validation, None);
}

#[test]
fn patterns_are_recognised_in_new_images() {
    let (_directory, data) = data::random(200, [1, 16, 16], 4);
    for preset in PRESETS {
        let recipe = data::recipe(&[
            ("model.preset", preset),
            ("model.init", "he"),
            ("optimizer.lr", "0.02"),
            ("stop.epochs", "10"),
        ]);
        let (_, epochs) = train(&recipe, &data, Isa::detect(), 2);
        let validation = epochs[9].validation.expect("a test set");
        assert!(validation.accuracy >= 0.95, "{preset}: {:?}", epochs[9]);
    }
}

/// As in PyTorch: a single value per channel has no deviation.
#[test]
fn batch_norm_over_a_single_value_is_refused() {
    let (_directory, data) = data::random(120, [1, 16, 16], 4);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let layers = layers![global_avg_pool2d(), batch_norm2d(), flatten(), linear(4)];
    let start = |size: &str| {
        let recipe = data::recipe(&[("data.batch_size", size), ("data.shard", "16")]);
        Trainer::with_layers(&recipe, &layers, &data, &workers)
    };
    let error = start("33").unwrap_err();
    assert!(
        matches!(&error, TrainError::SingleValue { layer, batch: 33, shard: 16, .. } if layer == "1"),
        "{error}"
    );
    assert!(error.to_string().contains("choose another `data.shard`, such as 48"), "{error}");

    let mut trainer = start("16").unwrap();
    let before = trainer.weights().to_vec();
    let error = trainer.step(&[7]).unwrap_err();
    assert!(matches!(error, TrainError::SingleValue { batch: 1, .. }), "{error}");
    assert_eq!(trainer.weights(), before);
    trainer.step(&[7, 8]).unwrap();
    assert_ne!(trainer.weights(), before);
}
