//! Serving: a picture in, the classes that it may belong to out.
//!
//! ```text
//! cargo run --release --example serve                            trains LeNet for an epoch, asks about a test image
//! cargo run --release --example serve runs/fast-1/model.safetensors shirt.jpg
//! ```

use bobbin::dataset::{Dataset, Source};
use bobbin::model::Model;
use bobbin::pictures::{Inversion, Picture, Prepared};
use bobbin::trainer::scores::probabilities;
use bobbin::trainer::{Predictor, Recipe, Trainer, Workers};
use std::error::Error;
use std::path::Path;

/// Every class with its probability, the likeliest first. A server keeps the predictor between requests.
pub fn classify<'a>(predictor: &Predictor<'a>, picture: &Picture) -> Vec<(&'a str, f64)> {
    let model = predictor.model();
    let fit = model.preparation.unwrap_or_default().fit;
    let shape = model.network.input();
    let prepared = Prepared::new(picture, shape, fit, Inversion::of(model));
    let mut logits = vec![0.0; model.network.classes()];
    predictor.logits(|_| &prepared.image, &mut logits);
    let found = probabilities(&logits).into_iter();
    found.map(|(class, probability)| (&*model.classes[class], probability)).collect()
}

/// LeNet after an epoch on the bundled Fashion-MNIST, and the first test image as a picture: a boot.
pub fn example(workers: &Workers) -> Result<(Model, Picture), Box<dyn Error>> {
    let data = Dataset::open(&Source::bundled()?)?;
    let mut recipe = Recipe::default();
    recipe.stop.epochs = 1;
    let mut trainer = Trainer::new(&recipe, &data, workers)?;
    trainer.run(|_| {})?;
    let picture = Picture::from_idx(&data.test()?.image(0), data.image_shape());
    Ok((trainer.model(), picture))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let workers = Workers::from_env()?;
    let (model, picture) = match &arguments[..] {
        [] => example(&workers)?,
        [model, picture] => (Model::load(Path::new(model))?, Picture::open(Path::new(picture))?),
        _ => return Err("serve takes a model and a picture, or nothing".into()),
    };
    for (class, probability) in
        classify(&Predictor::new(&model, &workers)?, &picture).iter().take(3)
    {
        println!("{:6.2} %  {class}", 100.0 * probability);
    }
    Ok(())
}
