//! The presets that have torchvision's names beside torchvision in float64: names and shapes, logits in evaluation, and
//! loss and gradients in training.
//!
//! `tests/fixtures/make_presets.py` writes the file; the README beside it describes it.

mod support {
    pub mod noise;
}

use autograd::{Buffer, Tape, Tensor, Workspace};
use kernels::Isa;
use model::{Kind, Layer, Network, PRESETS, preset};
use safetensors::SafeTensors;
use serde_json::Value;
use std::sync::LazyLock;
use support::noise::noise;

/// Of the largest logit. PyTorch in float32: 4e-6.
const LOGITS: f64 = 1e-5;

/// Of the norm of a gradient, which is taken to be at least 1e-5 of the largest: the largest difference and the mean. A
/// ReLU whose input is within rounding of zero takes the other side, and with it a path of the gradient; PyTorch in
/// float32 differs by up to 3e-2 and 5e-3 in the mean. Parameters exchanged, or a path left out, differ by one.
const GRADIENTS: [f64; 2] = [1e-1, 1e-2];

static FILE: LazyLock<(Vec<u8>, Value)> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/presets.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    (bytes, about)
});

macro_rules! presets {
    ($($test:ident: $name:literal,)+) => {
        const NAMES: &[&str] = &[$($name),+];

        $(#[test]
        fn $test() {
            check($name);
        })+
    };
}

presets! {
    resnet18: "resnet18",
    resnet50: "resnet50",
    squeezenet1_1: "squeezenet1-1",
    vgg11_bn: "vgg11-bn",
    densenet121: "densenet121",
    mobilenet_v2: "mobilenet-v2",
    efficientnet_b0: "efficientnet-b0",
    wrn_16_4: "wrn-16-4",
    resnet20: "resnet20",
}

/// Every preset that is in the file.
#[test]
fn all_are_checked() {
    let presets = PRESETS.map(|(name, _)| name);
    let mut names: Vec<&str> =
        presets.into_iter().filter(|name| FILE.1["presets"].get(name).is_some()).collect();
    let mut checked = NAMES.to_vec();
    names.sort_unstable();
    checked.sort_unstable();
    assert_eq!(names, checked);
}

/// The table in docs/recipes.md.
#[test]
fn the_table_of_presets() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once("\n## Presets\n").unwrap();
    let (text, _) = text.split_once("\n## ").unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected = PRESETS.map(|(name, _)| {
        let (input, classes) = match name {
            "resnet20" | "wrn-16-4" => ([3, 32, 32], 10),
            _ if FILE.1["presets"].get(name).is_some() => ([3, 224, 224], 1000),
            _ => ([1, 28, 28], 10),
        };
        let fits = |n: usize| Network::new([input[0], n, n], &preset(name, classes).unwrap());
        let smallest = (1..).find(|n| fits(*n).is_ok()).unwrap();
        let network = fits(input[1]).unwrap();
        let shape = input.map(|n| n.to_string()).join("×");
        let (parameters, work) = (network.parameter_count(), network.multiply_adds());
        format!(
            "| `{name}` | {shape}, {classes} | {parameters} | {:.1} | {smallest} |",
            work as f64 / 1e6
        )
    });
    assert!(rows == expected, "expected:\n{}", expected.join("\n"));
}

fn check(name: &str) {
    let about = &FILE.1["presets"][name];
    let whole = Network::new([3, 224, 224], &preset(name, 1000).unwrap()).unwrap();
    assert_eq!(whole.parameter_count() as u64, about["parameters"].as_u64().unwrap(), "{name}");
    let classes = FILE.1["classes"].as_u64().unwrap() as usize;
    for case in about["cases"].as_array().unwrap() {
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let shape: Vec<usize> = case["shape"].as_array().unwrap().iter().map(number).collect();
        let shape: [usize; 3] = shape.try_into().unwrap();
        let layers = without_chance(preset(name, classes).unwrap());
        let network = Network::new(shape, &layers).unwrap();
        names(name, &network, about);
        Case {
            name: format!("{name}/{}", shape.map(|n| n.to_string()).join("x")),
            weights: weights(&network, about),
            trained: trained(about),
            network,
            images: number(&case["images"]),
        }
        .check(case["trained"].as_bool().unwrap());
    }
}

/// Neither values nor branches are dropped.
fn without_chance(mut layers: Vec<Layer>) -> Vec<Layer> {
    for layer in &mut layers {
        if let Kind::Dropout(dropout) = &mut layer.kind {
            dropout.p = 0.0;
        }
    }
    layers
}

/// Parameters are those of the `state_dict`, in its order; of the first convolution the channels are those of the images.
fn names(name: &str, network: &Network, about: &Value) {
    let tensors = about["tensors"].as_array().unwrap();
    assert_eq!(network.parameters().len(), tensors.len(), "{name}");
    let mut first = true;
    for (found, tensor) in network.parameters().iter().zip(tensors) {
        let (key, shape) = (tensor[0].as_str().unwrap(), tensor[1].as_array().unwrap());
        let mut shape: Vec<usize> = shape.iter().map(|n| n.as_u64().unwrap() as usize).collect();
        if std::mem::take(&mut first) {
            shape[1] = network.input()[0];
        }
        assert_eq!((&*found.name, &found.shape), (key, &shape), "{name}");
    }
}

/// The names of the parameters that are trained.
fn trained(about: &Value) -> Vec<String> {
    let names =
        about["tensors"].as_array().unwrap().iter().map(|tensor| tensor[0].as_str().unwrap());
    let counted = ["running_mean", "running_var", "num_batches_tracked"];
    let counted = |name: &&str| !counted.iter().any(|part| name.ends_with(part));
    names.filter(counted).map(str::to_owned).collect()
}

/// The formula of `by_formula` in the script.
fn weights(network: &Network, about: &Value) -> Buffer {
    let mut weights = Buffer::zeros(network.len());
    for (t, tensor) in about["tensors"].as_array().unwrap().iter().enumerate() {
        let key = tensor[0].as_str().unwrap();
        let parameter = network.parameters().iter().find(|p| p.name == key).unwrap();
        let fan_in: usize = parameter.shape.iter().skip(1).product();
        let part = key.rsplit('.').next().unwrap();
        let is_matrix = parameter.shape.len() > 1;
        for (i, value) in parameter.place.of_mut(&mut weights).iter_mut().enumerate() {
            let n = noise(t as u64, i as u64);
            *value = match part {
                "num_batches_tracked" => 1.0,
                _ if is_matrix => n * (6.0 / fan_in as f64).sqrt(),
                "running_var" => n * 0.5 + 1.0,
                "weight" => n * 0.25 + 0.75,
                _ => n * 0.25,
            } as f32;
        }
    }
    weights
}

struct Case {
    name: String,
    network: Network,
    weights: Buffer,
    images: usize,
    /// The names of the parameters that are trained, in the order of the `state_dict`.
    trained: Vec<String>,
}

impl Case {
    fn check(&self, trained: bool) {
        let Case { network, weights, images, .. } = self;
        let [channels, height, width] = network.input();
        let mut memory = Workspace::default();
        let x = self.pixels();
        let mut tape = Tape::evaluation(Isa::detect(), &mut memory, weights);
        let input = tape.variable(&x);
        let logits = network.forward(&mut tape, input);
        let (found, expected) = (tape.value(logits).to_rows(), self.expected("logits"));
        let largest = expected.iter().fold(0.0, |most: f64, y| most.max(y.abs()));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let error = (f64::from(*found) - expected).abs() / largest;
            assert!(error <= LOGITS, "{}: {found}, not {expected}", self.name);
        }
        if !trained {
            return;
        }
        let mut tape = Tape::training(Isa::detect(), &mut memory, weights, *images);
        let input = tape.input(*images, channels, [height, width], |input| {
            input.data_mut().copy_from_slice(x.data());
        });
        let logits = network.forward(&mut tape, input);
        let labels: Vec<u32> = (0..*images).map(|i| (i % network.classes()) as u32).collect();
        let (loss, sums) = tape.softmax_cross_entropy(logits, &labels, 0.0);
        let mut gradients = Buffer::zeros(network.len());
        tape.backward(loss, &mut gradients);
        let (found, expected) = (sums.loss / *images as f64, self.expected("loss")[0]);
        let error = (found - expected).abs() / expected;
        assert!(error <= LOGITS, "{}: a loss of {found}, not {expected}", self.name);
        self.compare_gradients(&gradients);
    }

    /// The norm of each parameter's gradient, and its products with two vectors of noise.
    fn compare_gradients(&self, gradients: &[f32]) {
        let expected = self.expected("gradients");
        assert_eq!(self.trained.len() * 3, expected.len());
        let largest = expected.iter().step_by(3).fold(0.0, |most: f64, norm| most.max(*norm));
        let (mut sum, mut worst) = (0.0, (0.0, ""));
        for (t, (name, expected)) in
            self.trained.iter().zip(expected.as_chunks::<3>().0).enumerate()
        {
            let parameter = self.network.parameters().iter().find(|p| p.name == *name).unwrap();
            assert!(parameter.role.is_trained(), "{name}");
            let g = parameter.place.of(gradients);
            let product = |stream: u64| -> f64 {
                let noise = (0..g.len()).map(|i| noise(stream + t as u64, i as u64));
                g.iter().zip(noise).map(|(g, n)| f64::from(*g) * n).sum()
            };
            let norm = g.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            for (found, expected_one) in
                [norm, product(2_000_000), product(3_000_000)].iter().zip(expected)
            {
                let error = (found - expected_one).abs() / expected[0].max(1e-5 * largest);
                sum += error;
                if error > worst.0 {
                    worst = (error, name);
                }
            }
        }
        let mean = sum / expected.len() as f64;
        let text = format!(
            "{}: gradients differ by {:.1e} ({}), {mean:.1e} in the mean",
            self.name, worst.0, worst.1
        );
        println!("{text}");
        assert!(worst.0 <= GRADIENTS[0] && mean <= GRADIENTS[1], "{text}");
    }

    fn pixels(&self) -> Tensor {
        let [channels, height, width] = self.network.input();
        let count = self.images * channels * height * width;
        let values: Vec<f32> = (0..count).map(|i| noise(1_000_000, i as u64) as f32).collect();
        Tensor::from_rows(&values, self.images, channels, [height, width])
    }

    fn expected(&self, key: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&FILE.0).unwrap();
        let tensor = file.tensor(&format!("{}/{key}", self.name)).unwrap();
        tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }
}
