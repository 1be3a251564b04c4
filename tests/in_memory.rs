//! Images in memory train to the bits of the same images in files, also those that a caller hands over batch by batch.

#[path = "support/data.rs"]
mod data;

use data::{Part, open, recipe};
use dataset::{Dataset, Pixels, Samples};
use kernels::Isa;
use trainer::{Recipe, TrainError, Trainer, Workers};

/// More classes than a byte has values.
const CLASSES: usize = 300;
const SHAPE: [usize; 3] = [3, 16, 16];

/// What two epochs of a network with dropout on changed images need.
fn changed(extra: &[(&str, &str)]) -> Recipe {
    let layers = "[{kind = 'conv', outputs = 4, kernel = 3, stride = 2}, {kind = 'batch-norm'}, \
                  {kind = 'flatten'}, {kind = 'dropout'}, {kind = 'linear'}]";
    let settings = [
        ("model.layers", layers),
        ("stop.epochs", "2"),
        ("augment.shift", "2"),
        ("augment.flip", "0.5"),
        ("augment.crop_area", "[0.5, 1]"),
        ("augment.rotate", "20"),
        ("augment.saturation", "0.5"),
        ("augment.mixup", "0.4"),
        ("augment.cutmix", "1"),
    ];
    recipe(&[&settings, extra].concat())
}

/// Labels of 300 classes, and the file of them: two bytes each.
fn labels(images: usize) -> (Vec<u32>, Vec<u8>) {
    let labels: Vec<u32> = (0..images).map(|i| (i * 7 % CLASSES) as u32).collect();
    let header = [0xb01, images as u32].map(u32::to_be_bytes).concat();
    let bytes = labels.iter().flat_map(|&label| (label as u16).to_be_bytes());
    let file = header.into_iter().chain(bytes).collect();
    (labels, file)
}

/// A set in files, with as much in memory.
struct Both {
    _directory: tempfile::TempDir,
    files: Dataset,
    memory: Dataset,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

fn both(images: usize) -> Both {
    let part = Part::random(images, SHAPE, 3, 1);
    let (directory, _) = open(&part, None);
    let (labels, file) = labels(images);
    std::fs::write(directory.path().join("train-labels-idx1-ubyte"), file).unwrap();
    let names: Vec<String> = (0..CLASSES).map(|i| i.to_string()).collect();
    std::fs::write(directory.path().join("labels.txt"), names.join("\n")).unwrap();
    let files = Dataset::open(&dataset::Source::new(directory.path())).unwrap();
    let samples = Samples::new(&part.pixels[..], &labels);
    let memory = Dataset::in_memory(SHAPE, &names, samples, None).unwrap();
    Both { _directory: directory, files, memory, pixels: part.pixels, labels }
}

#[test]
fn memory_and_files_train_to_the_same_bits() {
    let both = both(310);
    assert_eq!(both.files.fingerprint(), both.memory.fingerprint());
    // As floats, each in the middle of what is rounded to its byte.
    let floats: Vec<f32> = both.pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let names = both.memory.class_names().to_vec();
    let samples = Samples::new(&floats[..], &both.labels);
    let floats = Dataset::in_memory(SHAPE, &names, samples, None).unwrap();
    let trained = |data: &Dataset, threads| {
        let workers = Workers::new(Isa::detect(), threads).unwrap();
        let recipe = changed(&[("data.validation", "0.2"), ("data.stratify", "true")]);
        let mut trainer = Trainer::new(&recipe, data, &workers).unwrap();
        trainer.run(|_| {}).unwrap();
        trainer.weights().to_vec()
    };
    let expected = trained(&both.files, 1);
    assert!(trained(&both.memory, 2) == expected);
    assert!(trained(&floats, 3) == expected);
}

#[test]
fn a_batch_of_the_callers_is_that_of_the_data() {
    let both = both(96);
    let workers = Workers::new(Isa::detect(), 2).unwrap();
    let recipe = changed(&[("data.validation", "none")]);
    let mut by_index = Trainer::new(&recipe, &both.files, &workers).unwrap();
    let mut by_hand = Trainer::new(&recipe, &both.memory, &workers).unwrap();
    let len: usize = SHAPE.iter().product();
    for first in [0u32, 7, 60] {
        let numbers: Vec<u32> = (first..first + 33).rev().collect();
        let step = by_index.step(&numbers).unwrap();
        let of = |n: &u32| &both.pixels[*n as usize * len..][..len];
        let pixels: Vec<u8> = numbers.iter().flat_map(of).copied().collect();
        let labels: Vec<u32> = numbers.iter().map(|&n| both.labels[n as usize]).collect();
        let found = by_hand.step_on(Samples::new(&pixels[..], &labels), &numbers).unwrap();
        assert_eq!((found.loss, found.images), (step.loss, 33));
        assert!(by_hand.weights() == by_index.weights());
    }
    // Other numbers are other changes.
    let mut other = Trainer::new(&recipe, &both.memory, &workers).unwrap();
    let samples = Samples::new(&both.pixels[..32 * len], &both.labels[..32]);
    let numbers: Vec<u32> = (1000..1032).collect();
    let found = other.step_on(samples, &numbers).unwrap();
    let mut own = Trainer::new(&recipe, &both.memory, &workers).unwrap();
    assert_ne!(found.loss, own.step(&(0..32).collect::<Vec<u32>>()).unwrap().loss);
}

#[test]
fn what_is_no_data_set_is_refused_by_name() {
    let classes = ["a", "b"].map(str::to_owned);
    let refused = |shape, pixels: Pixels<'_>, labels: &[u32]| {
        let error =
            Dataset::in_memory(shape, &classes, Samples::new(pixels, labels), None).unwrap_err();
        error.to_string()
    };
    let bytes = Pixels::Bytes(&[7; 12]);
    for (shape, pixels, labels, words) in [
        ([1, 2, 3], bytes, &[0, 1, 1][..], "12 values and 3 labels; expected 6 values for each"),
        ([1, 2, 3], bytes, &[0, 2], "label 2 at index 1; expected labels below 2"),
        ([2, 2, 3], bytes, &[0], "images of 2 × 2 × 3; expected 1, 3 or 4 channels"),
        ([1, 0, 3], bytes, &[0], "images of 1 × 0 × 3; expected"),
        ([1, 2, 3], Pixels::Bytes(&[]), &[], "0 values and 0 labels"),
        (
            [1, 1, 2],
            Pixels::Floats(&[0.5, 1.0, -7.0, f32::INFINITY]),
            &[0, 1],
            "inf in image 1; expected finite numbers",
        ),
        ([1, 1, 1], Pixels::Floats(&[f32::NAN]), &[0], "NaN in image 0"),
    ] {
        let error = refused(shape, pixels, labels);
        assert!(error.starts_with("the training images in memory: found"), "{error}");
        assert!(error.contains(words), "{words}: {error}");
    }
    let samples = Samples::new(&[7u8; 4][..], &[0, 1]);
    let data = Dataset::in_memory([1, 1, 2], &classes, samples, Some(samples)).unwrap();
    assert_eq!((data.test().unwrap().len(), data.is_in_memory()), (2, true));
    // A batch of other images, and a recipe that says of no directory that it has them.
    let recipe = recipe(&[("model.layers", "[{kind = 'flatten'}, {kind = 'linear'}]")]);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    assert_eq!(trainer.recipe().data.directory, None);
    let error = trainer.step_on(Samples::new(&[7u8; 3][..], &[0]), &[0]).unwrap_err();
    assert!(matches!(error, TrainError::Data(_)), "{error}");
    assert!(error.to_string().contains("3 values and 1 labels; expected 2 values"), "{error}");
}
