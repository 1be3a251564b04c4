//! Images with several labels, or none: training beside its definition in f64, and what a trained network says.

mod support {
    pub mod data;
}

use dataset::{Dataset, Samples};
use kernels::Isa;
use model::{Model, flatten, layers, linear};
use reference::{ClassifierLoss, Linear, Outputs, linear_backward, uniform};
use support::data::recipe;
use tempfile::TempDir;
use trainer::scores::{ScoreOptions, Scores};
use trainer::{Predictor, Recipe, Trainer, Workers, check_compatibility};

const LABELS: usize = 4;
const SHAPE: [usize; 3] = [1, 8, 8];

/// Images under noise that have the pattern of each of their labels; of the labels none depends on another.
fn part(images: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let patterns: Vec<f64> = uniform(LABELS * 64, 5);
    let (noise, chance): (Vec<f64>, Vec<f64>) =
        (uniform(images * 64, seed), uniform(images * LABELS, seed + 1));
    // From many to few.
    let has = |i: usize| u8::from(chance[i] > [-0.6, 0.0, 0.4, 0.8][i % LABELS]);
    let matrix: Vec<u8> = (0..images * LABELS).map(has).collect();
    let pixel = |i: usize| {
        let held = matrix[i / 64 * LABELS..][..LABELS].iter().enumerate();
        let sum: f64 = held.map(|(l, held)| f64::from(*held) * patterns[l * 64 + i % 64]).sum();
        (128.0 + 40.0 * sum + 30.0 * noise[i]).clamp(0.0, 255.0) as u8
    };
    ((0..images * 64).map(pixel).collect(), matrix)
}

fn names() -> Vec<String> {
    ["sun", "sea", "sand", "snow"].map(str::to_owned).into()
}

fn data() -> Dataset {
    let ((pixels, matrix), (others, theirs)) = (part(400, 1), part(100, 3));
    let test = Samples::multi_label(&others[..], &theirs);
    let train = Samples::multi_label(&pixels[..], &matrix);
    Dataset::in_memory(SHAPE, &names(), train, Some(test)).unwrap()
}

fn with(settings: &[(&str, &str)]) -> Recipe {
    let layers = "[{ kind = 'flatten' }, { kind = 'linear' }]";
    recipe(&[&[("model.loss", "bce"), ("model.layers", layers)], settings].concat())
}

/// A step of SGD is the gradient of the mean over labels and images, whatever the shards and SIMD path.
#[test]
fn a_step_is_the_gradient_of_its_definition() {
    let data = data();
    let (train, indices) = (data.train().unwrap(), (0..90).collect::<Vec<u32>>());
    for (shard, isa) in
        [16, 48].into_iter().flat_map(|s| Isa::available().into_iter().map(move |i| (s, i)))
    {
        let recipe = with(&[
            ("model.class_weights", "[1, 0.5, 4, 2]"),
            ("model.label_smoothing", "0.1"),
            ("data.batch_size", "90"),
            ("data.shard", &shard.to_string()),
            ("data.normalize", "{ mean = [0.5], std = [0.5] }"),
            ("optimizer.momentum", "0"),
            ("optimizer.lr", "0.5"),
        ]);
        let workers = Workers::new(isa, 2).unwrap();
        let layers = layers![flatten(), linear(LABELS)];
        let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
        let before: Vec<f64> = trainer.weights().iter().map(|w| f64::from(*w)).collect();
        let (w, b) = before.split_at(LABELS * 64);
        let pixels = indices.iter().flat_map(|&i| train.image(i as usize));
        let x: Vec<f64> = pixels.map(|p| f64::from(p) / 127.5 - 1.0).collect();
        let shape = Linear { images: 90, inputs: 64, outputs: LABELS };
        let logits = reference::linear(&shape, &x, w, Some(&b[..LABELS]));
        let weights = vec![1.0, 0.5, 4.0, 2.0];
        let loss =
            ClassifierLoss { of: Outputs::Answers, outputs: LABELS, smoothing: 0.1, weights };
        let sets = indices.iter().flat_map(|&i| train.label_set(i as usize).unwrap());
        let rows: Vec<f64> = sets.map(|value| f64::from(*value)).collect();
        let dy: Vec<f64> = loss.gradient(&logits, &rows).iter().map(|g| g / 90.0).collect();
        let gradients = linear_backward(&shape, &x, w, &dy);
        let step = trainer.step(&indices).unwrap();
        let mean = loss.sum(&logits, &rows) / 90.0;
        assert!((step.loss / 90.0 - mean).abs() < 1e-5 * mean, "{isa}: {}, {mean}", step.loss);
        let right = |(logits, row): (&[f64], &[f64])| {
            logits.iter().zip(row).all(|(logit, target)| (*logit > 0.0) == (*target > 0.5))
        };
        let rows = logits.chunks(LABELS).zip(rows.chunks(LABELS));
        assert_eq!(step.correct, rows.filter(|&row| right(row)).count());
        let moved = gradients.dw.iter().chain(&gradients.db);
        for ((after, before), gradient) in trainer.weights().iter().zip(&before).zip(moved) {
            let expected = before - 0.5 * gradient;
            assert!((f64::from(*after) - expected).abs() < 2e-6, "{isa}: {after}, not {expected}");
        }
    }
}

/// From data to a file and back: what validations, scores and the predictor say is the same.
#[test]
fn labels_are_learnt_and_told() {
    let data = data();
    let recipe = with(&[
        ("data.validation", "100"),
        ("data.stratify", "true"),
        ("data.sampling", "balanced"),
        ("data.batch_size", "32"),
        ("augment.mixup", "0.2"),
        ("optimizer.lr", "0.2"),
        ("optimizer.momentum", "0.9"),
        ("stop.epochs", "12"),
        ("stop.monitor", "auc"),
    ]);
    let run = |threads| {
        let workers = Workers::new(Isa::detect(), threads).unwrap();
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let mut last = None;
        trainer.run(|epoch| last = epoch.validation).unwrap();
        let (split, images) = trainer.validation().unwrap();
        (trainer.model(), last.unwrap(), images.to_vec(), split.len())
    };
    let (model, validation, images, _) = run(2);
    assert_eq!(*model.weights, *run(1).0.weights);
    assert!(model.multi_label && model.network.classes() == LABELS);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("model.safetensors");
    model.save(&path).unwrap();
    let again = Model::load(&path).unwrap();
    assert!(again.multi_label && again.classes == names());
    assert_eq!(check_compatibility(&data, &again), Ok(()));

    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let predictor = Predictor::new(&again, &workers).unwrap();
    let options = ScoreOptions::default();
    let scores = Scores::new(&predictor, data.train().unwrap(), &images, options).unwrap();
    let (found, metrics) = (scores.metrics, validation.metrics.unwrap());
    assert_eq!((scores.top1, found.auc), (validation.accuracy, metrics.auc));
    assert_eq!((found.macro_f1, found.ece), (metrics.macro_f1, metrics.ece));
    assert!((scores.loss - validation.loss).abs() < 1e-6, "{} {}", scores.loss, validation.loss);
    assert!(found.auc.unwrap() > 0.95 && scores.top1 > 0.7, "{scores}");
    let text = scores.to_string();
    for words in
        ["all labels right", "  AUC ", "precision  recall      f1     auc  images", "\nsnow "]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("confusion") && !text.contains("top-"), "{text}");
}

#[test]
fn what_does_not_fit_is_named() {
    let (data, workers) = (data(), Workers::new(Isa::detect(), 1).unwrap());
    let refused = |recipe: &Recipe, words: &str| {
        let error = Trainer::new(recipe, &data, &workers).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let paper = with(&[("model.loss", "cross-entropy")]);
    refused(&paper, "`model.loss` is \"cross-entropy\": expected \"bce\"");
    refused(&with(&[("model.class_weights", "balanced")]), "a list of numbers, one for each label");
    let three = "[{ kind = 'flatten' }, { kind = 'linear', outputs = 3 }]";
    refused(&with(&[("model.layers", three)]), "expected a network of 4 outputs");
    let sigmoid = "[{ kind = 'flatten' }, { kind = 'linear' }, { kind = 'sigmoid' }]";
    refused(
        &with(&[("model.layers", sigmoid)]),
        "expected layers without the `sigmoid` at their end",
    );
    // A model of classes for data of sets, and the other way.
    let recipe = with(&[("stop.epochs", "1")]);
    let mut model = Trainer::new(&recipe, &data, &workers).unwrap().model();
    model.multi_label = false;
    let error = check_compatibility(&data, &model).unwrap_err().to_string();
    assert!(error.contains("have several labels each, those of the model one label"), "{error}");
}
