//! Burn beside Bobbin.

mod network;

use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use network::{Builder, Network};
use protocol::{Arguments, Contestant, Data, Mode, SIZE, exit, limit_threads, serve};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    limit_threads(&arguments, &["RAYON_NUM_THREADS", "MATMUL_NUM_THREADS"]);
    exit(Burn::new(&arguments).and_then(|burn| serve(&arguments, burn)))
}

struct Burn {
    data: Data,
    setting: String,
    /// How many numbers are trained.
    parameters: usize,
    device: Device,
    /// Taken out while it is updated.
    network: Option<Network>,
    training: Option<(ModuleOptimizer, CrossEntropyLoss)>,
    batches: Vec<(Tensor<4>, Tensor<1, Int>)>,
}

impl Burn {
    fn new(arguments: &Arguments) -> Result<Burn, Box<dyn Error>> {
        let setting = arguments.setting.clone().unwrap_or("flex".into());
        let mut device = device(&setting)?;
        let mut training = None;
        if arguments.mode == Mode::Train {
            device = device.autodiff();
            let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
            let optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
            training = Some((optimizer, CrossEntropyLossConfig::new().init(&device)));
        }
        let bytes = std::fs::read(arguments.weights())?;
        let builder = Builder {
            weights: SafeTensors::deserialize(&bytes)?,
            device: device.clone(),
            norm_chunk: arguments.norm_chunk(),
        };
        let trained = |name: &str| name.ends_with(".weight") || name.ends_with(".bias");
        let tensors = builder.weights.iter().filter(|(name, _)| trained(name));
        let parameters = tensors.map(|(_, view)| view.shape().iter().product::<usize>()).sum();
        let network = Some(builder.network(&arguments.network)?);
        let data = Data::open(arguments)?;
        Ok(Burn { data, setting, parameters, device, network, training, batches: vec![] })
    }
}

/// The backend of a setting.
fn device(setting: &str) -> Result<Device, Box<dyn Error>> {
    match setting {
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated, reason = "it is there to be compared")]
        "ndarray" => Ok(Device::ndarray()),
        #[cfg(feature = "cpu")]
        "cpu" => Ok(Device::cpu()),
        _ => Err(format!("built without a backend {setting}").into()),
    }
}

impl Contestant for Burn {
    /// The loss of a training step, or logits.
    type Output = Output;

    fn describe(&self) -> Value {
        json!({
            "framework": "Burn",
            "version": "0.22.1",
            "setting": self.setting,
            "parameters": self.parameters,
        })
    }

    fn batches(&self) -> usize {
        self.data.batches()
    }

    fn prepare(&mut self, batch: usize) -> Result<(), Box<dyn Error>> {
        let (images, labels) = self.data.batch(batch);
        let shape = [labels.len(), 1, SIZE, SIZE];
        let images = Tensor::from_data(TensorData::new(images, shape), &self.device);
        let shape = [labels.len()];
        let labels = Tensor::from_data(TensorData::new(labels, shape), &self.device);
        self.batches.push((images, labels));
        Ok(())
    }

    fn step(&mut self, batch: usize) -> Result<Output, Box<dyn Error>> {
        let network = self.network.take().ok_or("the last step has failed")?;
        let (images, labels) = self.batches[batch].clone();
        let logits = network.forward(images);
        let Some((optimizer, loss)) = &mut self.training else {
            self.network = Some(network);
            return Ok(Output::Logits(logits));
        };
        let loss = loss.forward(logits, labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(optimizer.step(0.01, network, gradients));
        Ok(Output::Loss(loss.inner()))
    }

    fn finish(&mut self, output: Output) -> Result<Option<f64>, Box<dyn Error>> {
        self.device.sync().map_err(|error| format!("{error:?}"))?;
        match output {
            Output::Loss(loss) => Ok(Some(f64::from(loss.into_scalar::<f32>()))),
            Output::Logits(logits) => {
                drop(logits);
                Ok(None)
            }
        }
    }
}

/// What a step gives.
enum Output {
    Loss(Tensor<1>),
    Logits(Tensor<2>),
}
