//! The data as a run sees them: what is trained on and in which order, what is validated on, and how
//! pixels are scaled.

use crate::augment::Augmentation;
use crate::error::TrainError;
use crate::input::{Images, Scaling};
use crate::mix::Mixing;
use crate::recipe::{Monitor, Normalize, Recipe, RecipeError, Sampling, Validation, ValidationSet};
use crate::sampler::{balance, deal, hold_out, hold_out_of_each, pool_rare, shuffle};
use dataset::{Dataset, PixelStatistics, Share, Source, Split, pixel_statistics};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// The data as a run sees them.
pub(super) struct DataView<'a> {
    pub data: &'a Dataset,
    pub train: &'a Split,
    /// The images of an epoch, in file order.
    pub training: Vec<u32>,
    /// The same by their classes, where epochs are balanced; none is empty.
    classes: Vec<Vec<u32>>,
    pub validation: Option<(&'a Split, Vec<u32>)>,
    pub statistics: PixelStatistics,
    pub scaling: Scaling,
    pub augmentation: Augmentation,
    pub mixing: Option<Mixing>,
    fingerprint: OnceLock<String>,
}

/// A training image as it is in some epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Its number.
    pub image: u32,
    /// Its class, or the number of its set of labels ([`Split::label`]).
    pub class: u32,
    /// As it is in epochs 0, 1, …: rows of pixels, the channels of a pixel side by side.
    pub epochs: Vec<Vec<u8>>,
}

impl<'a> DataView<'a> {
    /// What a recipe makes of this data.
    pub fn new(recipe: &Recipe, data: &'a Dataset) -> Result<DataView<'a>, TrainError> {
        let train = data.train()?;
        let (training, validation) = divide(recipe, data, train)?;
        let shape = data.image_shape();
        let channels = shape[0];
        let statistics = statistics(recipe, train, &training, data.share(), channels)?;
        let PixelStatistics { mean, std } = &statistics;
        let augmentation = Augmentation::new(recipe, shape, mean);
        let mixing = Mixing::of(recipe, data)?;
        if data.has_floats() && recipe.augment.changes_images() {
            let expected =
                "no changes, as some images have values between bytes (Dataset::to_bytes)";
            return Err(RecipeError::value("augment", "changes of images", expected).into());
        }
        let scaling = Scaling::new(channels, mean, std);
        let fingerprint = OnceLock::new();
        let balanced = recipe.data.sampling == Sampling::Balanced;
        let classes = if balanced { by_class(train, &training) } else { vec![] };
        Ok(DataView {
            data,
            train,
            training,
            classes,
            validation,
            statistics,
            scaling,
            augmentation,
            mixing,
            fingerprint,
        })
    }

    /// Those of the training images.
    pub fn images<'s>(&'s self, indices: &'s [u32]) -> Images<'s> {
        Images::new(self.train, indices, &self.scaling)
    }

    /// The classes of these images, whoever has them.
    pub fn labels(&self, indices: &[u32]) -> impl ExactSizeIterator<Item = u32> {
        let share = self.data.share();
        indices.iter().map(move |&image| match share {
            Some(share) => share.labels[image as usize],
            None => self.train.label(image as usize),
        })
    }

    /// What changes training images, if anything does.
    pub fn augmentation(&self) -> Option<&Augmentation> {
        Some(&self.augmentation).filter(|augmentation| !augmentation.is_identity())
    }

    /// An error if validation does not find what is to be monitored: the area under a curve is that of two
    /// classes, and takes images of both; where images may have several labels, of one label at least.
    pub fn check_monitor(&self, monitor: Monitor) -> Result<(), RecipeError> {
        let Some((split, images)) = self.validation.as_ref().filter(|_| monitor == Monitor::Auc)
        else {
            return Ok(());
        };
        let classes = self.data.classes();
        let has = |class| images.iter().any(|&i| split.label(i as usize) == class);
        let sets = || images.iter().filter_map(|&i| split.label_set(i as usize));
        let varies = |label: usize| [0, 1].iter().all(|v| sets().any(|set| set[label] == *v));
        let expected = match classes {
            _ if split.is_multi_label() => match (0..classes).any(varies) {
                true => return Ok(()),
                false => "\"accuracy\", as all validation images have the same labels".to_owned(),
            },
            2 if has(0) && has(1) => return Ok(()),
            2 => "\"accuracy\", as all validation images are of one class".to_owned(),
            _ => format!("another than this, which is for two classes: the data have {classes}"),
        };
        Err(RecipeError::value("stop.monitor", "\"auc\"", expected))
    }

    /// Finds the training images in the order of an epoch.
    pub fn find_order(&self, recipe: &Recipe, epoch: u32, order: &mut Vec<u32>) {
        if let Some(share) = self.data.share() {
            let sizes = [recipe.data.batch_size, recipe.shard()];
            // Weights of classes are divided by those of the whole batch.
            let ranks = match recipe.model.class_weights {
                Some(_) => 0..share.ranks(),
                None => share.rank..share.rank + 1,
            };
            return deal((recipe.seed, epoch), share, ranks, sizes, order);
        }
        match recipe.data.sampling {
            Sampling::Shuffled => order.clone_from(&self.training),
            Sampling::Balanced => balance(recipe.seed, epoch, &self.classes, order),
        }
        shuffle(recipe.seed, epoch, order);
    }

    /// The first images of the first epoch, at most as many, as they are changed and mixed.
    pub fn first_images(&self, recipe: &Recipe, most: usize) -> Vec<Vec<u8>> {
        let mut order = self.own();
        match self.data.share() {
            Some(_) => shuffle(recipe.seed, 0, &mut order),
            None => self.find_order(recipe, 0, &mut order),
        }
        let count = order.len().min(most.min(recipe.data.batch_size));
        (0..count).map(|place| self.seen(recipe, 0, &order, place)).collect()
    }

    /// The training images that are here.
    fn own(&self) -> Vec<u32> {
        match self.data.share() {
            Some(share) => share.own().collect(),
            None => self.training.clone(),
        }
    }

    /// An image as it is in an epoch, before it is mixed with others.
    fn changed(&self, epoch: u32, image: u32) -> Vec<u8> {
        let mut from = self.train.image(image as usize);
        let mut to = vec![0; from.len()];
        self.augmentation.apply(epoch, image, &mut from, &mut to);
        to
    }

    /// The image at a place of the order of an epoch, as the network sees it there.
    fn seen(&self, recipe: &Recipe, epoch: u32, order: &[u32], place: usize) -> Vec<u8> {
        let image = self.changed(epoch, order[place]);
        let Some(mixing) = &self.mixing else { return image };
        let size = recipe.data.batch_size;
        let (batch, first) = (place / size, place - place % size);
        let last = order.len().min(first + size) - 1;
        let before = if place == first { last } else { place - 1 };
        let step = epoch as usize * order.len().div_ceil(size) + batch;
        let mut to = vec![0; image.len()];
        mixing.of_step(step).image(&image, &self.changed(epoch, order[before]), &mut to);
        to
    }

    /// Some images in each of so many epochs: one of each class, then others, by the seed.
    pub fn preview(&self, recipe: &Recipe, most: usize, epochs: u32) -> Vec<Preview> {
        let mut order = self.own();
        shuffle(recipe.seed, 0, &mut order);
        let class = |image: u32| self.train.label(image as usize);
        let mut met = BTreeSet::new();
        let is_first = |&image: &u32| met.insert(class(image));
        let (mut chosen, others): (Vec<u32>, Vec<u32>) = order.iter().copied().partition(is_first);
        chosen.extend(others);
        chosen.truncate(most);
        chosen.sort_by_key(|&image| (class(image), image));
        let preview = |image| Preview { image, class: class(image), epochs: vec![] };
        let mut previews: Vec<Preview> = chosen.into_iter().map(preview).collect();
        for epoch in 0..epochs {
            order.clear();
            if self.mixing.is_some() {
                self.find_order(recipe, epoch, &mut order);
            }
            for Preview { image, epochs, .. } in &mut previews {
                // A balanced epoch may be without the image: nothing is mixed into it then.
                let place = order.iter().position(|other| other == image);
                epochs.push(match place {
                    Some(place) => self.seen(recipe, epoch, &order, place),
                    None => self.changed(epoch, *image),
                });
            }
        }
        previews
    }

    /// The fingerprint of the data, found when it is first asked for.
    pub fn fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| self.data.fingerprint())
    }
}

/// Says in a recipe that names no data which they are, so that a run of it can be repeated from there. The
/// bundled data need no name; a path that is not UTF-8 has none in TOML.
pub(super) fn name_data(recipe: &mut Recipe, data: &Dataset) {
    if data.is_in_memory() {
        return;
    }
    let Source { directory, prefix, .. } = data.source();
    let Ok(directory) = directory.canonicalize() else { return };
    let bundled = Source::bundled().ok().and_then(|source| source.directory.canonicalize().ok());
    let section = &mut recipe.data;
    if section.directory.is_none()
        && directory.to_str().is_some()
        && bundled != Some(directory.clone())
    {
        section.directory = Some(directory);
        section.prefix = prefix;
    }
}

/// The images to train on, and those to validate on.
type Division<'a> = (Vec<u32>, Option<(&'a Split, Vec<u32>)>);

fn divide<'a>(
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
        validation => {
            let held_out = validation.held_out(train.len());
            if held_out >= train.len() {
                let expected = format!("fewer than the {} images of the training set", train.len());
                return Err(RecipeError::value("data.validation", held_out, expected).into());
            }
            let (training, validation) = match recipe.data.stratify {
                true if train.is_multi_label() => {
                    hold_out_of_each(recipe.seed, &pool_rare(train.labels()), held_out)
                }
                true => hold_out_of_each(recipe.seed, train.labels(), held_out),
                false => hold_out(recipe.seed, train.len(), held_out),
            };
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
    if recipe.data.sampling == Sampling::Balanced {
        let expected = "\"shuffled\", as no rank has all training images: `model.class_weights` may be \
                        \"balanced\" instead";
        return Err(RecipeError::value("data.sampling", "\"balanced\"", expected).into());
    }
    let training = (0..share.images() as u32).collect();
    match recipe.data.validation {
        Validation::Named(ValidationSet::None) => Ok((training, None)),
        Validation::Named(ValidationSet::Test) => {
            let test = data.test().map_err(TrainError::NoTest)?;
            Ok((training, Some((test, (0..test.len() as u32).collect()))))
        }
        Validation::HeldOut(_) | Validation::Fraction(_) => {
            let found = recipe.data.validation.held_out(share.images());
            let expected = "\"test\" or \"none\", as no rank has all training images".to_owned();
            Err(RecipeError::value("data.validation", found, expected).into())
        }
    }
}

/// The images of each class that has some.
fn by_class(split: &Split, images: &[u32]) -> Vec<Vec<u32>> {
    let mut classes = std::collections::BTreeMap::<u32, Vec<u32>>::new();
    for &image in images {
        classes.entry(split.label(image as usize)).or_default().push(image);
    }
    classes.into_values().collect()
}

/// Mean and std to normalise with: the recipe's, or those of the training images, whose sums are
/// exact integers.
fn statistics(
    recipe: &Recipe,
    train: &Split,
    indices: &[u32],
    share: Option<&Share>,
    channels: usize,
) -> Result<PixelStatistics, TrainError> {
    if let Normalize::Fixed(statistics) = &recipe.data.normalize {
        if statistics.mean.len() != 1 && statistics.mean.len() != channels {
            let (field, found) = ("data.normalize.mean", format!("{:?}", statistics.mean));
            let expected = format!("1 number or {channels}, one per channel of the images");
            return Err(RecipeError::value(field, found, expected).into());
        }
        return Ok(statistics.clone());
    }
    Ok(share.map_or_else(
        || pixel_statistics(train, channels, indices),
        |share| share.statistics.clone(),
    ))
}
