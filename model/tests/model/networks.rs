//! Whole small networks: the definition in `f64` is proved by central differences, and proves what
//! the tape computes on every SIMD path.

use crate::interpreter::{Batch, Interpreter};
use crate::{graphs, kinds};
use autograd::{Buffer, Check, Tape, Tensor, Workspace};
use kernels::Isa;
use model::*;
use reference::{norm, uniform, widen};

/// A network for images of this shape.
pub struct Example {
    pub name: &'static str,
    pub input: [usize; 3],
    pub layers: Vec<Layer>,
}

pub fn example(name: &'static str, input: [usize; 3], layers: Vec<Layer>) -> Example {
    Example { name, input, layers }
}

/// Each kind of layer by itself, then the presets in small.
fn examples() -> Vec<Example> {
    let ends = || layers![flatten(), linear(3)];
    let with = |layers: Vec<Layer>| layers.into_iter().chain(ends()).collect::<Vec<_>>();
    let stage =
        |channels| layers![conv2d(channels, 5).padding(2), batch_norm2d(), relu(), max_pool2d(2)];
    let strided = |channels| {
        let body = [block(channels, 2, true), block(channels, 1, false)].concat();
        residual(body, layers![conv2d(channels, 1).stride(2).no_bias(), batch_norm2d()])
    };
    let plain =
        |channels| residual([block(channels, 1, true), block(channels, 1, false)].concat(), vec![]);
    vec![
        example("linear", [5, 1, 1], layers![linear(7), relu(), linear(4).no_bias()]),
        example("convolution", [3, 6, 7], with(layers![conv2d(4, 3).stride(2).padding(1), gelu()])),
        example("dilation", [1, 9, 8], with(layers![conv2d(3, 3).dilation(2).no_bias(), relu()])),
        example("batch norm", [2, 4, 4], with(layers![conv2d(3, 2), batch_norm2d(), relu()])),
        example("bare batch norm", [2, 3, 3], with(layers![batch_norm2d(), gelu()])),
        // Most outputs see padding alone.
        example("wide padding", [2, 2, 3], with(layers![conv2d(3, 2).padding(4), relu()])),
        example("leaky ReLU", [2, 5, 5], with(layers![conv2d(3, 3), leaky_relu(0.1)])),
        example(
            "max-pool",
            [2, 7, 7],
            with(layers![max_pool2d(3).stride(2).padding(1), conv2d(2, 2)]),
        ),
        example("fused max-pool", [2, 7, 8], with(layers![conv2d(5, 2), relu(), max_pool2d(2)])),
        example("average pool", [2, 6, 6], with(layers![conv2d(3, 3).padding(1), avg_pool2d(2)])),
        example(
            "global average",
            [2, 5, 4],
            with(layers![conv2d(6, 3), gelu(), global_avg_pool2d()]),
        ),
        example("dropout", [1, 6, 6], with(layers![conv2d(4, 3), gelu(), dropout(0.4)])),
        example("residual", [2, 4, 4], with(vec![plain(2), dropout(0.2), strided(4)])),
        example(
            "lenet",
            [1, 14, 14],
            layers![
                conv2d(3, 5).named("conv1"),
                relu(),
                max_pool2d(2),
                conv2d(4, 2).named("conv2"),
                relu(),
                max_pool2d(2),
                flatten(),
                linear(9).named("fc1"),
                relu(),
                linear(7).named("fc2"),
                relu(),
                linear(5).named("fc3"),
            ],
        ),
        example("cnn-bn", [1, 8, 8], with([stage(4), stage(6)].concat())),
        example(
            "vgg",
            [3, 8, 8],
            with(
                [
                    [block(4, 1, true), block(4, 1, true), layers![max_pool2d(2)]].concat(),
                    [block(6, 1, true), block(6, 1, true), vec![global_avg_pool2d()]].concat(),
                ]
                .concat(),
            ),
        ),
        example(
            "resnet",
            [1, 8, 8],
            with([block(3, 1, true), vec![plain(3), strided(5), plain(5), strided(6)]].concat()),
        ),
    ]
}

/// Chains of layers, and graphs.
pub fn all_examples() -> Vec<Example> {
    [examples(), kinds::examples(), graphs::examples()].into_iter().flatten().collect()
}

/// Networks with channels enough for Winograd's method. To the definition they are nothing new.
pub fn wide_examples() -> Vec<Example> {
    let ends = || layers![global_avg_pool2d(), flatten(), linear(3)];
    let pooled = layers![conv2d(33, 3), relu(), max_pool2d(2), conv2d(32, 3).padding(2), gelu()];
    let body = [block(32, 1, true), block(32, 1, false)].concat();
    let residual = layers![conv2d(32, 1), residual(body, vec![])];
    let grouped = layers![
        conv2d(64, 3).groups(2).padding(1),
        relu(),
        conv2d(64, 3).padding(1).reflect(),
        batch_norm2d(),
        relu(),
        conv2d(64, 3).uneven_padding([1, 0], [0, 2]),
        gelu()
    ];
    vec![
        example(
            "wide groups and paddings",
            [32, 6, 5],
            grouped.into_iter().chain(ends()).collect(),
        ),
        example("wide max-pool", [32, 7, 6], pooled.into_iter().chain(ends()).collect()),
        example("wide residual", [3, 5, 4], residual.into_iter().chain(ends()).collect()),
    ]
}

/// A 3×3 convolution, its batch norm, and a ReLU if asked for.
fn block(channels: usize, stride: usize, activated: bool) -> Vec<Layer> {
    let mut layers =
        layers![conv2d(channels, 3).padding(1).stride(stride).no_bias(), batch_norm2d()];
    layers.extend(activated.then(relu));
    layers
}

impl Example {
    fn network(&self) -> Network {
        Network::new(self.input, &self.layers).unwrap()
    }

    /// Images that fill no shard and no block, and their labels.
    fn batch(&self, images: usize, shard: usize, smoothing: f64, seed: u64) -> Batch {
        let len = images * self.input.iter().product::<usize>();
        // Values that `f32` holds.
        let x: Vec<f32> = uniform(len, seed);
        let classes = self.network().classes();
        let labels = (0..images).map(|i| (i * 7 + seed as usize) % classes).collect();
        Batch { images, x: widen(&x), labels, smoothing, shard, seed, epoch: 2 }
    }
}

/// Weights of a network some steps into its training: no bias and no statistic is at its start.
pub fn weights(network: &Network, seed: u64) -> Buffer {
    let mut weights = network.initialise(seed, Init::Pytorch);
    for (i, parameter) in network.parameters().iter().enumerate() {
        let values = parameter.place.of_mut(&mut weights);
        let noise: Vec<f32> = uniform(values.len(), seed + i as u64);
        match parameter.role {
            Role::Scale | Role::RunningVariance => {
                values.iter_mut().zip(noise).for_each(|(v, n)| *v = 1.0 + 0.5 * n);
            }
            Role::Shift | Role::RunningMean => values.copy_from_slice(&noise),
            // As they start.
            _ => {}
        }
    }
    weights
}

#[test]
fn the_definition_is_right() {
    for example in all_examples() {
        for (seed, shard) in [(1, 16), (2, 3)] {
            let network = example.network();
            let params = widen(&weights(&network, seed));
            let batch = example.batch(5, shard, 0.1 * seed as f64, seed);
            let step = |params: &[f64], x: &[f64]| {
                let batch = Batch { x: x.to_vec(), ..batch.clone() };
                let interpreter =
                    Interpreter { network: &network, layers: &example.layers, params };
                let step = interpreter.step(&batch);
                (step.loss, step.gradients, step.dx)
            };
            // Statistics decide nothing in training.
            let (trained, statistics) = params.split_at(network.trained_len());
            let point = [trained, &batch.x].concat();
            let loss = |point: &[f64]| {
                let (trained, x) = point.split_at(network.trained_len());
                step(&[trained, statistics].concat(), x).0
            };
            let (_, mut gradients, dx) = step(&params, &batch.x);
            gradients.truncate(network.trained_len());
            let check = Check { coordinates: 40, directions: 8, kinks: 4, seed };
            let found = check.run(loss, &point, &[gradients, dx].concat());
            found.unwrap_or_else(|error| panic!("{}, seed {seed}: {error}", example.name));
        }
    }
}

/// Loss, logits and gradients of a batch, shard by shard as a trainer does it.
pub fn train(
    isa: Isa,
    network: &Network,
    weights: &[f32],
    batch: &Batch,
) -> (f64, Vec<f32>, Buffer) {
    let mut memory = Workspace::default();
    let mut gradients = Buffer::zeros(network.len());
    let (mut loss, mut logits) = (0.0, vec![]);
    let [channels, rows, columns] = network.input();
    for (images, labels) in batch
        .x
        .chunks(batch.shard * channels * rows * columns)
        .zip(batch.labels.chunks(batch.shard))
    {
        let first = (logits.len() / network.classes()) as u32;
        memory.set_origin(batch.seed, batch.epoch, first..first + labels.len() as u32);
        let mut tape = Tape::training(isa, &mut memory, weights, batch.images);
        let images: Vec<f32> = images.iter().map(|x| *x as f32).collect();
        let images = Tensor::from_rows(&images, labels.len(), channels, [rows, columns]);
        let x = tape.input(labels.len(), channels, [rows, columns], |x| {
            x.data_mut().copy_from_slice(images.data())
        });
        let y = network.forward(&mut tape, x);
        let labels: Vec<u32> = labels.iter().map(|l| *l as u32).collect();
        let (mean, sums) = tape.softmax_cross_entropy(y, &labels, batch.smoothing as f32);
        tape.backward(mean, &mut gradients);
        loss += sums.loss / batch.images as f64;
        logits.extend(tape.value(y).to_rows());
    }
    (loss, logits, gradients)
}

/// Some hundred roundings, from the images to the loss and back, add up as a random walk: to some
/// tens of ε of the size of a result.
const TOLERANCE: f64 = 1e-5;

/// How far two vectors are apart, in units of `size`.
pub fn distance(got: &[f32], exact: &[f64], size: f64) -> f64 {
    let difference: Vec<f64> = widen(got).iter().zip(exact).map(|(a, b)| a - b).collect();
    norm(&difference) / size
}

#[test]
fn every_path_computes_the_definition() {
    for example in all_examples().into_iter().chain(wide_examples()) {
        let network = example.network();
        for (seed, images, shard) in [(1, 37, 16), (2, 16, 16), (3, 50, 32), (4, 3, 16)] {
            let weights = weights(&network, seed);
            let params = widen(&weights);
            let batch = example.batch(images, shard, 0.1 * (seed % 2) as f64, seed);
            let interpreter =
                Interpreter { network: &network, layers: &example.layers, params: &params };
            let exact = interpreter.step(&batch);
            for isa in Isa::available() {
                let what = format!("{}, {images} images in {shard} on {isa}", example.name);
                let (loss, logits, gradients) = train(isa, &network, &weights, &batch);
                assert!((loss - exact.loss).abs() < TOLERANCE, "{what}: {loss} {}", exact.loss);
                let error = distance(&logits, &exact.logits, norm(&exact.logits));
                assert!(error < TOLERANCE, "{what}: logits off by {error:e}");
                for parameter in network.parameters() {
                    let range =
                        parameter.place.offset..parameter.place.offset + parameter.place.len;
                    let size = size_of_layer(&network, parameter, &exact.gradients);
                    let error = distance(&gradients[range.clone()], &exact.gradients[range], size);
                    assert!(error < TOLERANCE, "{what}: {} off by {error:e}", parameter.name);
                }
            }
        }
    }
}

/// The norm of the gradients of a parameter and those beside it: of weight and bias, of mean and
/// variance. (The gradient of a bias before batch norm is zero, its terms are not.)
pub fn size_of_layer(network: &Network, parameter: &Parameter, gradients: &[f64]) -> f64 {
    let layer = |p: &Parameter| p.name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
    let beside = network.parameters().iter().filter(|p| {
        layer(p) == layer(parameter) && p.role.is_trained() == parameter.role.is_trained()
    });
    let values = beside.flat_map(|p| &gradients[p.place.offset..p.place.offset + p.place.len]);
    norm(&values.copied().collect::<Vec<_>>()).max(f64::MIN_POSITIVE)
}

/// Logits with running statistics, and without dropout.
pub fn evaluate(
    isa: Isa,
    network: &Network,
    weights: &[f32],
    x: &[f32],
    images: usize,
) -> Vec<f32> {
    let [channels, rows, columns] = network.input();
    let images = Tensor::from_rows(x, images, channels, [rows, columns]);
    let mut memory = Workspace::default();
    let mut tape = Tape::evaluation(isa, &mut memory, weights);
    let x = tape.variable(&images);
    let y = network.forward(&mut tape, x);
    tape.value(y).to_rows()
}

#[test]
fn evaluation_is_that_of_the_definition_image_by_image() {
    for example in all_examples().into_iter().chain(wide_examples()) {
        let network = example.network();
        let (weights, images) = (weights(&network, 5), 37);
        let params = widen(&weights);
        let x = example.batch(images, 64, 0.0, 5).x;
        let interpreter =
            Interpreter { network: &network, layers: &example.layers, params: &params };
        let exact = interpreter.evaluate(&x, images);
        let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let mut fused: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let what = format!("{} on {isa}", example.name);
            let logits = evaluate(isa, &network, &weights, &x, images);
            let error = distance(&logits, &exact, norm(&exact));
            assert!(error < TOLERANCE, "{what}: off by {error:e}");

            // An image's logits have the same bits alone, and on every path with fused products.
            let image = x.len() / images;
            let last = evaluate(isa, &network, &weights, &x[x.len() - image..], 1);
            assert_eq!(last, logits[logits.len() - last.len()..], "{what}: place in the batch");
            if isa.name() != "portable" {
                assert_eq!(*fused.get_or_insert_with(|| logits.clone()), logits, "{what}");
            }
        }
    }
}
