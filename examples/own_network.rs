//! A network of one's own, trained on the Fashion-MNIST that comes with Bobbin.
//!
//! ```text
//! cargo run --release --example own_network
//! ```

use bobbin::dataset::{Dataset, Source};
use bobbin::model::{Layer, batch_norm2d, conv2d, flatten, layers, linear, relu, residual};
use bobbin::trainer::recipe::ScheduleKind;
use bobbin::trainer::{Recipe, Trainer, Workers};
use std::error::Error;

/// Each layer takes the shape of its input from those before it.
fn network(classes: usize) -> Vec<Layer> {
    let body = layers![conv2d(16, 3).same().no_bias(), batch_norm2d()];
    layers![
        conv2d(16, 5).stride(2).padding(2),
        batch_norm2d(),
        relu(),
        residual(body, vec![]),
        conv2d(32, 3).stride(2),
        relu(),
        flatten(),
        linear(classes),
    ]
}

/// Trains for two epochs; returns which part of the test images is then classified correctly.
pub fn train() -> Result<f64, Box<dyn Error>> {
    let mut recipe = Recipe::default();
    recipe.optimizer.lr = 0.1;
    recipe.schedule.kind = ScheduleKind::OneCycle;
    recipe.stop.epochs = 2;

    let data = Dataset::open(&Source::bundled()?)?;
    let workers = Workers::from_env()?;
    let mut trainer = Trainer::with_layers(&recipe, &network(data.classes()), &data, &workers)?;
    let mut accuracy = 0.0;
    trainer.run(|epoch| {
        accuracy = epoch.validation.map_or(0.0, |test| test.accuracy);
        println!("epoch {}: {:.2} % of the test images", epoch.number, 100.0 * accuracy);
    })?;
    Ok(accuracy)
}

fn main() -> Result<(), Box<dyn Error>> {
    train().map(drop)
}
