//! Residual blocks, which stand for the layers in them, an addition and a ReLU.

use super::Layer;
use super::definition::{Form, Readable, Written};
use super::fields::Fields;

/// `relu(body(x) + shortcut(x))`; an empty shortcut is the identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// The layers of the body.
    pub body: Vec<Layer>,
    /// The layers of the shortcut.
    pub shortcut: Vec<Layer>,
}

/// relu(body(x) + shortcut(x)); an empty shortcut is the identity.
#[must_use]
pub fn residual(body: Vec<Layer>, shortcut: Vec<Layer>) -> Layer {
    Residual { body, shortcut }.into()
}

impl Readable for Residual {
    const FORMS: &'static [Form] = &[Form {
        word: "residual",
        fields: &["body", "shortcut"],
        read: |table| {
            let body = table.required("body", table.layers("body")?)?;
            let shortcut = table.layers("shortcut")?.unwrap_or_default();
            Ok(Residual { body, shortcut }.into())
        },
    }];
}

impl Written for Residual {
    fn word(&self) -> &'static str {
        "residual"
    }

    fn write(&self, fields: &mut Fields) {
        fields.layers("body", &self.body);
        if !self.shortcut.is_empty() {
            fields.layers("shortcut", &self.shortcut);
        }
    }

    fn in_words(&self) -> String {
        "residual block".into()
    }
}
