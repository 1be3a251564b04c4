//! The recipe `pictures` on small sets: never below a linear classifier on pixels, of which it knows no more than the
//! data. `scripts/check-pictures` does the same on larger sets, beside scikit-learn.

#[path = "support/data.rs"]
mod data;

use data::{Part, open};
use dataset::Dataset;
use model::{flatten, layers, linear};
use reference::uniform;
use trainer::recipe::{Facts, PICTURES};
use trainer::{Predictor, Recipe, Trainer, Workers, scores::rank};

/// Stripes in as many directions as there are classes, at any phase: a linear classifier is lost.
fn stripes(counts: &[usize], [channels, rows, columns]: [usize; 3], seed: u64) -> Part {
    let of_class = |(class, &count)| std::iter::repeat_n(class as u8, count);
    let labels: Vec<u8> = counts.iter().enumerate().flat_map(of_class).collect();
    let random = uniform::<f64>(labels.len() * (1 + rows * columns * channels), seed);
    let mut random = random.into_iter();
    let mut pixels = vec![];
    for &class in &labels {
        let angle = std::f64::consts::PI * f64::from(class) / counts.len() as f64;
        let phase = 3.2 * random.next().unwrap();
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y as f64, x as f64))) {
            let wave = (1.3 * (x * angle.cos() + y * angle.sin()) + phase).sin();
            for _ in 0..channels {
                let noise = random.next().unwrap();
                pixels.push((128.0 + 70.0 * wave + 40.0 * noise) as u8);
            }
        }
    }
    Part { shape: [channels, rows, columns], pixels, labels }
}

/// The part of the test images that a trainer's network classifies correctly.
fn accuracy(trainer: &Trainer<'_>, data: &Dataset, workers: &Workers) -> f64 {
    let (test, model) = (data.test().unwrap(), trainer.model());
    let images: Vec<u32> = (0..test.len() as u32).collect();
    let mut logits = vec![0.0; test.len() * data.classes()];
    Predictor::new(&model, workers).unwrap().logits_of(test, &images, &mut logits);
    let rows = logits.chunks_exact(data.classes()).enumerate();
    let right = rows.filter(|(i, logits)| rank(logits, test.label(*i) as usize) == 0).count();
    right as f64 / test.len() as f64
}

/// The test accuracy of the recipe, and of a linear classifier that is trained as long.
fn both(train: &Part, test: &Part) -> [f64; 2] {
    let (_directory, data) = open(train, Some(test));
    let workers = Workers::from_env().unwrap();
    let recipe = Recipe::load_for(PICTURES, Facts::of(&data).unwrap(), &[]).unwrap();
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    trainer.run(|_| {}).unwrap();
    let linear = layers![flatten(), linear(data.classes())];
    let mut of_pixels = Trainer::with_layers(&recipe, &linear, &data, &workers).unwrap();
    of_pixels.run(|_| {}).unwrap();
    [accuracy(&trainer, &data, &workers), accuracy(&of_pixels, &data, &workers)]
}

#[test]
fn stripes_are_learnt_that_a_linear_classifier_cannot_see() {
    let shape = [3, 16, 16];
    let [found, linear] = both(&stripes(&[40; 6], shape, 1), &stripes(&[15; 6], shape, 2));
    assert!(found > 0.9 && found > linear + 0.3, "{found}, a linear classifier {linear}");
}

/// One to fifty.
#[test]
fn a_rare_class_is_learnt() {
    let (train, test) = (stripes(&[200, 60, 4], [1, 12, 12], 3), stripes(&[20; 3], [1, 12, 12], 4));
    let [found, linear] = both(&train, &test);
    assert!(found > 0.8 && found >= linear, "{found}, a linear classifier {linear}");
}

/// Each class is a pattern under noise, in its place: a linear classifier is as good as any.
#[test]
fn patterns_are_learnt_as_by_a_linear_classifier() {
    let shape = [1, 8, 8];
    let [train, test] =
        [(216, 5), (200, 6)].map(|(images, seed)| Part::random(images, shape, 9, seed));
    let [found, linear] = both(&train, &test);
    assert!(found > 0.9 && found >= linear - 0.02, "{found}, a linear classifier {linear}");
}
