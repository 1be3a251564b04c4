//! The weights of the shipped recipes are fixed: no change of speed, threads or SIMD path may move a bit.
//!
//! Each recipe trains for a few steps on the bundled Fashion-MNIST, and every step must have the hashes of the
//! published ledger (`tracking/published/`), which `bobbin verify` compares too. Paths without fused multiply-add
//! round differently and are not held to it.

use dataset::{Dataset, Source};
use files::digest;
use kernels::Isa;
use model::tensors::without_hash;
use tracking::ledger::{Comparison, Published, published};
use trainer::recipe::PICTURES;
use trainer::{Recipe, Trainer, Workers};

fn fused() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|isa| isa.name() != "portable")
}

/// The paths that compute a row in their own way.
fn fused_for(row: &Published) -> Vec<Isa> {
    let is_bf16 = row.recipe.ends_with("-bf16");
    let paths = if is_bf16 { Isa::available_bf16() } else { Isa::available() };
    paths.into_iter().filter(|isa| isa.name() != "portable").collect()
}

/// The published run with this change of its recipe, beside its ledger; and its model file.
fn compared(row: &Published, isa: Isa, change: impl FnOnce(&mut Recipe)) -> (Comparison, Vec<u8>) {
    let ledger = row.ledger().unwrap();
    let mut recipe = ledger.recipe().unwrap();
    change(&mut recipe);
    let data = Dataset::open(&Source::bundled().unwrap()).unwrap();
    assert_eq!(ledger.data(), data.fingerprint());
    let workers = Workers::new(isa, 2).unwrap();
    let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
    let mut comparison = Comparison::new(ledger).unwrap();
    trainer.run_observed(&mut comparison).unwrap();
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("model.safetensors");
    trainer.model().save(&path).unwrap();
    (comparison, std::fs::read(path).unwrap())
}

#[test]
fn the_models_of_shipped_recipes_keep_their_bytes() {
    for row in published() {
        for isa in fused_for(&row) {
            let (found, file) = compared(&row, isa, |_| {});
            let difference = found.difference.map(|difference| difference.to_string());
            assert_eq!(difference, None, "{} on {isa}", row.recipe);
            assert_eq!((found.steps, found.model), (row.steps(), Some(row.model())));
            // The file is, but for the hash in it, the one that was published before there were hashes.
            assert_eq!(digest::of_bytes(&without_hash(&file).unwrap()), row.model());
        }
    }
}

#[test]
fn every_shipped_recipe_is_published_as_it_is() {
    // What `pictures` is depends on the data: its bits are those of the recipe that a run of it keeps.
    for (name, _) in Recipe::shipped().filter(|(name, _)| *name != PICTURES) {
        let row = published().into_iter().find(|row| row.recipe == name);
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        let settings =
            [("stop.iterations", row.steps().to_string()), ("data.validation", "none".into())];
        let settings = settings.map(|(field, value)| (field.to_owned(), value));
        let recipe = Recipe::load(name, &settings).unwrap();
        let published = row.ledger().unwrap().recipe().unwrap();
        assert_eq!(published.difference(&recipe, &[]), None, "{name}");
    }
}

/// A ledger has the recipe in it: a field that was not there before is not written where it has its default.
#[test]
fn recipes_are_written_as_they_were() {
    for row in published() {
        let path =
            format!("{}/tracking/published/{}.jsonl", env!("CARGO_MANIFEST_DIR"), row.recipe);
        let ledger = std::fs::read_to_string(path).unwrap();
        let start = ledger.lines().next().unwrap();
        let start: serde_json::Value = serde_json::from_str(start).unwrap();
        let recipe = row.ledger().unwrap().recipe().unwrap();
        assert_eq!(recipe.to_toml(), start["recipe"], "{}", row.recipe);
    }
}

/// The comparison can fail: with shards of another size the same terms are added in another order.
#[test]
fn another_summation_tree_has_other_bits() {
    let isa = fused().next();
    for row in isa.map(|_| published()).into_iter().flatten() {
        let other = |recipe: &mut Recipe| {
            recipe.data.shard = Some(if recipe.shard() > 16 { 16 } else { 32 });
        };
        let (found, file) = compared(&row, isa.unwrap(), other);
        let difference = found.difference.expect(row.recipe);
        let names: Vec<&str> = difference.what.iter().map(|(what, ..)| *what).collect();
        assert_eq!((difference.step, found.model), (1, None), "{}", row.recipe);
        assert!(
            names.contains(&"gradient") && names.contains(&"weights"),
            "{}: {names:?}",
            row.recipe
        );
        assert!(!names.contains(&"batch") && !names.contains(&"learning rate"), "{names:?}");
        assert_ne!(digest::of_bytes(&without_hash(&file).unwrap()), row.model());
    }
}
