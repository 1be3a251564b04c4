//! Training beside PyTorch in float64: the same weights after one step and after twenty.
//!
//! The files come from `tests/fixtures/make_parity.py`; the README beside it describes them.

mod support {
    pub mod noise;
}

use dataset::{Dataset, Source};
use kernels::Isa;
use model::{Network, Role};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use support::noise::noise;
use trainer::{Recipe, Trainer, Workers};

/// ‖w − w64‖ / ‖w64‖ of every tensor; float32 in PyTorch drifts by less than a tenth of it.
const TOLERANCE: f64 = 1e-4;

/// ‖w − w64‖ / ‖w64 − w0‖ of what has moved at all: the slowest parameters move by less than the
/// tolerance above, and would pass it without ever being updated. PyTorch's float32: 5e-3.
const OF_MOVEMENT: f64 = 5e-2;

#[test]
fn lenet() {
    check("lenet");
}

#[test]
fn lenet_with_nesterov_and_weight_decay() {
    check("lenet-nesterov");
}

#[test]
fn cnn_bn_in_one_shard() {
    check("cnn-bn-shard64");
}

#[test]
fn cnn_bn_in_four_shards() {
    check("cnn-bn-shard16");
}

#[test]
fn resnet_in_one_shard() {
    check("resnet-shard64");
}

#[test]
fn resnet_in_four_shards() {
    check("resnet-shard16");
}

#[test]
fn a_graph_with_squeeze_and_excitation() {
    check("graph-excite");
}

#[test]
fn a_graph_of_concatenations() {
    check("graph-dense");
}

#[test]
fn a_graph_of_layers_used_again() {
    check("graph-shared");
}

#[test]
fn a_graph_of_a_batch_norm_used_again() {
    check("graph-norms");
}

#[test]
fn batches_that_are_mixed() {
    check("mixed");
}

#[test]
fn a_graph_of_groups_and_paddings() {
    check("graph-groups");
}

/// Trains as the file says, on every SIMD path, and compares.
fn check(case: &str) {
    let path = format!("{}/tests/fixtures/parity-{case}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let data = Dataset::open(&Source::bundled().unwrap()).unwrap();
    for isa in Isa::available() {
        let workers = Workers::new(isa, 2).unwrap();
        let mut trainer = Trainer::new(&recipe(&about), &data, &workers).unwrap();
        let start = initial_weights(trainer.network(), &about);
        trainer.weights_mut().copy_from_slice(&start);
        let losses = floats(&file, "losses");
        for (step, expected) in losses.iter().enumerate() {
            let images: Vec<u32> = (64 * step as u32..64 * (step as u32 + 1)).collect();
            let loss = workers.run(|| trainer.step(&images)).unwrap().loss / 64.0;
            let error = (loss - expected).abs() / expected;
            assert!(error < TOLERANCE, "{case}, {isa}: loss {loss} of step {step}, not {expected}");
            if step == 0 || step + 1 == losses.len() {
                let state = format!("step{}", step + 1);
                compare(&format!("{case}, {isa}, {state}"), &file, &state, &trainer, &start);
            }
        }
    }
}

fn recipe(about: &Value) -> Recipe {
    let settings = [
        ("data.batch_size", "batch"),
        ("data.shard", "shard"),
        ("optimizer.lr", "lr"),
        ("optimizer.momentum", "momentum"),
        ("optimizer.nesterov", "nesterov"),
        ("optimizer.weight_decay", "weight_decay"),
    ];
    let settings = settings.map(|(field, key)| (field.to_owned(), about[key].to_string()));
    let more = about["settings"].as_object().into_iter().flatten();
    let more = more.map(|(field, value)| (field.clone(), value.to_string()));
    let settings: Vec<_> = settings.into_iter().chain(more).collect();
    let mut recipe = Recipe::load("paper", &settings).unwrap();
    recipe.model.preset = about["model"].as_str().map(str::to_owned);
    if let Some(layers) = about.get("layers") {
        recipe.model.preset = None;
        recipe.model.layers = Some(serde_json::from_value(layers.clone()).unwrap());
    }
    recipe
}

/// The weights that `initialise` of `make_parity.py` gives: parameter `t` is a hash of stream
/// `stream + t`, scaled in float64 and rounded once.
fn initial_weights(network: &Network, about: &Value) -> Vec<f32> {
    let stream = about["stream"].as_u64().unwrap();
    let gain = |kind: &str| about["gain"][kind].as_f64().unwrap();
    let mut weights = network.initialise(0, model::Init::He).to_vec();
    let trained = network.parameters().iter().filter(|p| p.role.is_trained());
    for (t, parameter) in trained.enumerate() {
        // A bias is of the kind of the weights before it.
        let weight = parameter.name.replace(".bias", ".weight");
        let weight = network.parameters().iter().find(|p| p.name == weight).unwrap();
        let kind = if weight.shape.len() == 4 { "conv" } else { "linear" };
        let norm = if parameter.name.contains(".body.4.") { "branch" } else { "norm" };
        for (i, value) in parameter.place.of_mut(&mut weights).iter_mut().enumerate() {
            let noise = noise(stream + t as u64, i as u64);
            *value = match parameter.role {
                Role::Scale => gain(norm) * (noise * 0.5 + 1.0),
                Role::Shift => gain(norm) * (noise * 0.5),
                Role::Weight { fan_in } | Role::Bias { fan_in } => {
                    noise * (gain(kind) / (fan_in as f64).sqrt())
                }
                role => unreachable!("{role:?} is not trained"),
            } as f32;
        }
    }
    weights
}

/// Every tensor that the file has of a state.
fn compare(what: &str, file: &SafeTensors<'_>, state: &str, trainer: &Trainer<'_>, start: &[f32]) {
    let mut compared = 0;
    for parameter in trainer.network().parameters() {
        let name = format!("{state}/{}", parameter.name);
        if file.tensor(&name).is_err() {
            continue;
        }
        let mut expected = floats(file, &name);
        let mut movement = f64::INFINITY;
        if parameter.role.is_trained() {
            // Stored as the movement from the start, in units of a scale.
            let scale = format!("{name}.scale");
            let scale = if file.tensor(&scale).is_ok() { floats(file, &scale)[0] } else { 1.0 };
            movement = norm(&mut expected.iter().map(|moved| moved * scale));
            for (moved, start) in expected.iter_mut().zip(parameter.place.of(start)) {
                *moved = *moved * scale + f64::from(*start);
            }
        }
        let got = parameter.place.of(trainer.weights());
        let error = norm(&mut got.iter().zip(&expected).map(|(g, e)| f64::from(*g) - e));
        let size = norm(&mut expected.iter().copied());
        let off = error / size;
        assert!(off <= TOLERANCE, "{what}: `{}` is off by {off:.1e}", parameter.name);
        // What a weight cannot follow is rounding: of its own last bit, once and again.
        let allowed = OF_MOVEMENT * movement + f64::from(f32::EPSILON) * size;
        let name = &parameter.name;
        assert!(error <= allowed, "{what}: `{name}` moved by {movement:.1e}, and {error:.1e} off");
        compared += 1;
    }
    let stored = file.names().into_iter().filter(|n| n.starts_with(&format!("{state}/")));
    let stored = stored.filter(|n| !n.ends_with(".scale")).count();
    assert!(compared > 0 && compared == stored, "{what}: {compared} tensors of {stored}");
}

fn norm(values: &mut dyn Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// The values of a tensor.
fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
        Dtype::I16 => bytes.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).into()).collect(),
        other => panic!("{name} is of type {other:?}"),
    }
}
