//! Fifty steps of every optimiser beside PyTorch in float64, on every SIMD path.
//!
//! The file comes from `tests/fixtures/make_optimizers.py`; the README beside it describes it.

use kernels::{Adagrad, Adam, AdamState, Isa, RmsProp, RmsPropState, Sgd};
use reference::{compare, norm, widen};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Of an element: relative to its size, or how far it has been from its start if that is more (steps
/// back and forth leave their rounding, though not themselves). Of all together: relative to their
/// norm.
const TOLERANCE: f64 = 1e-5;

#[test]
fn every_optimiser_of_the_file() {
    let path = format!("{}/tests/fixtures/optimizers.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let cases = about["cases"].as_object().unwrap();
    for kind in ["sgd", "adam", "adamw", "rmsprop", "adagrad"] {
        let settings = cases.keys().filter(|name| name.starts_with(&format!("{kind}/"))).count();
        assert!(settings >= 4, "{settings} settings of {kind}");
    }
    for isa in Isa::available() {
        for (name, settings) in cases {
            check(&file, &about["recorded"], &format!("{name}, {isa}"), name, settings, isa);
        }
    }
}

fn check(
    file: &SafeTensors<'_>,
    recorded: &Value,
    what: &str,
    name: &str,
    settings: &Value,
    isa: Isa,
) {
    let start = floats(file, "start");
    let gradients = floats(file, "gradients");
    let expected = floats(file, &format!("{name}/params"));
    let mut expected = expected.chunks_exact(start.len());
    let mut params = narrow(&start);
    let mut state = State::new(settings, start.len());
    let mut furthest = vec![0.0f64; start.len()];
    let mut errors = [0.0f64; 2];
    for (step, gradient) in (1..).zip(gradients.chunks_exact(start.len())) {
        state.step(isa, settings, step, &mut params, &narrow(gradient));
        for (furthest, (p, start)) in furthest.iter_mut().zip(params.iter().zip(&start)) {
            *furthest = furthest.max((f64::from(*p) - start).abs());
        }
        if recorded.as_array().unwrap().iter().any(|r| *r == step) {
            let expected = expected.next().unwrap();
            let size = |i: usize| expected[i].abs().max(furthest[i]);
            if let Err(worst) = compare(&params, expected, |i| TOLERANCE * size(i)) {
                panic!("{what}, step {step}: {worst}");
            }
            let off = relative(&params, expected);
            assert!(off <= TOLERANCE, "{what}, step {step}: {off:.1e} of the norm");
            let worst = params
                .iter()
                .zip(expected)
                .enumerate()
                .map(|(i, (p, e))| (f64::from(*p) - e).abs() / size(i).max(f64::MIN_POSITIVE));
            errors = [errors[0].max(off), worst.fold(errors[1], f64::max)];
        }
    }
    assert!(expected.next().is_none(), "{what}: more was recorded");
    println!("{what}: {:.1e} of the norm, {:.1e} of an element", errors[0], errors[1]);
    for (kind, values) in state.named(settings) {
        let off = relative(values, &floats(file, &format!("{name}/{kind}")));
        assert!(off <= TOLERANCE, "{what}, {kind}: {off:.1e}");
    }
}

/// The state of any optimiser; what one does not have is empty.
struct State {
    first: Vec<f32>,
    second: Vec<f32>,
    velocity: Vec<f32>,
}

impl State {
    fn new(settings: &Value, len: usize) -> State {
        let of = |used: bool, start: f64| vec![start as f32; if used { len } else { 0 }];
        let number = |key: &str| settings[key].as_f64().unwrap_or(0.0);
        let kind = settings["kind"].as_str().unwrap();
        let adam = kind.starts_with("adam");
        State {
            first: of(adam || settings["centered"] == true, 0.0),
            second: of(kind != "sgd", number("initial_accumulator_value")),
            velocity: of(kind == "sgd" || number("momentum") > 0.0, 0.0),
        }
    }

    fn step(&mut self, isa: Isa, settings: &Value, step: u64, params: &mut [f32], g: &[f32]) {
        let number = |key: &str| settings[key].as_f64().unwrap();
        let (lr, weight_decay, gradient_scale) = (number("lr"), number("weight_decay"), 1.0);
        let State { first, second, velocity } = self;
        match settings["kind"].as_str().unwrap() {
            "sgd" => {
                let nesterov = settings["nesterov"] == true;
                let momentum = number("momentum");
                let rule = Sgd { lr, momentum, nesterov, weight_decay, gradient_scale };
                kernels::sgd(isa, &rule, params, g, velocity);
            }
            "adam" | "adamw" => {
                let betas = [0, 1].map(|i| settings["betas"][i].as_f64().unwrap());
                let decoupled = settings["kind"] == "adamw";
                let eps = number("eps");
                let rule = Adam { lr, betas, eps, weight_decay, decoupled, gradient_scale, step };
                kernels::adam(
                    isa,
                    &rule,
                    params,
                    g,
                    AdamState { exp_avg: first, exp_avg_sq: second },
                );
            }
            "rmsprop" => {
                let (alpha, eps, momentum) = (number("alpha"), number("eps"), number("momentum"));
                let centered = settings["centered"] == true;
                let rule =
                    RmsProp { lr, alpha, eps, momentum, centered, weight_decay, gradient_scale };
                kernels::rms_prop(
                    isa,
                    &rule,
                    params,
                    g,
                    RmsPropState { square_avg: second, grad_avg: first, momentum_buffer: velocity },
                );
            }
            "adagrad" => {
                let (lr_decay, eps) = (number("lr_decay"), number("eps"));
                let rule = Adagrad { lr, lr_decay, eps, weight_decay, gradient_scale, step };
                kernels::adagrad(isa, &rule, params, g, second);
            }
            other => panic!("no optimiser `{other}`"),
        }
    }

    /// What PyTorch keeps, under its names.
    fn named(&self, settings: &Value) -> Vec<(&'static str, &[f32])> {
        let names = match settings["kind"].as_str().unwrap() {
            "adam" | "adamw" => ["exp_avg", "exp_avg_sq", ""],
            "rmsprop" => ["grad_avg", "square_avg", "momentum_buffer"],
            "adagrad" => ["", "sum", ""],
            // Without momentum PyTorch keeps no velocity.
            _ if settings["momentum"] == 0.0 => return vec![],
            _ => ["", "", "momentum_buffer"],
        };
        let state = [&self.first, &self.second, &self.velocity].map(Vec::as_slice);
        names.into_iter().zip(state).filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// ‖got − expected‖ / ‖expected‖.
fn relative(got: &[f32], expected: &[f64]) -> f64 {
    let off: Vec<f64> = widen(got).iter().zip(expected).map(|(g, e)| g - e).collect();
    norm(&off) / norm(expected)
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
        other => panic!("{name} is of type {other:?}"),
    }
}
