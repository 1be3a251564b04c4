//! Data of every shape through the trainer: nothing is fixed to 28×28, one channel or ten classes.

mod support {
    pub mod data;
}

use dataset::Dataset;
use kernels::Isa;
use model::Model;
use support::data::{self, Part};
use tempfile::TempDir;
use trainer::{Epoch, Recipe, TrainError, Trainer, Workers};

fn train(recipe: &Recipe, data: &Dataset) -> Result<(Model, Vec<Epoch>), TrainError> {
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let mut trainer = Trainer::new(recipe, data, &workers)?;
    let mut epochs = vec![];
    trainer.run(|epoch| epochs.push(*epoch))?;
    Ok((trainer.model(), epochs))
}

/// The message of the error that training must be.
fn refusal(recipe: &Recipe, data: &Dataset) -> String {
    let message = train(recipe, data).expect_err("an error").to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn images_of_any_shape_and_any_number_of_classes() {
    for (shape, classes) in
        [([1, 20, 24], 5), ([3, 17, 16], 2), ([4, 16, 21], 256), ([3, 32, 32], 1)]
    {
        let (_directory, data) = data::random(70, shape, classes);
        for preset in ["lenet", "cnn-bn", "resnet"] {
            let recipe = data::recipe(&[
                ("model.preset", preset),
                ("data.normalize", "auto"),
                ("stop.epochs", "1"),
            ]);
            let (model, epochs) = train(&recipe, &data).unwrap();
            assert_eq!((model.network.input(), model.classes.len()), (shape, classes));
            assert_eq!((model.mean.len(), model.std.len()), (shape[0], shape[0]));
            assert_eq!(epochs.len(), 1);
            let [training, validation] = [epochs[0].training, epochs[0].validation.unwrap()];
            // As yet no better and no worse than guessing.
            let guess = (classes as f64).ln();
            assert!((training.loss - guess).abs() < 1.0 + 0.2 * guess, "{preset}: {training:?}");
            assert!(validation.loss.is_finite() && validation.accuracy <= 1.0);
        }
    }
}

/// Channels are normalised one by one, with the training images alone.
#[test]
fn mean_and_deviation_are_those_of_the_training_images() {
    let mut part = Part::random(40, [3, 16, 16], 4, 1);
    for pixel in part.pixels.chunks_exact_mut(3) {
        pixel[1] /= 2;
        pixel[2] = 77;
    }
    let (_directory, data) = data::open(&part, None);
    let (held_out, all) = ("10", "none");
    for validation in [held_out, all] {
        let settings =
            [("data.normalize", "auto"), ("data.validation", validation), ("stop.epochs", "1")];
        let (model, _) = train(&data::recipe(&settings), &data).unwrap();
        assert!((model.mean[0] - 0.5).abs() < 0.05 && (model.mean[1] - 0.25).abs() < 0.03);
        assert!((model.std[1] / model.std[0] - 0.5).abs() < 0.02, "{:?}", model.std);
        // A channel that never changes is centred and not divided by zero.
        assert_eq!((model.mean[2], model.std[2]), (77.0 / 255.0, 1.0));
        let mut values: Vec<f64> = part.pixels.iter().step_by(3).map(|v| f64::from(*v)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter_mut().for_each(|v| *v = (*v - mean).powi(2));
        let std = (values.iter().sum::<f64>() / values.len() as f64).sqrt();
        let same = (model.mean[0] * 255.0 - mean).abs() < 1e-9
            && (model.std[0] * 255.0 - std).abs() < 1e-9;
        assert_eq!(same, validation == all, "{:?}", model.mean);
    }
}

/// What a network sees is (pixel / 255 − mean) / std of the right channel: a network that was trained
/// on pixels scaled by the recipe does the same on pixels scaled in the file.
#[test]
fn fixed_normalisation_is_per_channel() {
    let part = Part::random(32, [3, 16, 16], 4, 1);
    let mut scaled = Part::random(32, [3, 16, 16], 4, 1);
    for pixel in scaled.pixels.chunks_exact_mut(3) {
        pixel[1] /= 2;
        pixel[2] = pixel[2] / 2 + 100;
    }
    // The same pixels as the file's halves, then brought back; no rounding in between.
    let mut halved = part;
    halved.pixels.chunks_exact_mut(3).for_each(|p| (p[1], p[2]) = (p[1] / 2 * 2, p[2] / 2 * 2));
    let loss = |part: &Part, normalize: &str| {
        let (_directory, data) = data::open(part, None);
        let settings = [
            ("data.normalize", normalize),
            ("data.validation", "none"),
            ("data.batch_size", "32"),
            ("stop.epochs", "1"),
        ];
        let (_, epochs) = train(&data::recipe(&settings), &data).unwrap();
        epochs[0].training.loss
    };
    let plain = loss(&halved, "{ mean = [0.5], std = [0.5] }");
    let shift = 100.0 / 255.0;
    let channels = format!("{{ mean = [0.5, 0.25, {}], std = [0.5, 0.25, 0.25] }}", 0.25 + shift);
    let apart = loss(&scaled, &channels);
    assert!((plain - apart).abs() < 1e-5, "{plain} {apart}");
    assert!((plain - loss(&scaled, "{ mean = [0.5], std = [0.5] }")).abs() > 1e-3);
}

#[test]
fn normalisation_must_fit_the_channels() {
    let (_directory, data) = data::random(20, [3, 16, 16], 4);
    let normalize = "{ mean = [0.5, 0.5], std = [0.5, 0.5] }";
    let message = refusal(&data::recipe(&[("data.normalize", normalize)]), &data);
    for word in ["data.normalize.mean", "[0.5, 0.5]", "one per channel"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn batches_larger_than_the_data_and_data_of_one_image() {
    for images in [1, 15, 33] {
        let (_directory, data) = data::random(images, [1, 16, 16], 3);
        let weights = |batch: &str, threads: usize| {
            let recipe = data::recipe(&[
                ("model.preset", "cnn-bn"),
                ("data.batch_size", batch),
                ("data.shard", "16"),
                ("data.normalize", "auto"),
                ("stop.epochs", "3"),
            ]);
            let workers = Workers::new(Isa::detect(), threads).unwrap();
            let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
            trainer.run(|epoch| assert!(epoch.training.loss.is_finite())).unwrap();
            trainer.weights().to_vec()
        };
        // A batch that holds all images is the same batch, however large it might be.
        assert_eq!(weights("1000", 1), weights(&images.to_string(), 3), "{images}");
    }
}

#[test]
fn held_out_images_are_validated_on() {
    let part = Part::random(100, [1, 16, 16], 4, 1);
    let (_directory, data) = data::open(&part, None);
    let reports = |held_out: &str| {
        let recipe = data::recipe(&[
            ("data.validation", held_out),
            ("data.batch_size", "10"),
            ("model.init", "he"),
            ("optimizer.lr", "0.02"),
            ("stop.epochs", "12"),
        ]);
        train(&recipe, &data).unwrap().1
    };
    for held_out in [1, 30, 99] {
        let epochs = reports(&held_out.to_string());
        let [training, validation] = [epochs[0].training, epochs[0].validation.unwrap()];
        // Accuracies are whole numbers of the images of each part.
        for (accuracy, images) in
            [(training.accuracy, 100 - held_out), (validation.accuracy, held_out)]
        {
            let correct = accuracy * images as f64;
            assert!((correct - correct.round()).abs() < 1e-9, "{accuracy} of {images}");
        }
    }
    let last = reports("30")[11];
    assert!(last.validation.unwrap().accuracy > 0.9, "{last:?}");
    for too_many in ["100", "101"] {
        let message = refusal(&data::recipe(&[("data.validation", too_many)]), &data);
        for word in ["data.validation", too_many, "100"] {
            assert!(message.contains(word), "{message}");
        }
    }
}

#[test]
fn missing_parts_are_named() {
    let part = Part::random(20, [1, 16, 16], 4, 1);
    let (_directory, data) = data::open(&part, None);
    assert!(refusal(&data::recipe(&[("data.validation", "test")]), &data).contains("no test set"));
    train(&data::recipe(&[("data.validation", "none"), ("stop.epochs", "1")]), &data).unwrap();

    let directory = TempDir::new().unwrap();
    part.write(directory.path(), "t10k");
    let data = Dataset::open(&dataset::Source::new(directory.path())).unwrap();
    assert!(refusal(&data::recipe(&[]), &data).contains("no training set"));
}

#[test]
fn images_too_small_for_the_network() {
    let (_directory, data) = data::random(20, [1, 12, 28], 4);
    let message = refusal(&data::recipe(&[]), &data);
    let words = "the network does not fit its images: layer conv2 (convolution 5×5): \
        the window does not fit; its input is 6×4×12 (channels × rows × columns)";
    assert_eq!(message, format!("{}: {words}", data.directory().display()));
    train(&data::recipe(&[("model.preset", "cnn-bn"), ("stop.epochs", "1")]), &data).unwrap();
}
