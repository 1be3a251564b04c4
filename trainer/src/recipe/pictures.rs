//! The recipe `pictures`, which is sized to the data: its network, its augmentation and its length.

use super::check::require;
use super::settings::set;
use super::shipped::{RECIPES, read};
use super::{Recipe, RecipeError};
use dataset::{DataError, Dataset};
use model::{
    Layer, LayerList, batch_norm2d, conv2d, flatten, global_avg_pool2d, layers, linear, max_pool2d,
    relu, residual,
};
use toml::{Table, Value};

/// The name of the recipe that is sized to the data.
pub const PICTURES: &str = "pictures";

/// Channels of the first stage; each that follows has twice as many.
const WIDTH: usize = 16;

/// Stages at most: the last has 128 channels.
const STAGES: usize = 4;

/// How often a run shows the network a picture, all epochs together.
const VISITS: usize = 150_000;

/// Epochs at least and at most.
const EPOCHS: [usize; 2] = [12, 150];

/// What of a data set decides its recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Channels, rows and columns of its images.
    pub shape: [usize; 3],
    /// How many images there are to train on, held-out ones among them.
    pub images: usize,
    /// Whether they may have several labels.
    pub multi_label: bool,
}

impl Facts {
    /// Those of the bundled Fashion-MNIST.
    pub const BUNDLED: Facts = Facts { shape: [1, 28, 28], images: 60_000, multi_label: false };

    /// Those of a data set; an error if it has no training images.
    pub fn of(data: &Dataset) -> Result<Facts, DataError> {
        let (shape, multi_label) = (data.image_shape(), data.is_multi_label());
        Ok(Facts { shape, images: data.train()?.len(), multi_label })
    }
}

impl Recipe {
    /// [`Recipe::load`], where [`PICTURES`] is sized to data of these facts: a residual network as deep as the
    /// images are large, shifts in proportion, fewer epochs the more images there are, and the loss of several
    /// labels. What the settings choose instead stays theirs: a network (or weights that name one), the images to
    /// validate on.
    pub fn load_for(
        name: &str,
        facts: Facts,
        settings: &[(String, String)],
    ) -> Result<Recipe, RecipeError> {
        if name != PICTURES {
            return Recipe::parse(name, &read(name, &RECIPES)?, settings);
        }
        let found = facts.images;
        require(found > 1, "data.directory", format!("a set of {found} images"), "two or more")?;
        Recipe::parse(name, &sized(facts, settings)?, settings)
    }
}

/// The text of the recipe for data of these facts, without what the settings take the place of.
fn sized(facts: Facts, settings: &[(String, String)]) -> Result<String, RecipeError> {
    let Facts { shape: [_, rows, columns], images, multi_label } = facts;
    let mut table: Table = read(PICTURES, &RECIPES)?.parse().expect("a shipped recipe is TOML");
    let epochs = VISITS.div_ceil(images).clamp(EPOCHS[0], EPOCHS[1]);
    // What the settings make of it says what they choose, however they are written.
    let mut chosen = table.clone();
    for (field, value) in settings {
        set(&mut chosen, field, value)?;
    }
    let value = |section: &str, key: &str| chosen.get(section).and_then(|of| of.get(key));
    let named = ["preset", "layers", "weights"]
        .iter()
        .any(|key| value("model", key) != table.get("model").and_then(|model| model.get(key)));
    // Nothing may select by the test set, nor without images to validate on.
    let validation = value("data", "validation").and_then(Value::as_str);
    let selects = !matches!(validation, Some("test" | "none"));
    let mut put = |section: &str, key: &str, value: Option<Value>| {
        let section = table.get_mut(section).and_then(Value::as_table_mut);
        let section = section.expect("the recipe has this section");
        match value {
            Some(value) => section.insert(key.to_owned(), value),
            None => section.remove(key),
        };
    };
    let number = |n: usize| Some(Value::Integer(n as i64));
    let layers = Value::try_from(LayerList::from(&network(rows, columns)[..]));
    put("model", "layers", layers.ok().filter(|_| !named));
    put("model", "loss", Some(Value::from("bce")).filter(|_| multi_label));
    put("augment", "shift", number(rows.max(columns).div_ceil(16)));
    put("stop", "epochs", number(epochs));
    put("stop", "patience", number((epochs / 3).max(5)).filter(|_| selects));
    if !selects {
        put("data", "stratify", None);
    }
    Ok(table.to_string())
}

/// A residual network for images of so many rows and columns: a convolution, which makes large images smaller, then
/// stages of one block, each of half the size and twice the channels of the one before, until an image is
/// smaller than eight pixels.
fn network(rows: usize, columns: usize) -> Vec<Layer> {
    let (least, most) = (rows.min(columns), rows.max(columns));
    // No batch norm over a lone pixel, and no shapes in so few.
    if least < 4 {
        return layers![flatten(), linear(64), relu(), linear(0)];
    }
    let (kernel, stride) = match most {
        0..=40 => (3, 1),
        41..=112 => (5, 2),
        _ => (7, 2),
    };
    let mut layers = convolution(WIDTH, kernel, stride);
    layers.push(relu());
    let mut side = least.div_ceil(stride);
    if most > 112 {
        layers.push(max_pool2d(3).stride(2).padding(1).into());
        side = side.div_ceil(2);
    }
    layers.push(block(WIDTH, 1));
    for stage in 1..STAGES {
        if side < 8 {
            break;
        }
        layers.push(block(WIDTH << stage, 2));
        side = side.div_ceil(2);
    }
    layers.extend(layers![global_avg_pool2d(), flatten(), linear(0)]);
    layers
}

/// Two 3×3 convolutions, the first with this stride, and what they are added to.
fn block(channels: usize, stride: usize) -> Layer {
    let mut body = convolution(channels, 3, stride);
    body.push(relu());
    body.extend(convolution(channels, 3, 1));
    residual(body, if stride > 1 { convolution(channels, 1, stride) } else { vec![] })
}

/// A convolution without bias and its batch norm.
fn convolution(channels: usize, kernel: usize, stride: usize) -> Vec<Layer> {
    let convolution = conv2d(channels, kernel).padding(kernel / 2).stride(stride).no_bias();
    layers![convolution, batch_norm2d()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Validation, ValidationSet};
    use model::Network;

    fn sized_for(shape: [usize; 3], images: usize, settings: &[(&str, &str)]) -> Recipe {
        let settings: Vec<(String, String)> =
            settings.iter().map(|(field, value)| (field.to_string(), value.to_string())).collect();
        let facts = Facts { shape, images, multi_label: false };
        Recipe::load_for(PICTURES, facts, &settings).unwrap()
    }

    #[test]
    fn any_images_get_a_network_that_fits_them() {
        for rows in (1..=66).chain([96, 112, 113, 224, 500]) {
            for columns in [1, 2, 4, 5, 7, 8, 15, 16, 28, 41, 64, 224, 1024] {
                let recipe = sized_for([3, rows, columns], 1000, &[]);
                let network = Network::new([3, rows, columns], &recipe.model.layers(60));
                let network = network.unwrap_or_else(|error| panic!("{rows}×{columns}: {error}"));
                assert_eq!(network.classes(), 60);
                // No batch norm over a single pixel, which a batch may not survive.
                let mut summaries = network.summaries().iter();
                let lone = summaries.any(|s| s.name.ends_with(".1") && s.output[1..] == [1, 1]);
                assert!(!lone, "{rows}×{columns}");
            }
        }
    }

    #[test]
    fn length_shift_and_depth_follow_the_data() {
        let of = |side, images| {
            let recipe = sized_for([1, side, side], images, &[]);
            let layers = recipe.model.layers(10).len();
            (recipe.stop.epochs, recipe.stop.patience, recipe.augment.shift, layers)
        };
        assert_eq!(of(8, 1500), (100, Some(33), 1, 8));
        assert_eq!(of(28, 60_000), (12, Some(5), 2, 9));
        assert_eq!(of(224, 200), (150, Some(50), 14, 11));
        // The file is that for Fashion-MNIST.
        let recipe = sized_for([1, 28, 28], 60_000, &[]);
        assert_eq!(recipe, Recipe::load(PICTURES, &[]).unwrap());
        let again = Recipe::parse("r.toml", &recipe.to_toml(), &[]).unwrap();
        assert_eq!(again.to_toml(), recipe.to_toml());
    }

    #[test]
    fn settings_take_the_place_of_what_is_sized() {
        let recipe = sized_for([3, 32, 32], 500, &[("stop.epochs", "3"), ("model.preset", "vgg")]);
        assert_eq!((recipe.stop.epochs, recipe.model.name()), (3, "vgg"));
        for (value, set) in [("test", ValidationSet::Test), ("\"none\"", ValidationSet::None)] {
            let recipe = sized_for([3, 32, 32], 500, &[("data.validation", value)]);
            assert_eq!(recipe.data.validation, Validation::Named(set));
            assert_eq!((recipe.stop.patience, recipe.data.stratify), (None, false));
        }
        // However they are written.
        for settings in [("data", "{ validation = \"test\" }"), (" data . validation ", "test")] {
            let recipe = sized_for([3, 32, 32], 500, &[settings]);
            assert_eq!(recipe.data.validation, Validation::Named(ValidationSet::Test));
            assert_eq!(recipe.stop.patience, None);
        }
        let recipe = sized_for([3, 32, 32], 500, &[("model", "{ preset = 'lenet' }")]);
        assert_eq!(recipe.model.name(), "lenet");
        let recipe = sized_for([3, 32, 32], 500, &[("data.validation", "20%")]);
        assert!(recipe.stop.patience.is_some() && recipe.data.stratify);
        let one = Facts { shape: [1, 8, 8], images: 1, multi_label: false };
        let error = Recipe::load_for(PICTURES, one, &[]).unwrap_err().to_string();
        assert!(error.contains("a set of 1 images: expected two or more"), "{error}");
        // Other recipes are as they are.
        let facts = Facts { shape: [3, 32, 32], images: 500, multi_label: false };
        let paper = Recipe::load_for("paper", facts, &[]).unwrap();
        assert_eq!(paper, Recipe::load("paper", &[]).unwrap());
    }
}
