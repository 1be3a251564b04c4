//! Candle beside Bobbin.

mod network;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, Optimizer, VarBuilder, VarMap, loss};
use clap::Parser;
use network::{Builder, Network, Pooling};
use protocol::{Arguments, Contestant, Data, Mode, SIZE, exit, limit_threads, serve};
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    limit_threads(&arguments, &["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS"]);
    exit(Candle::new(&arguments).and_then(|candle| serve(&arguments, candle)))
}

struct Candle {
    data: Data,
    setting: String,
    network: Network,
    parameters: usize,
    /// Where the network is trained.
    optimizer: Option<Momentum>,
    batches: Vec<(Tensor, Tensor)>,
}

impl Candle {
    fn new(arguments: &Arguments) -> Result<Candle, Box<dyn Error>> {
        let setting = arguments.setting.clone().unwrap_or("max_pool2d".into());
        let pooling = match setting.as_str() {
            "max_pool2d" => Pooling::MaxPool2d,
            "maximum" => Pooling::Maximum,
            _ => return Err(format!("unknown setting {setting}").into()),
        };
        let weights = candle_core::safetensors::load(arguments.weights(), &Device::Cpu)?;
        let trained = |name: &str| name.ends_with(".weight") || name.ends_with(".bias");
        let names = weights.keys().filter(|name| trained(name));
        let parameters = names.map(|name| weights[name].elem_count()).sum();
        let variables = VarMap::new();
        let mut optimizer = None;
        let vb = match arguments.mode {
            // What is no variable leaves no graph behind.
            Mode::Infer => VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu),
            Mode::Train => {
                let mut all = vec![];
                for (name, tensor) in weights {
                    let variable = Var::from_tensor(&tensor)?;
                    if trained(&name) {
                        all.push(variable.clone());
                    }
                    variables.data().lock().expect("no other thread").insert(name, variable);
                }
                optimizer = Some(Momentum::new(all, 0.01)?);
                VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu)
            }
        };
        let network = Builder { vb, pooling, norm_chunk: arguments.norm_chunk() }
            .network(&arguments.network)?
            .ok_or_else(|| format!("unknown network {}", arguments.network))?;
        let data = Data::open(arguments)?;
        Ok(Candle { data, setting, network, parameters, optimizer, batches: vec![] })
    }
}

impl Contestant for Candle {
    type Output = Tensor;

    fn describe(&self) -> Value {
        json!({
            "framework": "Candle",
            "version": "0.11.1",
            "setting": self.setting.clone() + if cfg!(feature = "mkl") { ", mkl" } else { "" },
            "parameters": self.parameters,
        })
    }

    fn batches(&self) -> usize {
        self.data.batches()
    }

    fn prepare(&mut self, batch: usize) -> Result<(), Box<dyn Error>> {
        let (images, labels) = self.data.batch(batch);
        let count = labels.len();
        let labels: Vec<u32> = labels.into_iter().map(|label| label as u32).collect();
        let images = Tensor::from_vec(images, (count, 1, SIZE, SIZE), &Device::Cpu)?;
        self.batches.push((images, Tensor::from_vec(labels, count, &Device::Cpu)?));
        Ok(())
    }

    fn step(&mut self, batch: usize) -> Result<Tensor, Box<dyn Error>> {
        let (images, labels) = &self.batches[batch];
        let Some(optimizer) = &mut self.optimizer else {
            return Ok(self.network.forward_t(images, false)?);
        };
        let logits = self.network.forward_t(images, true)?;
        let loss = loss::cross_entropy(&logits, labels)?;
        optimizer.backward_step(&loss)?;
        Ok(loss)
    }

    /// Candle computes at once.
    fn finish(&mut self, output: Tensor) -> Result<Option<f64>, Box<dyn Error>> {
        match self.optimizer {
            Some(_) => Ok(Some(f64::from(output.to_scalar::<f32>()?))),
            None => Ok(None),
        }
    }
}

/// SGD with momentum 0.9, which Candle's own does not have.
struct Momentum {
    /// Variables and their velocities.
    variables: Vec<(Var, Option<Tensor>)>,
    lr: f64,
}

impl Optimizer for Momentum {
    type Config = f64;

    fn new(variables: Vec<Var>, lr: f64) -> candle_core::Result<Momentum> {
        Ok(Momentum { variables: variables.into_iter().map(|v| (v, None)).collect(), lr })
    }

    fn step(&mut self, gradients: &GradStore) -> candle_core::Result<()> {
        for (variable, velocity) in &mut self.variables {
            let Some(gradient) = gradients.get(variable) else { continue };
            let next = match velocity {
                Some(velocity) => ((&*velocity * 0.9)? + gradient)?,
                None => gradient.clone(),
            };
            variable.set(&variable.as_detached_tensor().sub(&(&next * self.lr)?)?)?;
            *velocity = Some(next);
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.lr = lr;
    }
}
