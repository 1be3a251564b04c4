//! Products in bfloat16: the same bits on every path, number of threads, and number of images; and in the model file.

mod support {
    pub mod data;
}

use dataset::Dataset;
use kernels::{Isa, Precision};
use model::Model;
use support::data;
use trainer::{Predictor, Recipe, Trainer, Workers};

const THREADS: [usize; 4] = [1, 2, 3, 7];

/// Every shape of a convolution that rounds: odd numbers of channels and taps, windows, strides, paddings; a layer used
/// twice; and those that do not, between them.
const LAYERS: &str = "[
    { kind = 'conv', outputs = 17, kernel = 3, padding = 1, bias = false }, { kind = 'batch-norm' },
    { kind = 'relu' },
    { kind = 'conv', outputs = 32, kernel = 3, padding = 1, name = 'first' }, { kind = 'silu' },
    { kind = 'conv', outputs = 32, kernel = 3, padding = 1, bias = false }, { kind = 'batch-norm' },
    { kind = 'add', from = ['first', '6'] }, { kind = 'relu' },
    { kind = 'conv', outputs = 19, kernel = [4, 3], padding = 'same' }, { kind = 'gelu' },
    { kind = 'conv', outputs = 21, kernel = 5, padding = 2, padding_mode = 'reflect', stride = 2 },
    { kind = 'gelu' },
    { kind = 'conv', outputs = 16, kernel = 1, name = 'twice' }, { kind = 'relu' },
    { kind = 'conv', outputs = 16, kernel = [1, 3], dilation = [1, 2], padding = [0, 2] },
    { kind = 'relu' }, { kind = 'max-pool', kernel = 2 },
    { kind = 'conv', outputs = 24, kernel = 3 }, { kind = 'relu' }, { kind = 'flatten' }, { kind = 'linear' },
]";

/// Networks whose layers round, whose bits must not move.
const NETWORKS: [(&str, &str); 3] =
    [("model.layers", LAYERS), ("model.preset", "cnn-bn"), ("model.preset", "resnet")];

fn recipe(network: (&str, &str), precision: &str) -> Recipe {
    data::recipe(&[
        network,
        ("model.precision", precision),
        ("data.batch_size", "48"),
        ("data.shard", "16"),
        ("optimizer.lr", "0.02"),
        ("stop.epochs", "1"),
    ])
}

fn trained(recipe: &Recipe, data: &Dataset, workers: &Workers) -> Model {
    let mut trainer = Trainer::new(recipe, data, workers).unwrap();
    trainer.run(|_| {}).unwrap();
    trainer.model()
}

fn bits(model: &Model) -> Vec<u32> {
    model.weights.iter().map(|weight| weight.to_bits()).collect()
}

fn fused() -> impl Iterator<Item = Isa> {
    Isa::available_bf16().into_iter().filter(|isa| isa.name() != "portable")
}

#[test]
fn bits_do_not_depend_on_the_path_or_threads() {
    let (_directory, data) = data::random(72, [1, 16, 16], 10);
    for network in NETWORKS {
        let [recipe, in_f32] = ["bf16", "f32"].map(|precision| recipe(network, precision));
        let mut expected = None;
        for isa in fused() {
            for threads in THREADS {
                let workers = Workers::new(isa, threads).unwrap();
                let found = bits(&trained(&recipe, &data, &workers));
                let expected = expected.get_or_insert_with(|| found.clone());
                assert!(found == *expected, "{network:?}, {threads} threads on {isa}");
            }
        }
        let workers = Workers::new(Isa::detect(), 2).unwrap();
        assert!(bits(&trained(&in_f32, &data, &workers)) != expected.unwrap(), "{network:?}");
    }
}

/// An image has the logits that it has in a batch, of a model from a file too; and these are not those of `f32`.
#[test]
fn an_image_alone_has_the_bits_that_it_has_among_others() {
    let (directory, data) = data::random(72, [1, 16, 16], 10);
    for network in NETWORKS {
        let workers = Workers::new(Isa::detect(), 2).unwrap();
        let model = trained(&recipe(network, "bf16"), &data, &workers);
        let path = directory.path().join("model.safetensors");
        model.save(&path).unwrap();
        let model = Model::load(&path).unwrap();
        assert_eq!(model.network.precision(), Precision::Bf16);
        let split = data.train().unwrap();
        let image = |i: usize| split.image(i);
        let logits = |model: &Model, isa, images: &[usize]| {
            let workers = Workers::new(isa, 2).unwrap();
            let predictor = Predictor::new(model, &workers).unwrap();
            let mut logits = vec![f32::NAN; images.len() * 10];
            predictor.logits(|i| image(images[i]), &mut logits);
            logits
        };
        let all: Vec<usize> = (0..72).collect();
        let expected = logits(&model, Isa::detect(), &all);
        for isa in fused() {
            for count in [1, 2, 3, 7, 15, 16, 17, 40, 72] {
                for first in [0, 72 - count] {
                    let found = logits(&model, isa, &all[first..first + count]);
                    let expected = &expected[first * 10..][..count * 10];
                    assert!(found == expected, "{network:?}, {count} from {first} on {isa}");
                }
            }
        }
        let network = model.network.clone().in_precision(Precision::F32);
        assert!(logits(&Model { network, ..model }, Isa::detect(), &all) != expected);
    }
}
