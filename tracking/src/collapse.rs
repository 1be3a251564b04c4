//! Networks that say the same of all images, or of nearly all.

use serde::{Deserialize, Serialize};

/// What a network says of all validation images, or nearly all, although they differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Collapse {
    /// That they are of this class.
    Class(String),
    /// Where images may have several labels: that they have the same ones, which are so many.
    Labels(usize),
}

/// What to say of a network that takes every image, or nearly every one, for one class, or gives each the same labels;
/// and what to try.
pub fn advice_on_collapse(collapse: &Collapse) -> String {
    let (found, if_rare) = match collapse {
        Collapse::Class(class) => (
            format!("is taken for {class:?}: the network tells no classes apart"),
            "the data has far more images of some classes, model.class_weights=balanced or data.sampling=balanced",
        ),
        Collapse::Labels(labels) => {
            let given = match labels {
                0 => "no label".to_owned(),
                1 => "the same label and no other".to_owned(),
                n => format!("the same {n} labels and no other"),
            };
            let found = format!("is given {given}: the network tells no images apart");
            (found, "few images have the labels, data.sampling=balanced")
        }
    };
    format!(
        "nearly every validation image {found}. Try a lower optimizer.lr, a schedule.warmup, \
         optimizer.clip_norm, or more epochs; if {if_rare}"
    )
}
