//! The published ledgers: short runs of the shipped recipes, and of one in bfloat16, on the bundled Fashion-MNIST, the
//! same on every machine.
//!
//! They are files of the repository (`published/`), written by `train --ledger`. Whatever asks which bits a recipe
//! leads to asks here: the tests, `bobbin verify`, and the table in `docs/trust.md`.

use super::{End, Ledger, Line};
use files::FileError;

/// A short run of a shipped recipe, or of one with other settings: without validation, to a number of steps.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The recipe; after a hyphen, `bf16` where that is its `model.precision`.
    pub recipe: &'static str,
    text: &'static str,
}

macro_rules! published {
    ($($recipe:literal)*) => {
        [$(Published {
            recipe: $recipe,
            text: include_str!(concat!("../../published/", $recipe, ".jsonl")),
        }),*]
    };
}

/// One run of each shipped recipe, and `cnn-bn` in bfloat16.
pub fn published() -> [Published; 7] {
    published!("paper" "fast" "li" "cnn-bn" "cnn-bn-bf16" "resnet" "vgg")
}

impl Published {
    /// Its ledger.
    pub fn ledger(&self) -> Result<Ledger, FileError> {
        Ledger::of_text(&format!("the published ledger of {}", self.recipe), self.text)
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.end().step
    }

    /// The [digest](model::Model::digest) of the model that it ends with.
    pub fn model(&self) -> String {
        self.end().model
    }

    fn end(&self) -> End {
        let last = self.text.lines().last().map(serde_json::from_str);
        match last {
            Some(Ok(Line::End(end))) => end,
            _ => panic!("the published ledger of {} has no end", self.recipe),
        }
    }
}
