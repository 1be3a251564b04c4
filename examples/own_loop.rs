//! A training loop of one's own, with batch norm and a schedule, on the Fashion-MNIST that comes with Bobbin.
//!
//! ```text
//! cargo run --release --example own_loop
//! ```

use bobbin::autograd::{Buffer, Tape};
use bobbin::dataset::{Dataset, Source, pixel_statistics};
use bobbin::model::{Init, Model, Network};
use bobbin::model::{batch_norm2d, conv2d, flatten, layers, linear, max_pool2d, relu};
use bobbin::trainer::recipe::ScheduleKind;
use bobbin::trainer::scores::rank;
use bobbin::trainer::{Optimizer, Predictor, Recipe, Scaling, Schedule, Scratch, Workers};
use std::error::Error;

const IMAGES: usize = 4096;
const BATCH: usize = 64;
const EPOCHS: usize = 2;

/// Trains on a part of the images.
pub fn train(data: &Dataset, workers: &Workers) -> Result<Model, Box<dyn Error>> {
    let (train, shape) = (data.train()?, data.image_shape());
    let layers = layers![
        conv2d(8, 5).stride(2),
        batch_norm2d(),
        relu(),
        conv2d(16, 3),
        batch_norm2d(),
        relu(),
        max_pool2d(2),
        flatten(),
        linear(data.classes()),
    ];
    let network = Network::new(shape, &layers)?;
    let mut weights = network.initialise(1, Init::Pytorch);

    let indices: Vec<u32> = (0..IMAGES as u32).collect();
    let statistics = pixel_statistics(train, shape[0], &indices);
    let scaling = Scaling::new(shape[0], &statistics.mean, &statistics.std);

    let mut recipe = Recipe::default();
    recipe.optimizer.lr = 0.1;
    recipe.schedule.kind = ScheduleKind::OneCycle;
    let mut optimizer = Optimizer::new(&recipe.optimizer, &network)?;
    let steps_per_epoch = IMAGES / BATCH;
    let schedule = Schedule::new(&recipe, steps_per_epoch, EPOCHS * steps_per_epoch);

    let (mut scratch, mut gradients) = (Scratch::default(), Buffer::zeros(network.len()));
    for step in 0..EPOCHS * steps_per_epoch {
        let first = step % steps_per_epoch * BATCH;
        let images = first..first + BATCH;
        let labels: Vec<u32> = images.clone().map(|i| train.label(i)).collect();
        let pixels: Vec<Vec<u8>> = images.clone().map(|i| train.image(i)).collect();

        gradients.fill(0.0);
        let mut tape = Tape::training(workers.isa(), &mut scratch.tape, &weights, BATCH);
        let x = scaling.input(&mut tape, BATCH, shape, |i| &pixels[i]);
        let logits = network.forward(&mut tape, x);
        let (loss, sums) = tape.softmax_cross_entropy(logits, &labels, 0.0);
        tape.backward(loss, &mut gradients);

        // Weights follow their gradients, and batch norm's running statistics those of the batch. After a loop
        // without this, such as w -= lr * g, the network refuses to be evaluated.
        let lr = schedule.learning_rate(step);
        optimizer.step(workers, lr, &mut weights, &mut gradients);
        if images.end == IMAGES {
            println!("epoch {}: loss {:.3}", step / steps_per_epoch + 1, sums.loss / BATCH as f64);
        }
    }
    Ok(Model {
        preset: bobbin::model::CUSTOM.to_owned(),
        network,
        weights,
        classes: data.class_names().to_vec(),
        mean: statistics.mean,
        std: statistics.std,
        multi_label: false,
        preparation: None,
    })
}

/// Which part of the test images a model classifies correctly.
pub fn accuracy(model: &Model, data: &Dataset, workers: &Workers) -> Result<f64, Box<dyn Error>> {
    let (test, classes) = (data.test()?, model.network.classes());
    let mut logits = vec![0.0; test.len() * classes];
    let images: Vec<u32> = (0..test.len() as u32).collect();
    Predictor::new(model, workers)?.logits_of(test, &images, &mut logits);
    let rows = logits.chunks_exact(classes).enumerate();
    let found = rows.filter(|(i, logits)| rank(logits, test.label(*i) as usize) == 0).count();
    Ok(found as f64 / test.len() as f64)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (data, workers) = (Dataset::open(&Source::bundled()?)?, Workers::from_env()?);
    let model = train(&data, &workers)?;
    println!("{:.2} % of the test images", 100.0 * accuracy(&model, &data, &workers)?);
    Ok(())
}
