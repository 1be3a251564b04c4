//! Twenty steps of training a preset from given weights, on batches of four images in the order of their file, nothing
//! dropped: what another program can repeat, as `scripts/interop/steps_check.py` does.
//!
//! ```text
//! cargo run --release --example steps -- resnet18 DIRECTORY 1e-5
//! ```
//!
//! Reads the weights `net.pth` and IDX files, prints the loss of each batch before its step, and leaves
//! `after.safetensors`. The network is given as a recipe's list of layers.

use bobbin::dataset::{Dataset, Source};
use bobbin::model::{Kind, LayerList, preset};
use bobbin::trainer::{Recipe, Trainer, Workers};
use std::error::Error;
use std::path::Path;

const STEPS: u32 = 20;
const BATCH: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, directory, lr] = &arguments[..] else {
        return Err("expected the name of a preset, a directory and a learning rate".into());
    };
    let (data, directory) = (Dataset::open(&Source::new(directory))?, Path::new(directory));
    let settings = [
        ("model.weights", directory.join("net.pth").display().to_string()),
        ("data.batch_size", BATCH.to_string()),
        ("data.validation", "none".to_owned()),
        ("data.normalize", "{ mean = [0.5], std = [0.5] }".to_owned()),
        ("optimizer.lr", lr.clone()),
        ("optimizer.momentum", "0.9".to_owned()),
    ];
    let settings = settings.map(|(field, value)| (field.to_owned(), value));
    let recipe = Recipe::parse("recipe", &as_toml(name, data.classes())?, &settings)?;
    let workers = Workers::from_env()?;
    let mut trainer = Trainer::new(&recipe, &data, &workers)?;
    for step in 0..STEPS {
        let images: Vec<u32> = (BATCH * step..BATCH * (step + 1)).collect();
        println!("{}", trainer.step(&images)?.loss / f64::from(BATCH));
    }
    Ok(trainer.model().save(&directory.join("after.safetensors"))?)
}

/// A recipe with the layers of a preset, of which none drops anything.
fn as_toml(name: &str, classes: usize) -> Result<String, Box<dyn Error>> {
    let mut layers = preset(name, classes)?;
    for layer in &mut layers {
        if let Kind::Dropout(dropout) = &mut layer.kind {
            dropout.p = 0.0;
        }
    }
    let mut recipe = Recipe::default();
    recipe.model.layers = Some(LayerList::from(&layers[..]));
    Ok(recipe.to_toml())
}
