//! Layers used once more.

use super::Layer;
use super::definition::{Form, Readable, Written};
use super::fields::Fields;

/// A layer before this one, used once more: the same kind with the same parameters, whose gradients are summed.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Its name.
    pub layer: String,
}

/// The layer of this name once more, with the same parameters, on another input.
///
/// ```
/// use model::{Network, again, conv2d, flatten, layers, linear, relu};
///
/// let layers = layers![
///     conv2d(4, 3).padding(1).named("conv"),
///     relu(),
///     again("conv"),
///     flatten(),
///     linear(2),
/// ];
/// let network = Network::new([4, 8, 8], &layers)?;
/// assert_eq!(network.parameters().len(), 4);
/// # Ok::<(), model::ShapeError>(())
/// ```
#[must_use]
pub fn again(layer: &str) -> Layer {
    Again { layer: layer.to_owned() }.into()
}

impl Readable for Again {
    const FORMS: &'static [Form] = &[Form {
        word: "again",
        fields: &["layer"],
        read: |table| {
            let layer = table.required("layer", table.text("layer")?)?;
            Ok(Again { layer }.into())
        },
    }];
}

impl Written for Again {
    fn word(&self) -> &'static str {
        "again"
    }

    fn write(&self, fields: &mut Fields) {
        fields.text("layer", &self.layer);
    }

    fn in_words(&self) -> String {
        format!("{} again", self.layer)
    }
}
