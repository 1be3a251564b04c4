//! Logits of the first test images of a data set, by default of the Fashion-MNIST that comes with Bobbin, one line each.
//!
//! ```text
//! cargo run --release --example logits                               trains LeNet for an epoch first
//! cargo run --release --example logits runs/fast-1/model.safetensors 1000
//! cargo run --release --example logits net.pth 20 DATA        of a directory of IDX files
//! ```
//!
//! A file that does not say what network it is for, as PyTorch saves them, is taken for the preset
//! that has its names and shapes, and its input for pixels / 255.

use bobbin::dataset::{Dataset, Source};
use bobbin::model::tensors::TensorFile;
use bobbin::model::{Model, StateDict, Usage};
use bobbin::trainer::{Predictor, Recipe, Trainer, Workers};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let source =
        std::env::args().nth(3).map_or_else(Source::bundled, |path| Ok(Source::new(path)))?;
    let data = Dataset::open(&source)?;
    let workers = Workers::from_env()?;
    let model = match arguments.next() {
        Some(path) => load(Path::new(&path), &data)?,
        None => train(&data, &workers)?,
    };
    let images = arguments.next().map_or(Ok(5), |count| count.parse())?;
    let test = data.test()?;
    let classes = model.network.classes();
    let mut logits = vec![0.0; images * classes];
    let numbers: Vec<u32> = (0..images as u32).collect();
    Predictor::new(&model, &workers)?.logits_of(test, &numbers, &mut logits);
    for row in logits.chunks(classes) {
        println!("{}", row.iter().map(f32::to_string).collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

fn load(path: &Path, data: &Dataset) -> Result<Model, Box<dyn Error>> {
    let file = TensorFile::read(path)?;
    if Model::is_in(&file) {
        return Ok(Model::from_tensors(&file)?);
    }
    let input = data.image_shape();
    let architecture = StateDict::of(&file).matching_preset(input)?;
    let usage = Usage { input, classes: None, mean: vec![0.0], std: vec![1.0] };
    Ok(Model::from_state_dict(&file, &architecture, usage)?)
}

fn train(data: &Dataset, workers: &Workers) -> Result<Model, Box<dyn Error>> {
    let mut recipe = Recipe::default();
    recipe.stop.epochs = 1;
    let mut trainer = Trainer::new(&recipe, data, workers)?;
    trainer.run(|_| {})?;
    Ok(trainer.model())
}
