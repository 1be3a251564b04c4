//! Whether every shard of a run is one that batch norm can normalise.
//!
//! Batch norm is over the images of a shard and their pixels. Where images have a single pixel (after
//! global pooling, say) a shard of one image has a single value per channel: it would become zero whatever
//! it is, and what it adds to the running variance means nothing. PyTorch refuses such a batch, and so
//! does a trainer: before it begins, as all batches are known then.

use crate::error::TrainError;
use crate::recipe::Recipe;
use kernels::LANES;
use model::Network;

/// Sizes that are tried for the advice.
const TRIED: usize = 64;

/// An error if a run on as many images has a shard in which a batch norm has a single value per channel.
pub(super) fn check_run(
    recipe: &Recipe,
    network: &Network,
    images: usize,
) -> Result<(), TrainError> {
    let (size, shard) = (recipe.data.batch_size, recipe.shard());
    let lone = |size: usize, shard: usize| batches(images, size).find(|b| has_lone(*b, shard));
    let Some(batch) = lone(size, shard) else { return Ok(()) };
    let Some(layer) = one_pixel_norm(network) else { return Ok(()) };
    // Shards are whole sixteens.
    let mut shards = (1..=TRIED).map(|n| shard + LANES * n);
    let better_shard = shards.find(|shard| lone(size, *shard).is_none());
    // The shard that follows from another batch size, unless the recipe has one.
    let of = |data: usize| {
        let mut recipe = recipe.clone();
        recipe.data.batch_size = data;
        recipe.shard()
    };
    let mut sizes = (size + 1..=size + TRIED)
        .chain((2..size).rev())
        .filter(|size| lone(*size, of(*size)).is_none());
    let mut better_size = || sizes.next();
    let advice = match (better_shard, better_size()) {
        (Some(shard), _) => format!("choose another `data.shard`, such as {shard}"),
        (None, Some(size)) => format!("choose another `data.batch_size`, such as {size}"),
        (None, None) => "it takes more training images, or no batch norm there".to_owned(),
    };
    Err(TrainError::SingleValue { layer: layer.to_owned(), batch, shard, advice })
}

/// The same of one batch.
pub(super) fn check_batch(network: &Network, batch: usize, shard: usize) -> Result<(), TrainError> {
    match has_lone(batch, shard).then(|| one_pixel_norm(network)).flatten() {
        None => Ok(()),
        Some(layer) => {
            let advice = "choose batches of another size".to_owned();
            Err(TrainError::SingleValue { layer: layer.to_owned(), batch, shard, advice })
        }
    }
}

/// The sizes of the batches of an epoch: full ones, and the last.
fn batches(images: usize, size: usize) -> impl Iterator<Item = usize> {
    [images.min(size), images % size].into_iter().filter(|batch| *batch > 0)
}

/// Whether a shard of a batch has one image alone.
fn has_lone(batch: usize, shard: usize) -> bool {
    batch % shard == 1
}

/// The first place where a batch norm sees one pixel: one that is used again may see planes of several sizes.
fn one_pixel_norm(network: &Network) -> Option<&str> {
    network.batch_norms().find(|(_, shape)| shape[1..] == [1, 1]).map(|(layer, _)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{again, batch_norm2d, conv2d, flatten, global_avg_pool2d, layers, linear, relu};

    fn network(pixels: bool) -> Network {
        let norm = layers![batch_norm2d(), relu()];
        let pool = layers![global_avg_pool2d()];
        let (a, b) = if pixels { (norm, pool) } else { (pool, norm) };
        let ends = [layers![conv2d(4, 3)], a, b, layers![flatten(), linear(3)]];
        Network::new([1, 8, 8], &ends.concat()).unwrap()
    }

    fn check(size: usize, shard: Option<usize>, images: usize) -> Result<(), String> {
        let mut recipe = Recipe::default();
        (recipe.data.batch_size, recipe.data.shard) = (size, shard);
        assert!(check_run(&recipe, &network(true), images).is_ok(), "more pixels than one");
        check_run(&recipe, &network(false), images).map_err(|error| error.to_string())
    }

    #[test]
    fn a_single_value_per_channel_is_refused() {
        for (size, shard, images) in [(64, None, 640), (64, Some(16), 130), (1, None, 0)] {
            assert_eq!(check(size, shard, images), Ok(()));
        }
        for (size, shard, images, advice) in [
            // One image a step, the last shard of each batch, the last shard of the last batch.
            (1, None, 10, "`data.batch_size`, such as 2"),
            (17, Some(16), 170, "`data.shard`, such as 32"),
            (64, Some(32), 97, "`data.shard`, such as 48"),
            // The last batch is one image, whatever the shard.
            (64, None, 129, "`data.batch_size`, such as 66"),
            (64, None, 1, "more training images"),
            // Only a smaller batch does: a larger one is these images without one that is left.
            (64, Some(64), 65, "`data.batch_size`, such as 63"),
            (64, None, 65, "`data.batch_size`, such as 63"),
        ] {
            let found = check(size, shard, images).unwrap_err();
            assert!(found.contains(advice), "{found}");
            assert!(found.starts_with("batch norm 2 sees one pixel per channel"), "{found}");
        }
    }

    /// One batch norm behind a convolution, over its planes, and again behind the pool, over one pixel.
    #[test]
    fn every_place_of_a_batch_norm_counts() {
        let shared = |second: Vec<_>| {
            let first = layers![conv2d(4, 3), batch_norm2d().affine(false).named("norm"), relu()];
            let end = layers![global_avg_pool2d().named("end"), flatten(), linear(3)];
            Network::new([1, 8, 8], &[first, second, end].concat()).unwrap()
        };
        let pooled = shared(layers![global_avg_pool2d(), again("norm").named("pooled")]);
        let mut recipe = Recipe::default();
        recipe.data.batch_size = 1;
        let error = check_run(&recipe, &pooled, 10).unwrap_err().to_string();
        assert!(error.starts_with("batch norm pooled sees one pixel per channel"), "{error}");
        let error = check_batch(&pooled, 33, 32).unwrap_err().to_string();
        assert!(error.starts_with("batch norm pooled sees one pixel per channel"), "{error}");
        assert!(check_batch(&pooled, 34, 32).is_ok());
        let planes = shared(layers![again("norm")]);
        assert!(check_run(&recipe, &planes, 10).is_ok(), "more pixels than one at both places");
    }
}
