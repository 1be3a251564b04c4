//! Weights depend on the shards alone: not on how many threads there are, more or fewer than shards, nor on
//! the SIMD path.

mod support {
    pub mod data;
}

use kernels::Isa;
use support::data;
use trainer::{Trainer, Workers};

const THREADS: [usize; 5] = [1, 2, 3, 7, 16];

/// Weights and losses after an epoch of two batches, the second of which is shorter.
fn train(settings: &[(&str, &str)], isa: Isa, threads: usize) -> (Vec<f32>, Vec<f64>) {
    let (_directory, data) = data::random(72, [1, 16, 16], 10);
    let recipe = data::recipe(settings);
    let workers = Workers::new(isa, threads).unwrap();
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    let mut losses = vec![];
    trainer.run(|epoch| losses.push(epoch.training.loss)).unwrap();
    (trainer.weights().to_vec(), losses)
}

/// What the others are made of too.
const PRESETS: [&str; 6] = ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet", "resnet20"];

/// The kinds of layers that no preset has.
const KINDS: &str = "[
    { kind = 'conv', outputs = 12, kernel = 3 }, { kind = 'group-norm', groups = 3 },
    { kind = 'silu' }, { kind = 'max-pool', kernel = 3, stride = 2, ceil_mode = true },
    { kind = 'conv', outputs = 24, kernel = 1 }, { kind = 'layer-norm' },
    { kind = 'prelu', per_channel = true }, { kind = 'dropout2d', p = 0.2 },
    { kind = 'avg-pool', kernel = 3, stride = 1, padding = 1, count_include_pad = false },
    { kind = 'instance-norm', affine = true }, { kind = 'gelu', approximate = 'tanh' },
    { kind = 'adaptive-max-pool', size = [5, 4] }, { kind = 'stochastic-depth' },
    { kind = 'batch-norm', affine = false, momentum = 0.3 }, { kind = 'hardswish' },
    { kind = 'layer-norm', pixels = true }, { kind = 'softmax' },
    { kind = 'adaptive-avg-pool', size = [3, 2] }, { kind = 'flatten' }, { kind = 'linear' },
]";

/// Joins of layers, layers that several read, and one that is used again.
const GRAPH: &str = "[
    { kind = 'conv', outputs = 6, kernel = 3, padding = 1 }, { kind = 'batch-norm', name = 'norm' },
    { kind = 'relu', name = 'relu' },
    { kind = 'conv', outputs = 6, kernel = 3, padding = 1, name = 'twice' },
    { kind = 'again', layer = 'twice' }, { kind = 'global-avg-pool' },
    { kind = 'linear', outputs = 6, name = 'gate' }, { kind = 'multiply', from = ['4', 'gate'] },
    { kind = 'add', from = ['7', 'relu', 'norm'] }, { kind = 'relu' },
    { kind = 'concat', from = ['9', 'relu', 'input'] }, { kind = 'dropout', p = 0.2 },
    { kind = 'max-pool', kernel = 2 }, { kind = 'flatten' }, { kind = 'linear', outputs = 10 },
]";

/// Channels in groups, one to a group and several, and every padding.
const CONVOLUTIONS: &str = "[
    { kind = 'conv', outputs = 32, kernel = 3, padding = 'same', bias = false }, { kind = 'batch-norm' },
    { kind = 'relu6' },
    { kind = 'conv', outputs = 32, kernel = 3, stride = 2, padding = 1, groups = 32, bias = false },
    { kind = 'batch-norm' }, { kind = 'relu', name = 'planes' },
    { kind = 'conv', outputs = 64, kernel = [4, 3], padding = 'same', groups = 32 }, { kind = 'silu' },
    { kind = 'conv', outputs = 64, kernel = 3, padding = [0, 2, 1, 1], groups = 2 }, { kind = 'gelu' },
    { kind = 'conv', outputs = 32, kernel = 5, padding = 2, padding_mode = 'reflect', groups = 4 },
    { kind = 'add', from = ['planes', '10'] }, { kind = 'flatten' }, { kind = 'linear', outputs = 10 },
]";

/// Every change that a recipe can make of images.
const CHANGES: [(&str, &str); 10] = [
    ("augment.shift", "2"),
    ("augment.flip", "0.5"),
    ("augment.erase", "0.5"),
    ("augment.crop_area", "[0.3, 1.0]"),
    ("augment.rotate", "30"),
    ("augment.brightness", "0.3"),
    ("augment.contrast", "0.3"),
    ("augment.saturation", "0.3"),
    ("augment.trivial", "true"),
    ("augment.fill", "reflect"),
];

#[test]
fn changed_images_do_not_depend_on_threads() {
    let layers = "[{kind = 'conv', outputs = 4, kernel = 3, stride = 2}, {kind = 'flatten'}, {kind = 'linear'}]";
    let settings = [("model.layers", layers), ("data.batch_size", "48"), ("stop.epochs", "2")];
    let settings = [&settings[..], &CHANGES].concat();
    let expected = train(&settings, Isa::detect(), 1);
    for isa in Isa::available().into_iter().filter(|isa| isa.name() != "portable") {
        for threads in THREADS {
            assert!(train(&settings, isa, threads) == expected, "{threads} threads on {isa}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let fused: Vec<Isa> =
        Isa::available().into_iter().filter(|isa| isa.name() != "portable").collect();
    let presets = PRESETS.map(|preset| ("model.preset", preset));
    let layers = [KINDS, GRAPH, CONVOLUTIONS].map(|layers| ("model.layers", layers));
    for network in presets.into_iter().chain(layers) {
        for shard in ["16", "48"] {
            let settings = [
                network,
                ("data.batch_size", "48"),
                ("data.shard", shard),
                ("augment.shift", "2"),
                ("optimizer.clip_norm", "1.0"),
                ("stop.epochs", "1"),
            ];
            let mut expected = None;
            for isa in &fused {
                for threads in THREADS {
                    let found = train(&settings, *isa, threads);
                    let expected = expected.get_or_insert_with(|| found.clone());
                    assert!(
                        found == *expected,
                        "{network:?} in shards of {shard}, {threads} threads on {isa}"
                    );
                }
            }
        }
    }
}
