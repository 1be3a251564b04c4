//! What is trained on, what is validated on, and how pixels are scaled.

use crate::data::{Dataset, Share, Split};
use crate::error::TrainError;
use crate::moments::measure;
use crate::recipe::{Moments, Normalize, Recipe, RecipeError, Validation, ValidationSet};
use crate::sampler::hold_out;

/// The images to train on, and those to validate on.
pub(super) type Division<'a> = (Vec<u32>, Option<(&'a Split, Vec<u32>)>);

pub(super) fn divide<'a>(
    recipe: &Recipe,
    data: &'a Dataset,
    train: &'a Split,
) -> Result<Division<'a>, TrainError> {
    let all = |split: &Split| (0..split.len() as u32).collect::<Vec<_>>();
    if let Some(share) = data.share() {
        return divide_shared(recipe, data, share);
    }
    match recipe.data.validation {
        Validation::Named(ValidationSet::None) => Ok((all(train), None)),
        Validation::Named(ValidationSet::Test) => {
            let test = data.test().map_err(TrainError::NoTest)?;
            Ok((all(train), Some((test, all(test)))))
        }
        Validation::HeldOut(held_out) if held_out >= train.len() => {
            let expected = format!("fewer than the {} images of the training set", train.len());
            Err(RecipeError::value("data.validation", held_out, expected).into())
        }
        Validation::HeldOut(held_out) => {
            let (training, validation) = hold_out(recipe.seed, train.len(), held_out);
            Ok((training, Some((train, validation))))
        }
    }
}

/// The same for training images that are shared out: an epoch has as many as all ranks.
fn divide_shared<'a>(
    recipe: &Recipe,
    data: &'a Dataset,
    share: &Share,
) -> Result<Division<'a>, TrainError> {
    let training = (0..share.images as u32).collect();
    match recipe.data.validation {
        Validation::Named(ValidationSet::None) => Ok((training, None)),
        Validation::Named(ValidationSet::Test) => {
            let test = data.test().map_err(TrainError::NoTest)?;
            Ok((training, Some((test, (0..test.len() as u32).collect()))))
        }
        Validation::HeldOut(held_out) => {
            let expected = "\"test\" or \"none\", as no rank has all training images".to_owned();
            Err(RecipeError::value("data.validation", held_out, expected).into())
        }
    }
}

/// Mean and std to normalise with: the recipe's, or those of the training images, whose sums are
/// exact integers.
pub(super) fn moments(
    recipe: &Recipe,
    train: &Split,
    indices: &[u32],
    share: Option<&Share>,
    channels: usize,
) -> Result<Moments, TrainError> {
    if let Normalize::Fixed(moments) = &recipe.data.normalize {
        if moments.mean.len() != 1 && moments.mean.len() != channels {
            let (field, found) = ("data.normalize.mean", format!("{:?}", moments.mean));
            let expected = format!("1 number or {channels}, one per channel of the images");
            return Err(RecipeError::value(field, found, expected).into());
        }
        return Ok(moments.clone());
    }
    Ok(share.map_or_else(|| measure(train, channels, indices), |share| share.moments.clone()))
}
