//! What a recipe says of its loss: class weights, balanced epochs, what best weights are chosen by.

mod support {
    pub mod data;
}

use dataset::Dataset;
use kernels::Isa;
use model::{Layer, Model, flatten, layers, linear, log_softmax};
use reference::{ClassifierLoss, Linear, Outputs, linear_backward};
use std::ops::ControlFlow;
use support::data::{self, Part};
use tempfile::TempDir;
use trainer::scores::{ScoreOptions, Scores};
use trainer::{Event, Predictor, Recipe, TrainError, Trainer, Workers};

/// 200 images of three classes, of which the last two are rare.
fn unbalanced() -> (TempDir, Dataset) {
    let part = |images: usize, seed| {
        let all = Part::random(600, [1, 8, 8], 3, seed);
        let mut of_class = [0, 1, 2].map(|class| {
            let labels = all.labels.iter().enumerate();
            labels.filter(move |(_, label)| **label == class).map(|(image, _)| image)
        });
        let labels: Vec<u8> = (0..images).map(|i| (i % 10).saturating_sub(7) as u8).collect();
        let mut pixels = vec![];
        for label in &labels {
            let image = of_class[*label as usize].next().expect("200 of each class");
            pixels.extend_from_slice(&all.pixels[64 * image..][..64]);
        }
        Part { pixels, labels, ..all }
    };
    data::open(&part(200, 1), Some(&part(40, 2)))
}

fn one_layer() -> Vec<Layer> {
    layers![flatten(), linear(3)]
}

/// A step of SGD is the gradient of the weighted mean over the whole batch, however it is cut into shards:
/// computed here by the definitions in f64.
#[test]
fn the_weighted_mean_is_over_the_whole_batch() {
    let (_directory, data) = unbalanced();
    let indices: Vec<u32> = (0..90).collect();
    let train = data.train().unwrap();
    let labels: Vec<usize> = indices.iter().map(|&i| train.label(i as usize) as usize).collect();
    for (given, weights) in [
        ("\"balanced\"", [200.0 / (3.0 * 160.0), 200.0 / 60.0, 200.0 / 60.0]),
        ("[1, 0.5, 4]", [1.0, 0.5, 4.0]),
        ("[0, 0, 2]", [0.0, 0.0, 2.0]),
    ] {
        for shard in ["16", "48", "96"] {
            let recipe = data::recipe(&[
                ("model.class_weights", given),
                ("model.label_smoothing", "0.1"),
                ("data.batch_size", "90"),
                ("data.shard", shard),
                ("data.normalize", "{ mean = [0.5], std = [0.5] }"),
                ("optimizer.momentum", "0"),
                ("optimizer.lr", "0.5"),
            ]);
            let workers = Workers::new(Isa::detect(), 2).unwrap();
            let mut trainer = Trainer::with_layers(&recipe, &one_layer(), &data, &workers).unwrap();
            let before: Vec<f64> = trainer.weights().iter().map(|w| f64::from(*w)).collect();
            let (w, b) = before.split_at(3 * 64);
            let pixels = |&i: &u32| train.image(i as usize).into_iter();
            let x: Vec<f64> =
                indices.iter().flat_map(pixels).map(|p| f64::from(p) / 127.5 - 1.0).collect();
            let shape = Linear { images: 90, inputs: 64, outputs: 3 };
            let logits = reference::linear(&shape, &x, w, Some(&b[..3]));
            let loss = ClassifierLoss {
                of: Outputs::Logits,
                outputs: 3,
                smoothing: 0.1,
                weights: weights.to_vec(),
            };
            let rows: Vec<f64> = labels
                .iter()
                .flat_map(|label| (0..3).map(|class| f64::from(u8::from(class == *label))))
                .collect();
            let divisor: f64 = labels.iter().map(|label| weights[*label]).sum();
            let dy: Vec<f64> = loss.gradient(&logits, &rows).iter().map(|g| g / divisor).collect();
            let gradients = linear_backward(&shape, &x, w, &dy);
            let step = trainer.step(&indices).unwrap();
            let mean = loss.sum(&logits, &rows) / divisor;
            let found = step.loss / 90.0;
            assert!((found - mean).abs() < 1e-5 * mean, "{given}, {shard}: {found}, not {mean}");
            let moved = gradients.dw.iter().chain(&gradients.db);
            for ((after, before), gradient) in trainer.weights().iter().zip(&before).zip(moved) {
                let expected = before - 0.5 * gradient;
                let error = (f64::from(*after) - expected).abs();
                assert!(error < 2e-6, "{given}, {shard}: {after}, not {expected}");
            }
        }
    }
}

/// The images of each step of a run.
fn epochs(recipe: &Recipe, data: &Dataset, threads: usize) -> (Vec<u32>, Vec<u32>) {
    let workers = Workers::new(Isa::detect(), threads).unwrap();
    let mut trainer = Trainer::with_layers(recipe, &one_layer(), data, &workers).unwrap();
    let mut seen = vec![];
    let mut observer = |trainer: &Trainer<'_>, event: Event<'_>| {
        if let Event::Step(_) = event {
            seen.extend_from_slice(trainer.last_batch());
        }
        Ok(ControlFlow::Continue(()))
    };
    trainer.run_observed(&mut observer).unwrap();
    (seen, trainer.weights().iter().map(|w| w.to_bits()).collect())
}

#[test]
fn balanced_epochs_show_each_class_as_often() {
    let (_directory, data) = unbalanced();
    let settings = [
        ("data.sampling", "balanced"),
        ("data.validation", "50"),
        ("data.batch_size", "32"),
        ("data.shard", "16"),
        ("stop.epochs", "3"),
    ];
    let recipe = data::recipe(&settings);
    let (seen, weights) = epochs(&recipe, &data, 1);
    assert_eq!(seen.len(), 3 * 150);
    for epoch in seen.chunks(150) {
        let mut counts = [0; 3];
        let label = |&i: &u32| data.train().unwrap().label(i as usize) as usize;
        epoch.iter().for_each(|image| counts[label(image)] += 1);
        assert_eq!(counts, [50; 3]);
        assert!(epoch[..50].iter().map(label).any(|label| label == 2), "shuffled");
    }
    assert_ne!(seen[..150], seen[150..300]);
    assert_eq!(epochs(&recipe, &data, 3), (seen, weights.clone()));
    let plain = data::recipe(&settings[1..]);
    assert_ne!(epochs(&plain, &data, 1).1, weights);
}

/// A step whose images all count for nothing changes no weight, and does not end the run.
#[test]
fn images_that_count_for_nothing() {
    let (_directory, data) = unbalanced();
    let settings = [("model.class_weights", "[0, 1, 1]"), ("optimizer.momentum", "0")];
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let recipe = data::recipe(&settings);
    let mut trainer = Trainer::with_layers(&recipe, &one_layer(), &data, &workers).unwrap();
    let before = trainer.weights().to_vec();
    let step = trainer.step(&[0, 1, 2, 3]).unwrap();
    assert_eq!((step.loss, trainer.weights()), (0.0, &before[..]));
    // Smoothing gives a part of each target to the other classes, which count.
    let smoothed = [&settings[..], &[("model.label_smoothing", "0.1")]].concat();
    let recipe = data::recipe(&smoothed);
    let mut trainer = Trainer::with_layers(&recipe, &one_layer(), &data, &workers).unwrap();
    assert!(trainer.step(&[0, 1, 2, 3]).unwrap().loss > 0.0);
}

/// What is wrong with a loss is said of its field.
#[test]
fn losses_that_do_not_go_with_the_data_are_refused() {
    let (_directory, data) = unbalanced();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    for (settings, words) in [
        (
            &[("model.class_weights", "[1, 2]")][..],
            "`model.class_weights` is [1.0, 2.0]: expected a list of 3 numbers, one for each class of the data",
        ),
        (
            &[("model.loss", "nll")],
            "`model.loss` is \"nll\": expected \"cross-entropy\", as the network does not end in a `log-softmax`",
        ),
        (
            &[("stop.monitor", "auc"), ("data.validation", "50")],
            "`stop.monitor` is \"auc\": expected another than this, which is for two classes: the data have 3",
        ),
    ] {
        let recipe = data::recipe(settings);
        let error = Trainer::with_layers(&recipe, &one_layer(), &data, &workers).unwrap_err();
        assert!(matches!(error, TrainError::Recipe(_)), "{error}");
        assert_eq!(error.to_string(), words);
    }
}

/// The likelihood of logarithms of probabilities is the cross-entropy of logits, layer by layer instead of at once.
#[test]
fn likelihood_after_log_softmax() {
    let (_directory, data) = unbalanced();
    let settings = [
        ("model.class_weights", "balanced"),
        ("data.batch_size", "32"),
        ("optimizer.lr", "0.05"),
        ("stop.epochs", "3"),
    ];
    let run = |recipe: &Recipe, layers: &[Layer], threads| {
        let workers = Workers::new(Isa::detect(), threads).unwrap();
        let mut trainer = Trainer::with_layers(recipe, layers, &data, &workers).unwrap();
        let mut last = None;
        trainer.run(|epoch| last = epoch.validation).unwrap();
        (trainer.weights().to_vec(), last.unwrap())
    };
    let (weights, validation) = run(&data::recipe(&settings), &one_layer(), 1);
    let recipe = data::recipe(&[&settings[..], &[("model.loss", "nll")]].concat());
    let layers = [one_layer(), vec![log_softmax()]].concat();
    let (found, validated) = run(&recipe, &layers, 1);
    assert_eq!(found, run(&recipe, &layers, 3).0);
    assert_ne!(found, weights, "other operations");
    for (a, b) in found.iter().zip(&weights) {
        assert!((a - b).abs() < 1e-4, "{a}, not {b}");
    }
    assert_eq!(validated.accuracy, validation.accuracy);
    assert!((validated.loss - validation.loss).abs() < 1e-4 * validation.loss);
}

/// One output for two classes: it learns, its file says so, and what reads the file has two logits of each image.
#[test]
fn binary_cross_entropy_has_one_output() {
    let part = |images, seed| Part::random(images, [1, 8, 8], 2, seed);
    let (directory, data) = data::open(&part(200, 1), Some(&part(60, 2)));
    let with = |more: &[(&str, &str)]| {
        let settings = [
            ("model.loss", "bce"),
            ("stop.epochs", "8"),
            ("optimizer.lr", "0.05"),
            ("data.batch_size", "32"),
        ];
        data::recipe(&[&settings, more].concat())
    };
    let layers = "[{ kind = 'flatten' }, { kind = 'linear' }]";
    let recipe = with(&[
        ("model.layers", layers),
        ("model.label_smoothing", "0.05"),
        ("model.class_weights", "[1, 2]"),
        ("data.validation", "60"),
        ("stop.monitor", "auc"),
    ]);
    let run = |threads| {
        let workers = Workers::new(Isa::detect(), threads).unwrap();
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        trainer.run(|_| {}).unwrap();
        (trainer.model(), trainer.progress().best.unwrap().evaluation)
    };
    let (model, best) = run(2);
    assert_eq!((model.network.classes(), model.classes.len()), (1, 2));
    assert_eq!(*model.weights, *run(1).0.weights);
    assert!(best.accuracy > 0.9 && best.metrics.unwrap().auc.unwrap() > 0.95, "{best:?}");
    let path = directory.path().join("model.safetensors");
    model.save(&path).unwrap();
    let again = Model::load(&path).unwrap();
    assert_eq!((again.network.classes(), &again.classes), (1, &model.classes));
    assert_eq!(*again.weights, *model.weights);

    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let predictor = Predictor::new(&again, &workers).unwrap();
    let (test, images) = (data.test().unwrap(), (0..60).collect::<Vec<u32>>());
    let scores = Scores::new(&predictor, test, &images, ScoreOptions::default()).unwrap();
    let mut logits = vec![0.0; 2 * 60];
    predictor.logits_of(test, &images, &mut logits);
    let right = |(image, row): (usize, &[f32])| (row[1] > 0.0) == (test.label(image) == 1);
    let right = logits.chunks(2).enumerate().filter(|&pair| right(pair)).count();
    assert_eq!(scores.top1, right as f64 / 60.0);
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    let loss = |(image, row): (usize, &[f32])| {
        softplus(f64::from(if test.label(image) == 1 { -row[1] } else { row[1] }))
    };
    let mean = logits.chunks(2).enumerate().map(loss).sum::<f64>() / 60.0;
    assert!((scores.loss - mean).abs() < 1e-12, "{} {mean}", scores.loss);

    // A preset has one output too; layers with two are not for this loss.
    let lenet =
        with(&[("model.layers", "[{ kind = 'flatten' }, { kind = 'linear', outputs = 2 }]")]);
    let error = Trainer::new(&lenet, &data, &workers).unwrap_err().to_string();
    let words =
        "`model.loss` is \"bce\": expected \"cross-entropy\", as the network has 2 outputs: ";
    assert!(error.starts_with(words), "{error}");
    let part = |images, seed| Part::random(images, [1, 16, 16], 2, seed);
    let (_directory, data) = data::open(&part(20, 1), Some(&part(20, 2)));
    let trainer = Trainer::new(&with(&[]), &data, &workers).unwrap();
    assert_eq!((trainer.network().classes(), trainer.model().classes.len()), (1, 2));
    let (_directory, three) = unbalanced();
    let error = Trainer::new(&with(&[]), &three, &workers).unwrap_err().to_string();
    assert!(
        error.contains("as the data have 3 classes: binary cross-entropy has one output"),
        "{error}"
    );
}

/// Each validation is told with its measures, and the best by the one that is monitored is kept.
#[test]
fn the_best_is_chosen_by_what_is_monitored() {
    let (_directory, data) = unbalanced();
    for monitor in ["balanced-accuracy", "macro-f1", "accuracy"] {
        let recipe = data::recipe(&[
            ("stop.monitor", monitor),
            ("data.validation", "60"),
            ("data.batch_size", "32"),
            ("optimizer.lr", "0.2"),
            ("stop.epochs", "12"),
        ]);
        let workers = Workers::new(Isa::detect(), 2).unwrap();
        let mut trainer = Trainer::with_layers(&recipe, &one_layer(), &data, &workers).unwrap();
        let mut found = vec![];
        let mut observer = |_: &Trainer<'_>, event: Event<'_>| {
            if let Event::Validation(validated) = event {
                found.push((validated.evaluation, validated.improved));
            }
            Ok(ControlFlow::Continue(()))
        };
        trainer.run_observed(&mut observer).unwrap();
        let value = |evaluation: &trainer::Evaluation| match monitor {
            "accuracy" => evaluation.accuracy,
            "macro-f1" => evaluation.metrics.unwrap().macro_f1,
            _ => evaluation.metrics.unwrap().balanced_accuracy,
        };
        let mut best = f64::NEG_INFINITY;
        for (evaluation, improved) in &found {
            assert_eq!(*improved, value(evaluation) > best, "{monitor}");
            best = best.max(value(evaluation));
        }
        assert_eq!(value(&trainer.progress().best.unwrap().evaluation), best);
        assert!(found.iter().filter(|(_, improved)| *improved).count() > 1, "{monitor}");
    }
}
