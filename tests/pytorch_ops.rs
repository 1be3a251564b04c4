//! Single operations on the tape beside PyTorch in float64: values and every gradient, on every
//! SIMD path.
//!
//! The file comes from `tests/fixtures/make_ops.py`; the README beside it describes it.

use autograd::{BatchNorm, Memory, Param, Tape, Tensor, Var};
use kernels::reference::assert_close;
use kernels::{Activation, Isa, Window};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

#[test]
fn every_operation_of_the_file() {
    let path = format!("{}/tests/fixtures/ops.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let cases = about["cases"].as_object().unwrap();
    assert!(cases.len() >= 16, "{} cases", cases.len());
    for isa in Isa::available() {
        for (name, settings) in cases {
            Case { name, settings, file: &file }.check(isa);
        }
    }
}

struct Case<'a> {
    name: &'a str,
    settings: &'a Value,
    file: &'a SafeTensors<'a>,
}

impl Case<'_> {
    /// Runs the operation, then Σ y · dy, then backward, and compares.
    fn check(&self, isa: Isa) {
        if self.settings["op"] == "log_softmax" {
            return self.check_log_softmax(isa);
        }
        let images = self.shape("x")[0];
        // Parameters: weight, bias, then room for running statistics.
        let [weight, bias] = ["weight", "bias"].map(|n| self.optional(n).unwrap_or_default());
        let norm = self.settings["op"] == "batch_norm";
        let (w, b) = (weight.len(), bias.len());
        let place = |offset, len| Param { offset, len };
        let places = [place(0, w), place(w, b), place(w + b, b), place(w + 2 * b, b)];
        let rest = vec![0.0; if norm { 2 * b } else { 0 }];
        let params: Vec<f32> = [weight, bias, rest].concat().iter().map(|v| *v as f32).collect();
        let mut gradients = vec![0.0; params.len()];

        let mut memory = Memory::default();
        let mut tape = Tape::training(isa, &mut memory, &params, images);
        let x = tape.variable(&self.tensor("x"));
        let loss = match self.run(&mut tape, x, places) {
            Output::Value(y) => {
                self.compare(isa, "y", &tape.value(y).to_rows());
                let dy = tape.variable(&self.tensor("dy"));
                let product = tape.mul(y, dy);
                tape.sum(product)
            }
            Output::Loss(loss) => {
                self.compare(isa, "y", &tape.value(loss).to_rows());
                loss
            }
        };
        tape.backward(loss, &mut gradients);
        self.compare(isa, "dx", &tape.gradient(x).unwrap().to_rows());
        if w > 0 {
            self.compare(isa, "dweight", places[0].of(&gradients));
            self.compare(isa, "dbias", places[1].of(&gradients));
        }
        if norm {
            // PyTorch's are after one step of momentum 0.1 from 0 and 1.
            let mean = places[2].of(&gradients).iter().map(|m| 0.1 * m);
            self.compare(isa, "running_mean", &mean.collect::<Vec<_>>());
            let variance = places[3].of(&gradients).iter().map(|v| 0.9 + 0.1 * v);
            self.compare(isa, "running_var", &variance.collect::<Vec<_>>());
        }
    }

    fn run(
        &self,
        tape: &mut Tape<'_>,
        x: Var,
        [weight, bias, mean, variance]: [Param; 4],
    ) -> Output {
        let settings = self.settings;
        let number = |key: &str| settings[key].as_f64().unwrap() as f32;
        Output::Value(match settings["op"].as_str().unwrap() {
            "conv2d" => {
                let shape = self.shape("weight");
                let window = self.window([shape[2], shape[3]]);
                tape.conv2d(x, weight, Some(bias), window, false)
            }
            "max_pool2d" => tape.max_pool2d(x, self.window(pair(&settings["kernel_size"]))),
            "avg_pool2d" => tape.avg_pool2d(x, self.window(pair(&settings["kernel_size"]))),
            "batch_norm" => {
                let norm = BatchNorm { weight, bias, mean, variance, epsilon: number("eps") };
                tape.batch_norm2d(x, norm, false)
            }
            "gelu" => tape.activate(x, Activation::Gelu),
            "leaky_relu" => tape.activate(x, Activation::LeakyRelu(number("negative_slope"))),
            "cross_entropy" => {
                let labels = self.values("labels").into_iter().map(|l| l as u32);
                let labels: Vec<u32> = labels.collect();
                let smoothing = number("label_smoothing");
                return Output::Loss(tape.softmax_cross_entropy(x, &labels, smoothing).0);
            }
            other => panic!("no operation `{other}`"),
        })
    }

    /// A kernel without a place on the tape, which has it as a part of the cross-entropy.
    fn check_log_softmax(&self, isa: Isa) {
        let (x, dy) = (self.tensor("x"), self.tensor("dy"));
        let (mut y, mut dx) = (x.clone(), x.clone());
        kernels::log_softmax(isa, x.data(), x.layout(), y.data_mut());
        self.compare(isa, "y", &y.to_rows());
        let (store, to) = (kernels::Store::Overwrite, dx.data_mut());
        kernels::log_softmax_backward(isa, y.data(), dy.data(), x.layout(), to, store);
        self.compare(isa, "dx", &dx.to_rows());
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

    /// Within 64 roundings of the largest value: the sums here have at most 200 terms, and the
    /// rounding errors of a sum add as its square root.
    fn compare(&self, isa: Isa, what: &str, got: &[f32]) {
        let expected = self.values(what);
        let largest = expected.iter().fold(1.0f64, |most, v| most.max(v.abs()));
        let allowance = 64.0 * f64::from(f32::EPSILON) * largest;
        let name = format!("{} of {}, {isa}", what, self.name);
        assert_close(&name, got, &expected, |_| allowance);
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

/// What an operation gives: a batch, or a single number to differentiate.
enum Output {
    Value(Var),
    Loss(Var),
}

fn pair(value: &Value) -> [usize; 2] {
    [0, 1].map(|i| value[i].as_u64().unwrap() as usize)
}
