//! Single operations as a file of cases describes them, run on the tape: values and gradients beside those of the file.
//! The README in tests/fixtures describes the format.

use autograd::{BatchNorm, ImageNorm, Param, Precision, Tape, Tensor, Var, Workspace};
use kernels::{Activation, Conv2dOptions, Isa, NormSets, PaddingMode, Pool, Window};
use reference::{assert_close, norm};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Runs every case of a file on every SIMD path; returns how many there are of each operation.
pub fn run_every_case(file: &str) -> std::collections::BTreeMap<String, usize> {
    let path = format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let cases = about["cases"].as_object().unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for (name, settings) in cases {
        let is_bf16 = settings["precision"] == "bf16";
        for isa in if is_bf16 { Isa::available_bf16() } else { Isa::available() } {
            Case { name, settings, file: &file }.check(isa);
        }
        *counts.entry(settings["op"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

struct Case<'a> {
    name: &'a str,
    settings: &'a Value,
    file: &'a SafeTensors<'a>,
}

impl Case<'_> {
    /// Runs the operation, and where there is a gradient of its result then Σ y · dy and backward, and compares.
    fn check(&self, isa: Isa) {
        let images = self.shape("x")[0];
        // Parameters: weight, bias, then running statistics, or room for them.
        let [weight, bias] = ["weight", "bias"].map(|n| self.optional(n).unwrap_or_default());
        let norm = self.settings["op"] == "batch_norm";
        // A weight alone, of PReLU, is followed by nothing.
        let (w, b) = (weight.len(), bias.len());
        let place = |offset, len| Param { offset, len };
        let places =
            [place(0, w), place(w, b), place(w + b, b), place(w + 2 * b, b), place(w + 3 * b, 1)];
        let statistics = |name: &str| self.optional(name).unwrap_or_else(|| vec![0.0; b]);
        // One batch has been seen: without any, statistics are not to be used.
        let rest = [statistics("mean"), statistics("variance"), vec![1.0]].concat();
        let params: Vec<f32> = [weight, bias, rest].concat().iter().map(|v| *v as f32).collect();

        let mut memory = Workspace::default();
        let is_loss = self.settings["op"] == "cross_entropy";
        if !is_loss && self.optional("dy").is_none() {
            let mut tape = Tape::evaluation(isa, &mut memory, &params);
            let x = tape.variable(&self.tensor("x"));
            let y = self.run(&mut tape, x, places);
            return self.compare(isa, "y", &tape.value(y).to_rows());
        }
        let mut tape = Tape::training(isa, &mut memory, &params, images);
        if self.is_bf16() {
            tape.set_precision(Precision::Bf16);
        }
        let x = tape.variable(&self.tensor("x"));
        let y = self.run(&mut tape, x, places);
        self.compare(isa, "y", &tape.value(y).to_rows());
        let loss = if is_loss {
            y
        } else {
            let dy = tape.variable(&self.tensor("dy"));
            let product = tape.mul(y, dy);
            tape.sum(product)
        };
        let mut gradients = vec![0.0; params.len()];
        tape.backward(loss, &mut gradients);
        self.compare(isa, "dx", &tape.gradient(x).unwrap().to_rows());
        for (name, place) in [("dweight", places[0]), ("dbias", places[1])] {
            if place.len > 0 {
                self.compare(isa, name, place.of(&gradients));
            }
        }
        if norm && self.optional("running_mean").is_some() {
            // PyTorch's are after one step of momentum 0.1 from 0 and 1.
            let mean = places[2].of(&gradients).iter().map(|m| 0.1 * m);
            self.compare(isa, "running_mean", &mean.collect::<Vec<_>>());
            let variance = places[3].of(&gradients).iter().map(|v| 0.9 + 0.1 * v);
            self.compare(isa, "running_var", &variance.collect::<Vec<_>>());
        }
    }

    fn run(&self, tape: &mut Tape<'_>, x: Var, places: [Param; 5]) -> Var {
        let [weight, bias, mean, variance, batches] = places;
        let settings = self.settings;
        let number = |key: &str| settings[key].as_f64().unwrap() as f32;
        match settings["op"].as_str().unwrap() {
            "conv2d" => {
                let shape = self.shape("weight");
                tape.conv2d(x, weight, Some(bias), self.options([shape[2], shape[3]]), false)
            }
            "linear" => tape.linear(x, weight, Some(bias), false),
            "max_pool2d" => tape.max_pool2d(x, self.pool()),
            "avg_pool2d" => tape.avg_pool2d(x, self.pool()),
            "adaptive_max_pool2d" => {
                tape.max_pool2d(x, Pool::Adaptive(pair(&settings["output_size"])))
            }
            "adaptive_avg_pool2d" => {
                tape.avg_pool2d(x, Pool::Adaptive(pair(&settings["output_size"])))
            }
            "global_avg_pool2d" => tape.global_avg_pool2d(x),
            "group_norm" | "layer_norm" | "layer_norm_channels" => {
                let sets = match settings["op"].as_str().unwrap() {
                    "group_norm" => {
                        NormSets::Groups(settings["num_groups"].as_u64().unwrap() as usize)
                    }
                    "layer_norm" => NormSets::Groups(1),
                    _ => NormSets::Pixels,
                };
                tape.image_norm(x, ImageNorm { sets, weight, bias, epsilon: number("eps") })
            }
            "prelu" => tape.prelu(x, weight),
            "softmax" => tape.softmax(x),
            "log_softmax" => tape.log_softmax(x),
            "flatten" => tape.flatten(x),
            "batch_norm" | "batch_norm_evaluate" => {
                let norm = BatchNorm {
                    weight,
                    bias,
                    mean,
                    variance,
                    batches,
                    epsilon: number("eps"),
                    share: 1.0,
                };
                tape.batch_norm2d(x, norm, None)
            }
            "relu" => tape.activate(x, Activation::Relu),
            "gelu" if settings["approximate"] == "tanh" => tape.activate(x, Activation::GeluTanh),
            "gelu" => tape.activate(x, Activation::Gelu),
            "relu6" => tape.activate(x, Activation::Relu6),
            "hardsigmoid" => tape.activate(x, Activation::HardSigmoid),
            "hardswish" => tape.activate(x, Activation::HardSwish),
            "sigmoid" => tape.activate(x, Activation::Sigmoid),
            "tanh" => tape.activate(x, Activation::Tanh),
            "silu" => tape.activate(x, Activation::Silu),
            "elu" => tape.activate(x, Activation::Elu(number("alpha"))),
            "softplus" => tape.activate(x, Activation::Softplus(number("beta"))),
            "leaky_relu" => tape.activate(x, Activation::LeakyRelu(number("negative_slope"))),
            "add" => {
                let other = tape.variable(&self.tensor("other"));
                tape.add(x, other)
            }
            "mul" => {
                let other = tape.variable(&self.tensor("other"));
                tape.mul(x, other)
            }
            "cross_entropy" => {
                let labels = self.values("labels").into_iter().map(|l| l as u32);
                let labels: Vec<u32> = labels.collect();
                tape.softmax_cross_entropy(x, &labels, number("label_smoothing")).0
            }
            other => panic!("no operation `{other}`"),
        }
    }

    fn pool(&self) -> Pool {
        let window = self.window(pair(&self.settings["kernel_size"]));
        let is = |key: &str, default| self.settings[key].as_bool().unwrap_or(default);
        let (ceil, count_padding) = (is("ceil_mode", false), is("count_include_pad", true));
        Pool::Sliding { window, ceil, count_padding }
    }

    fn window(&self, kernel: [usize; 2]) -> Window {
        let of = |key: &str| self.settings.get(key).map(pair);
        Window {
            kernel,
            stride: of("stride").unwrap(),
            padding: of("padding").unwrap(),
            dilation: of("dilation").unwrap_or([1, 1]),
        }
    }

    /// Padding is `[rows, columns]`, or `[top, left, bottom, right]`.
    fn options(&self, kernel: [usize; 2]) -> Conv2dOptions {
        let settings = self.settings;
        let options = Conv2dOptions::from(self.window(kernel));
        let side = |i: usize| settings["padding"][i].as_u64().map(|n| n as usize);
        let after = [0, 1].map(|i| side(i + 2).or(side(i)).unwrap());
        let mode = match settings["padding_mode"].as_str() {
            Some("reflect") => PaddingMode::Reflect,
            Some("zeros") | None => PaddingMode::Zeros,
            Some(other) => panic!("no padding mode `{other}`"),
        };
        let groups = settings["groups"].as_u64().unwrap_or(1) as usize;
        options.padding(options.window.padding, after).padding_mode(mode).groups(groups)
    }

    /// Within 64 roundings of the largest value, or of what the file says its terms add up to: the sums here have at
    /// most a few hundred terms, and the rounding errors of a sum add as its square root.
    fn compare(&self, isa: Isa, what: &str, got: &[f32]) {
        let expected = self.values(what);
        let largest = expected.iter().fold(1.0f64, |most, v| most.max(v.abs()));
        let largest = self.settings["scale"][what].as_f64().unwrap_or(largest);
        let allowance = 64.0 * f64::from(f32::EPSILON) * largest;
        let name = format!("{} of {}, {isa}", what, self.name);
        if self.is_bf16() {
            let errors = got.iter().zip(&expected).map(|(got, y)| f64::from(*got) - y);
            let error = norm(&errors.collect::<Vec<_>>()) / norm(&expected);
            return assert!(error < 1e-6, "{name}: an error of {error:e} of the norm");
        }
        assert_close(&name, got, &expected, |_| allowance);
    }

    fn is_bf16(&self) -> bool {
        self.settings["precision"] == "bf16"
    }

    fn tensor(&self, name: &str) -> Tensor {
        let shape = self.shape(name);
        let size = if shape.len() == 4 { [shape[2], shape[3]] } else { [1, 1] };
        let values: Vec<f32> = self.values(name).iter().map(|v| *v as f32).collect();
        Tensor::from_rows(&values, shape[0], shape[1], size)
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.file.tensor(&format!("{}/{name}", self.name)).unwrap().shape().to_vec()
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.optional(name).unwrap_or_else(|| panic!("{} has no `{name}`", self.name))
    }

    fn optional(&self, name: &str) -> Option<Vec<f64>> {
        let tensor = self.file.tensor(&format!("{}/{name}", self.name)).ok()?;
        let bytes = tensor.data();
        Some(match tensor.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
            }
            Dtype::I64 => {
                bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            other => panic!("{name} is of type {other:?}"),
        })
    }
}

fn pair(value: &Value) -> [usize; 2] {
    [0, 1].map(|i| value[i].as_u64().unwrap() as usize)
}
