//! What is trained is what is kept.

use super::*;
use crate::recipe::{Validation, ValidationSet};
use dataset::Source;
use kernels::Isa;
use model::{CUSTOM, Model, flatten, layers, linear};

/// Its file has the layers, not the recipe's preset.
#[test]
fn a_network_of_other_layers_is_saved_and_loaded() {
    let directory = tempfile::TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[9, 8, 7, 6]].concat();
    write("train-images-idx3-ubyte", &images).unwrap();
    write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
    let data = Dataset::open(&Source::new(directory.path())).unwrap();
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut recipe = Recipe::default();
    recipe.data.validation = Validation::Named(ValidationSet::None);

    let layers = layers![flatten(), linear(2)];
    let mut trainer = Trainer::with_layers(&recipe, &layers, &data, &workers).unwrap();
    trainer.run(|_| {}).unwrap();
    let path = directory.path().join("model.safetensors");
    trainer.model().save(&path).unwrap();
    let model = Model::load(&path).unwrap();
    assert_eq!((&*model.preset, model.network.layers()), (CUSTOM, &layers[..]));
    assert_eq!(model.weights[..], *trainer.weights());
    // The recipe that is kept says which data they were, and only that has changed.
    let kept = trainer.recipe().data.directory.as_ref().unwrap();
    assert_eq!(*kept, directory.path().canonicalize().unwrap());
    let again = Trainer::with_layers(trainer.recipe(), &layers, &data, &workers).unwrap();
    assert_eq!(again.recipe(), trainer.recipe());
}
