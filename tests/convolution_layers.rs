//! Convolutions as recipes write them, with groups and every padding, beside PyTorch in float64: values and every
//! gradient, through a network, on every SIMD path.
//!
//! The file is that of `tests/fixtures/make_convolutions.py`; the README beside it describes it.

use autograd::{Buffer, Tape, Tensor, Workspace};
use kernels::Isa;
use model::{LayerList, Network};
use reference::assert_close;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

#[test]
fn convolutions_of_recipes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/convolutions.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let mut same = 0;
    for (name, settings) in about["cases"].as_object().unwrap() {
        let case = Case { name, settings, file: &file };
        for layers in case.as_written() {
            same += usize::from(layers[0]["padding"] == "same");
            Isa::available().into_iter().for_each(|isa| case.check(isa, &layers));
        }
    }
    assert_eq!(same, 13, "paddings of which the word `same` is said");
}

struct Case<'a> {
    name: &'a str,
    settings: &'a Value,
    file: &'a SafeTensors<'a>,
}

impl Case<'_> {
    /// The layers of a recipe: with the padding in numbers, and where the word is for these numbers, by it.
    fn as_written(&self) -> Vec<Value> {
        let (weight, settings) = (self.shape("weight"), self.settings);
        let number = |key: &str, i: usize| settings[key][i].as_u64().unwrap() as usize;
        let [top, left, bottom, right] = [0, 1, 2, 3].map(|i| number("padding", i));
        let mut conv = json!({
            "kind": "conv",
            "outputs": weight[0],
            "kernel": weight[2..],
            "stride": settings["stride"],
            "dilation": settings["dilation"],
            "padding": [top, bottom, left, right],
            "padding_mode": settings["padding_mode"],
            "groups": settings["groups"],
        });
        let mut written = vec![json!([conv, { "kind": "flatten" }])];
        let total = |axis: usize| (weight[2 + axis] - 1) * number("dilation", axis);
        let whole = [top + bottom, left + right] == [total(0), total(1)];
        let after = bottom.wrapping_sub(top) <= 1 && right.wrapping_sub(left) <= 1;
        if whole && after && settings["stride"] == json!([1, 1]) && total(0) + total(1) > 0 {
            conv["padding"] = json!("same");
            written.push(json!([conv, { "kind": "flatten" }]));
        }
        written
    }

    fn check(&self, isa: Isa, layers: &Value) {
        let shape = self.shape("x");
        let [images, channels, height, width] = shape[..] else { panic!("{shape:?}") };
        let layers: LayerList = serde_json::from_value(layers.clone()).unwrap();
        let network = Network::new([channels, height, width], &layers.layers(0)).unwrap();
        let [weight, bias] = [0, 1].map(|i| network.parameters()[i].place);
        assert_eq!(network.parameters()[0].shape, self.shape("weight"), "{}", self.name);
        let mut weights = Buffer::zeros(network.len());
        weight.of_mut(&mut weights).copy_from_slice(&self.floats("weight"));
        bias.of_mut(&mut weights).copy_from_slice(&self.floats("bias"));

        let mut memory = Workspace::default();
        let mut tape = Tape::training(isa, &mut memory, &weights, images);
        let x = Tensor::from_rows(&self.floats("x"), images, channels, [height, width]);
        let x = tape.variable(&x);
        let y = network.forward(&mut tape, x);
        self.compare(isa, "y", &tape.value(y).to_rows());
        let dy = self.floats("dy");
        let dy = tape.variable(&Tensor::from_rows(&dy, images, dy.len() / images, [1, 1]));
        let product = tape.mul(y, dy);
        let sum = tape.sum(product);
        let mut gradients = Buffer::zeros(network.len());
        tape.backward(sum, &mut gradients);
        self.compare(isa, "dx", &tape.gradient(x).unwrap().to_rows());
        self.compare(isa, "dweight", weight.of(&gradients));
        self.compare(isa, "dbias", bias.of(&gradients));
    }

    /// Within 64 roundings of what the file says its terms add up to.
    fn compare(&self, isa: Isa, what: &str, got: &[f32]) {
        let largest = self.settings["scale"][what].as_f64().unwrap();
        let allowance = 64.0 * f64::from(f32::EPSILON) * largest;
        let name = format!("{what} of {}, {isa}", self.name);
        assert_close(&name, got, &self.values(what), |_| allowance);
    }

    fn shape(&self, tensor: &str) -> Vec<usize> {
        self.file.tensor(&format!("{}/{tensor}", self.name)).unwrap().shape().to_vec()
    }

    fn floats(&self, tensor: &str) -> Vec<f32> {
        self.values(tensor).iter().map(|value| *value as f32).collect()
    }

    fn values(&self, tensor: &str) -> Vec<f64> {
        let tensor = self.file.tensor(&format!("{}/{tensor}", self.name)).unwrap();
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
            }
            other => panic!("numbers of type {other:?}"),
        }
    }
}
