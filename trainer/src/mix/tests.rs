//! Mixed images beside a pixel at a time, shares beside their distribution, and steps beside their definition in `f64`.

use super::*;
use crate::augment::Augmentation;
use crate::ranks::{Local, join_partitions};
use crate::{Event, Trainer, Workers};
use autograd::Param;
use dataset::Samples;
use kernels::Isa;
use model::{Layer, flatten, layers, linear, log_softmax};
use proptest::prelude::*;
use reference::{ClassifierLoss, Linear, Outputs, linear_backward};
use std::ops::ControlFlow;

fn mixing(mixup: f64, cutmix: f64, seed: u64, shape: [usize; 3]) -> Mixing {
    Mixing { philox: Philox::new(seed, Purpose::Mixing), mixup, cutmix, shape }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i * 31 + i * 7 + 1) as u8).collect()
}

/// An image of which λ is its own, pixel by pixel; and λ of its target, by all pixels that are its own.
fn naive(mix: &Mix, own: &[u8], other: &[u8]) -> (Vec<u8>, f64) {
    let [channels, height, width] = mix.shape;
    let mut to = vec![];
    let mut kept = 0;
    for place in 0..height * width * channels {
        let (row, column) = (place / channels / width, place / channels % width);
        to.push(match &mix.way {
            Way::Blend(part) => {
                let own_part = f64::from(*part) / 65536.0;
                let value =
                    own_part * f64::from(own[place]) + (1.0 - own_part) * f64::from(other[place]);
                (value + 0.5).floor() as u8
            }
            Way::Paste(rows, columns) if rows.contains(&row) && columns.contains(&column) => {
                other[place]
            }
            Way::Paste(..) => {
                kept += 1;
                own[place]
            }
        });
    }
    match mix.way {
        Way::Blend(part) => (to, f64::from(part) / 65536.0),
        Way::Paste(..) => (to, f64::from(kept) / to_f64(height * width * channels)),
    }
}

fn to_f64(n: usize) -> f64 {
    n as f64
}

/// What a step does, after the text of torchvision's `MixUp` and `CutMix`.
fn by_definition(mixing: &Mixing, step: usize) -> Mix {
    let words = |draw| mixing.philox.words([step as u32, 0, draw, 0]);
    let [u, v, coin, _] = words(0);
    let is_mixup = match [mixing.mixup > 0.0, mixing.cutmix > 0.0] {
        [true, true] => coin < 1 << 31,
        [is_mixup, _] => is_mixup,
    };
    let lambda = beta(if is_mixup { mixing.mixup } else { mixing.cutmix }, [u, v]);
    if is_mixup {
        return Mix { shape: mixing.shape, way: Way::Blend((lambda * 65536.0).round() as u32) };
    }
    let [y, x, ..] = words(1).map(|word| f64::from(word) / WORDS);
    let [_, h, w] = mixing.shape.map(to_f64);
    let (r_x, r_y, r) = ((x * w).floor(), (y * h).floor(), 0.5 * (1.0 - lambda).sqrt());
    let (half_w, half_h) = ((r * w).floor(), (r * h).floor());
    let range = |from: f64, to: f64, most: f64| from.max(0.0) as usize..to.min(most) as usize;
    let rows = range(r_y - half_h, r_y + half_h, h);
    Mix { shape: mixing.shape, way: Way::Paste(rows, range(r_x - half_w, r_x + half_w, w)) }
}

proptest! {
    #[test]
    fn a_batch_is_that_of_a_pixel_at_a_time(
        channels in 1..5usize,
        height in 1..14usize,
        width in 1..34usize,
        alphas in prop_oneof![
            (0.01..3.0f64).prop_map(|alpha| [alpha, 0.0]),
            (0.01..3.0f64).prop_map(|alpha| [0.0, alpha]),
            Just([0.2, 1.0]),
        ],
        images in 1..20usize,
        spare in 0..2usize,
        seed: u64,
        step in 0..1000usize,
    ) {
        let shape = [channels, height, width];
        let mixing = mixing(alphas[0], alphas[1], seed, shape);
        let mix = mixing.of_step(step);
        prop_assert_eq!(&mix, &by_definition(&mixing, step));
        let bytes = channels * height * width;
        let room = bytes * (1 + spare);
        let all = noise((images + 1) * room);
        let image = |i: usize| &all[i * room..][..bytes];
        let mut found = vec![99; 7];
        mix.images(Isa::detect().into(), &all, room, &mut found);
        let labels: Vec<u32> = (0..images as u32 + 1).map(|i| i * i % 3).collect();
        let row = |label: &u32| (0..3u32).map(|class| f32::from(class == *label)).collect();
        let mut targets: Vec<f32> = labels.iter().flat_map(|label| -> Vec<f32> { row(label) }).collect();
        mix.targets(3, &mut targets);
        prop_assert_eq!((found.len(), targets.len()), (images * bytes, images * 3));
        for i in 0..images {
            let (expected, own) = naive(&mix, image(i + 1), image(i));
            prop_assert_eq!(&found[i * bytes..][..bytes], &expected);
            let row = &targets[3 * i..][..3];
            let part = |class: u32, of: f64| if labels[i + 1] == class { of } else { 0.0 };
            let other = |class: u32| if labels[i] == class { 1.0 - own } else { 0.0 };
            for class in 0..3 {
                let expected = part(class, own) + other(class);
                prop_assert!((f64::from(row[class as usize]) - expected).abs() < 1e-7, "{row:?}");
            }
            // Exactly, so that images of one class have its label.
            prop_assert_eq!(row.iter().sum::<f32>(), 1.0);
        }
    }
}

/// The largest distance of the share of samples below x from a distribution function.
fn distance(samples: &mut [f64], function: impl Fn(f64) -> f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = to_f64(samples.len());
    let off = |(i, x): (usize, &f64)| {
        let value = function(*x);
        (value - to_f64(i) / n).abs().max((value - to_f64(i + 1) / n).abs())
    };
    samples.iter().enumerate().map(off).fold(0.0, f64::max)
}

/// Means, variances and fourth moments of Beta(α, α) within five standard deviations, and the whole distribution where
/// it has a formula.
#[test]
fn shares_are_of_the_beta_distribution() {
    const COUNT: usize = 40_000;
    let philox = Philox::new(7, Purpose::Mixing);
    for alpha in [0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 8.0, 100.0] {
        let sample = |i: u32| {
            let [u, v, ..] = philox.words([i, 0, 0, 0]);
            beta(alpha, [u, v])
        };
        let mut samples: Vec<f64> = (0..COUNT as u32).map(sample).collect();
        assert!(samples.iter().all(|x| (0.0..=1.0).contains(x)), "{alpha}");
        let moment =
            |power: i32| samples.iter().map(|x| (x - 0.5).powi(power)).sum::<f64>() / to_f64(COUNT);
        // E (x − ½)^2k = ∏ (2i − 1) / (4 · (2α + 2i − 1)) · …, of the symmetric distribution.
        let even = |k: i32| -> f64 {
            (1..=k)
                .map(|i| f64::from(2 * i - 1) / (4.0 * (2.0 * alpha + f64::from(2 * i - 1))))
                .product()
        };
        let expected = [0.0, even(1), 0.0, even(2)];
        let squares = [even(1), even(2), even(3), even(4)];
        for (k, (mean, square)) in expected.into_iter().zip(squares).enumerate() {
            let deviation = ((square - mean * mean) / to_f64(COUNT)).sqrt();
            let found = moment(k as i32 + 1);
            assert!(
                (found - mean).abs() < 5.0 * deviation,
                "α {alpha}, moment {}: {found}, not {mean}",
                k + 1
            );
        }
        let function: Option<fn(f64) -> f64> = match alpha {
            0.5 => Some(|x| 2.0 / std::f64::consts::PI * x.sqrt().asin()),
            1.0 => Some(|x| x),
            2.0 => Some(|x| x * x * (3.0 - 2.0 * x)),
            _ => None,
        };
        if let Some(function) = function {
            // Kolmogorov and Smirnov: one in ten million is as far off by chance.
            let far = distance(&mut samples, function);
            assert!(far < 2.9 / to_f64(COUNT).sqrt(), "α {alpha}: {far}");
        }
    }
    // The ends: no word makes it anything but a number.
    for alpha in [0.01, 1.0, 100.0] {
        for u in [0, u32::MAX] {
            for v in [0, 1 << 30, 1 << 31, 3 << 30, u32::MAX] {
                assert!((0.0..=1.0).contains(&beta(alpha, [u, v])), "{alpha} {u} {v}");
            }
        }
    }
}

/// Half of the batches by each, boxes of the area that λ says, and other choices for another step or seed.
#[test]
fn choices_depend_on_seed_and_step() {
    let all = |seed| {
        let mixing = mixing(1.0, 1.0, seed, [1, 40, 50]);
        (0..4000).map(|step| mixing.of_step(step)).collect::<Vec<_>>()
    };
    let some = all(1);
    assert_eq!(some, all(1));
    assert!(some.iter().zip(&all(2)).filter(|(a, b)| a == b).count() < 20);
    assert!(some.windows(2).filter(|pair| pair[0] == pair[1]).count() < 20);
    let blended = some.iter().filter(|mix| matches!(mix.way, Way::Blend(_))).count();
    assert!((1840..2160).contains(&blended), "{blended}");
    let of_large = mixing(1.0, 0.0, 1, [1, 4, 4]);
    assert_ne!(of_large.of_step(1 << 32), of_large.of_step(0));
    // As `tests/fixtures/mixing.py` has them.
    let known = [0, 1, 2, 3].map(|step| mixing(0.2, 0.0, 11, SHAPE).of_step(step).way);
    assert_eq!(known, [65_454, 57_987, 63, 1675].map(Way::Blend));
}

const SHAPE: [usize; 3] = [3, 5, 4];
const CLASSES: usize = 3;

/// A step of SGD on mixed images is the gradient of the loss of their mixed targets, for every loss, with weights and
/// smoothing, however the batch is cut into shards; computed here by the definitions in `f64`.
#[test]
fn a_step_is_that_of_its_definition() {
    let ways = [("mixup", "0.4", "0"), ("cutmix", "0", "1"), ("both", "0.3", "0.7")];
    for (n, (name, mixup, cutmix)) in ways.into_iter().enumerate() {
        for (loss, smoothing) in [("cross-entropy", "0.1"), ("nll", "0"), ("bce", "0.2")] {
            for shard in ["16", "32", "64"] {
                let seed = (3 + n).to_string();
                let settings = [
                    ("seed", &*seed),
                    ("augment.mixup", mixup),
                    ("augment.cutmix", cutmix),
                    ("augment.shift", if n == 1 { "1" } else { "0" }),
                    ("model.loss", loss),
                    ("model.label_smoothing", smoothing),
                    ("data.shard", shard),
                ];
                check_steps(&format!("{name}, {loss}, {shard}"), &settings, loss, smoothing);
            }
        }
    }
}

fn check_steps(name: &str, settings: &[(&str, &str)], loss: &str, smoothing: &str) {
    let classes = if loss == "bce" { 2 } else { CLASSES };
    let weights = &[0.5, 2.0, 1.25][..classes];
    let rest = [
        ("model.class_weights", &*format!("{weights:?}")),
        ("data.normalize", "{ mean = [0.5], std = [0.5] }"),
        ("data.validation", "none"),
        ("data.batch_size", "70"),
        ("optimizer.momentum", "0"),
        ("optimizer.lr", "0.5"),
    ];
    let settings = settings.iter().chain(&rest).map(|(k, v)| (k.to_string(), v.to_string()));
    let recipe = Recipe::load("paper", &settings.collect::<Vec<_>>()).unwrap();
    let bytes: usize = SHAPE.iter().product();
    let (pixels, labels) = (noise(70 * bytes), (0..70).map(|i| i * i % classes as u32));
    let (labels, names) = (labels.collect::<Vec<u32>>(), ["a", "b", "c"].map(str::to_owned));
    let samples = Samples::new(&pixels[..], &labels);
    let data = Dataset::in_memory(SHAPE, &names[..classes], samples, None).unwrap();
    let outputs = if loss == "bce" { 1 } else { classes };
    let mut layers: Vec<Layer> = layers![flatten(), linear(outputs)];
    if loss == "nll" {
        layers.push(log_softmax());
    }
    let workers = Workers::new(Isa::detect(), 3).unwrap();
    let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
    let mixing = Mixing::of(&recipe, &data).unwrap().unwrap();
    let augmentation = Augmentation::new(&recipe, SHAPE, &[0.5]);
    // Full batches, one that is shorter than a shard, and an image alone.
    for (step, order) in [0..70, 3..60, 20..37, 9..10].into_iter().enumerate() {
        let order: Vec<u32> = order.rev().collect();
        let changed = |&i: &u32| {
            let (mut from, mut to) = (data.train().unwrap().image(i as usize), vec![0; bytes]);
            augmentation.apply(0, i, &mut from, &mut to);
            to
        };
        let images: Vec<Vec<u8>> = order.iter().map(changed).collect();
        let (mut x, mut rows) = (vec![], vec![0.0; order.len() * classes]);
        for (i, image) in images.iter().enumerate() {
            let before = (i + order.len() - 1) % order.len();
            let (mixed, own) = naive(&mixing.of_step(step), image, &images[before]);
            x.extend(mixed.iter().map(|p| f64::from(*p) / 127.5 - 1.0));
            rows[i * classes + labels[order[i] as usize] as usize] += own;
            rows[i * classes + labels[order[before] as usize] as usize] += 1.0 - own;
        }
        let places = [0, 1].map(|i| trainer.network().parameters()[i].place);
        let values = |place: &Param| place.of(trainer.weights()).iter().map(|w| f64::from(*w));
        let [w, b] = places.each_ref().map(|place| values(place).collect::<Vec<f64>>());
        // A network's planes are one after another, its bytes are not.
        let x: Vec<f64> = x.chunks(bytes).flat_map(by_channel).collect();
        let shape = Linear { images: order.len(), inputs: bytes, outputs };
        let logits = reference::linear(&shape, &x, &w, Some(&b));
        let of = if loss == "bce" { Outputs::Answers } else { Outputs::Logits };
        let smoothing = smoothing.parse().unwrap();
        let loss = ClassifierLoss { of, outputs, smoothing, weights: weights.to_vec() };
        let n = to_f64(order.len());
        let dy: Vec<f64> = loss.gradient(&logits, &rows).iter().map(|g| g / n).collect();
        let gradients = linear_backward(&shape, &x, &w, &dy);
        let found = trainer.step(&order).unwrap();
        let sum = loss.sum(&logits, &rows);
        assert!(
            (found.loss - sum).abs() < 1e-5 * sum,
            "{name}: {} of step {step}, not {sum}",
            found.loss
        );
        assert_eq!(found.correct, correct(&logits, &rows, outputs), "{name}, step {step}");
        let [dw, db] = [(w, gradients.dw), (b, gradients.db)];
        for (place, (before, gradients)) in places.iter().zip([dw, db]) {
            for ((after, before), gradient) in
                place.of(trainer.weights()).iter().zip(before).zip(gradients)
            {
                let expected = before - 0.5 * gradient;
                let error = (f64::from(*after) - expected).abs();
                assert!(error < 4e-6, "{name}, step {step}: {after}, not {expected}");
            }
        }
    }
}

fn by_channel(image: &[f64]) -> Vec<f64> {
    (0..SHAPE[0]).flat_map(|c| image.iter().skip(c).step_by(SHAPE[0]).copied()).collect()
}

/// Images whose larger part is found, the first of equal ones.
fn correct(logits: &[f64], rows: &[f64], outputs: usize) -> usize {
    let largest =
        |row: &[f64]| (0..row.len()).rev().max_by(|i, j| row[*i].total_cmp(&row[*j])).unwrap();
    let classes = if outputs == 1 { 2 } else { outputs };
    let pairs = logits.chunks(outputs).zip(rows.chunks(classes));
    let right = |(x, row): &(&[f64], &[f64])| match x {
        [x] => usize::from(*x > 0.0) == largest(row),
        x => largest(x) == largest(row),
    };
    pairs.filter(right).count()
}

/// A data set in memory, and a recipe that mixes its batches of 16.
fn small(settings: &[(&str, &str)]) -> (Dataset, Recipe) {
    let bytes: usize = SHAPE.iter().product();
    let labels: Vec<u32> = (0..50).map(|i| i % 3).collect();
    let pixels = noise(50 * bytes);
    let names = ["a", "b", "c"].map(str::to_owned);
    let data = Dataset::in_memory(SHAPE, &names, Samples::new(&pixels[..], &labels), None).unwrap();
    let more = [
        ("augment.mixup", "0.5"),
        ("augment.cutmix", "1"),
        ("augment.flip", "0.5"),
        ("data.validation", "none"),
        ("data.batch_size", "16"),
        ("stop.epochs", "3"),
    ];
    let settings = more.iter().chain(settings).map(|(k, v)| (k.to_string(), v.to_string()));
    (data, Recipe::load("paper", &settings.collect::<Vec<_>>()).unwrap())
}

/// The pictures of a preview are those of the steps of a run.
#[test]
fn a_preview_is_what_the_network_sees() {
    let (data, recipe) = small(&[]);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let mut trainer =
        Trainer::with_layers(&recipe, &layers![flatten(), linear(3)], &data, &workers).unwrap();
    let (previews, first) = (trainer.preview(50, 3), trainer.first_images(99));
    let mixing = Mixing::of(&recipe, &data).unwrap().unwrap();
    let mean = trainer.model().mean;
    let augmentation = Augmentation::new(&recipe, SHAPE, &mean);
    let mut seen = 0;
    let mut observer = |trainer: &Trainer<'_>, event: Event<'_>| {
        let Event::Step(_) = event else { return Ok(ControlFlow::Continue(())) };
        let (order, step) = (trainer.last_batch(), trainer.progress().step - 1);
        let epoch = step / 4;
        let changed = |place: usize| {
            let mut from = data.train().unwrap().image(order[place] as usize);
            let mut to = vec![0; from.len()];
            augmentation.apply(epoch as u32, order[place], &mut from, &mut to);
            to
        };
        for place in 0..order.len() {
            let before = (place + order.len() - 1) % order.len();
            let (image, _) = naive(&mixing.of_step(step), &changed(place), &changed(before));
            let preview = previews.iter().find(|preview| preview.image == order[place]).unwrap();
            assert!(preview.epochs[epoch] == image, "image {} in step {step}", order[place]);
            assert!(step > 0 || first[place] == image);
            seen += 1;
        }
        Ok(ControlFlow::Continue(()))
    };
    trainer.run_observed(&mut observer).unwrap();
    assert_eq!((seen, first.len()), (150, 16));
}

/// The image before may be another rank's: that is said, not guessed.
#[test]
fn images_that_are_shared_out_are_not_mixed() {
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let refused = |settings: &[(&str, &str)]| {
        let (mut data, recipe) = small(settings);
        join_partitions(&Local, &mut data).unwrap();
        let layers = layers![flatten(), linear(3)];
        let error = Trainer::with_layers(&recipe, &layers, &data, &workers).map(drop).unwrap_err();
        error.to_string()
    };
    let why = "expected 0, as each rank has images of its own, and an image is mixed with one of the whole batch";
    assert_eq!(refused(&[]), format!("`augment.mixup` is 0.5: {why}"));
    assert_eq!(refused(&[("augment.mixup", "0")]), format!("`augment.cutmix` is 1: {why}"));
}
