//! Twenty steps of training a preset on batches of four images in the order of their file, nothing dropped: what another
//! program can repeat, as `scripts/interop/steps_check.py` does. Prints the loss of each batch before its step.
//!
//! ```text
//! cargo run --release --example steps                                LeNet on Fashion-MNIST, from weights of chance
//! cargo run --release --example steps -- resnet18 DIRECTORY 1e-5
//! ```
//!
//! DIRECTORY has IDX files and the weights to begin with, `net.pth`; `after.safetensors` is left there. The network is
//! given as a recipe's list of layers.

use bobbin::dataset::{Dataset, Source};
use bobbin::model::{Kind, LayerList, preset};
use bobbin::trainer::{Recipe, Trainer, Workers};
use std::error::Error;
use std::path::Path;

const STEPS: u32 = 20;
const BATCH: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, directory, lr) = match &arguments[..] {
        [] => ("lenet", None, "1e-3"),
        [name, directory, lr] => (&**name, Some(Path::new(directory)), &**lr),
        _ => return Err("expected the name of a preset, a directory and a learning rate".into()),
    };
    let data = Dataset::open(&directory.map_or_else(Source::bundled, |d| Ok(Source::new(d)))?)?;
    let mut settings = vec![
        ("data.batch_size", BATCH.to_string()),
        ("data.validation", "none".to_owned()),
        ("data.normalize", "{ mean = [0.5], std = [0.5] }".to_owned()),
        ("optimizer.lr", lr.to_owned()),
        ("optimizer.momentum", "0.9".to_owned()),
    ];
    let weights = directory.map(|d| ("model.weights", d.join("net.pth").display().to_string()));
    settings.extend(weights);
    let settings: Vec<(String, String)> =
        settings.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    let recipe = Recipe::parse("recipe", &as_toml(name, data.classes())?, &settings)?;
    let workers = Workers::from_env()?;
    let mut trainer = Trainer::new(&recipe, &data, &workers)?;
    for step in 0..STEPS {
        let images: Vec<u32> = (BATCH * step..BATCH * (step + 1)).collect();
        println!("{}", trainer.step(&images)?.loss / f64::from(BATCH));
    }
    if let Some(directory) = directory {
        trainer.model().save(&directory.join("after.safetensors"))?;
    }
    Ok(())
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
