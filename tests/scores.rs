//! Scores beside what the training loop and an independent count say.

mod support {
    pub mod data;
}

use dataset::{Dataset, Split};
use kernels::Isa;
use model::Model;
use support::data::{self, Part};
use trainer::scores::{ScoreOptions, Scores};
use trainer::{Predictor, Trainer, Workers};

const SHAPE: [usize; 3] = [3, 16, 17];
const CLASSES: usize = 8;

/// Halfway through learning, so that there are mistakes.
fn trained(data: &Dataset, workers: &Workers) -> (Model, f64, f64) {
    let recipe = data::recipe(&[
        ("model.preset", "lenet"),
        ("data.batch_size", "16"),
        ("stop.epochs", "4"),
        ("optimizer.lr", "0.05"),
        ("optimizer.momentum", "0.9"),
    ]);
    let mut trainer = Trainer::new(&recipe, data, workers).unwrap();
    let mut last = None;
    trainer.run(|epoch| last = epoch.validation).unwrap();
    let validation = last.unwrap();
    (trainer.model(), validation.loss, validation.accuracy)
}

fn all(split: &Split) -> Vec<u32> {
    (0..split.len() as u32).collect()
}

#[test]
fn scores_are_those_of_validation_and_of_a_plain_count() {
    let train = Part::random(400, SHAPE, CLASSES, 1);
    let test = Part::random(1100, SHAPE, CLASSES, 2);
    let (_directory, data) = data::open(&train, Some(&test));
    let split = data.test().unwrap();
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let (model, loss, accuracy) = trained(&data, &workers);
    let options = ScoreOptions { mistakes: usize::MAX, ..ScoreOptions::default() };
    let scores = |workers: &Workers, images: &[u32]| {
        Scores::new(&Predictor::new(&model, workers).unwrap(), split, images, options).unwrap()
    };
    let found = scores(&workers, &all(split));
    assert!((found.loss - loss).abs() < 1e-5 * loss, "{} {loss}", found.loss);
    assert_eq!((found.images, found.top1), (1100, accuracy));
    assert!(
        0.3 < found.top1 && found.top1 < 1.0 && found.top1 < found.top5.unwrap(),
        "{}",
        found.top1
    );
    let one = Workers::new(Isa::detect(), 1).unwrap();
    assert_eq!(found, scores(&one, &all(split)));

    // Counted again, image by image, by sorting.
    let predictor = Predictor::new(&model, &one).unwrap();
    let (mut first_five, mut confusion) = (0, vec![vec![0; CLASSES]; CLASSES]);
    for i in 0..split.len() {
        let (mut logits, image) = ([0.0; CLASSES], split.image(i));
        predictor.logits(|_| &image, &mut logits);
        let mut order: Vec<usize> = (0..CLASSES).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let label = split.label(i) as usize;
        first_five += usize::from(order[..5].contains(&label));
        confusion[label][order[0]] += 1;
        let listed = found.mistakes.iter().find(|mistake| mistake.image == i);
        assert_eq!(listed.map(|m| m.predicted), (order[0] != label).then_some(order[0]));
    }
    assert_eq!(found.confusion, confusion);
    assert_eq!(found.top5, Some(first_five as f64 / 1100.0));
    assert!(found.mistakes.is_sorted_by(|a, b| a.probability >= b.probability));

    // Some of the images, under their own numbers.
    let some: Vec<u32> = (500..600).collect();
    let part = scores(&workers, &some);
    assert_eq!(part.images, 100);
    let of_part = found.mistakes.iter().filter(|m| (500..600).contains(&m.image));
    assert!(of_part.eq(&part.mistakes));
}

/// What is seen both ways is the same for a set and its mirror image, which was written by hand.
#[test]
fn a_mirrored_set_has_the_same_scores_under_mirroring() {
    let test = Part::random(70, SHAPE, CLASSES, 2);
    let [channels, rows, columns] = SHAPE;
    let mut mirrored = Part { pixels: vec![], labels: test.labels.clone(), ..test };
    for i in 0..70 {
        for (y, x) in (0..rows).flat_map(|y| (0..columns).rev().map(move |x| (y, x))) {
            let pixel = ((i * rows + y) * columns + x) * channels;
            mirrored.pixels.extend(&test.pixels[pixel..pixel + channels]);
        }
    }
    let train = Part::random(400, SHAPE, CLASSES, 1);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let (_directory, data) = data::open(&train, Some(&test));
    let (_other_directory, other) = data::open(&train, Some(&mirrored));
    let (model, ..) = trained(&data, &workers);
    let scores = |data: &Dataset, mirror| {
        let split = data.test().unwrap();
        let options = ScoreOptions { mirror, mistakes: 5 };
        Scores::new(&Predictor::new(&model, &workers).unwrap(), split, &all(split), options)
            .unwrap()
    };
    assert_ne!(scores(&data, false), scores(&other, false));
    assert_eq!(scores(&data, true), scores(&other, true));
    assert_ne!(scores(&data, true), scores(&data, false));
}

#[test]
fn broken_weights_are_an_error_that_names_the_image() {
    let (_directory, data) = data::random(60, SHAPE, CLASSES);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let (mut model, ..) = trained(&data, &workers);
    model.weights[0] = f32::NAN;
    let split = data.test().unwrap();
    let predictor = Predictor::new(&model, &workers).unwrap();
    let error = Scores::new(&predictor, split, &[3, 4], ScoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains("image 3 is not finite"), "{error}");
}
