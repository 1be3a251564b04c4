//! Networks put together of blocks, with the names that torchvision's modules have.

use crate::layers::{INPUT, Layer};

/// Layers in the making.
#[derive(Debug)]
pub(super) struct Stack {
    layers: Vec<Layer>,
    /// The name of the last layer.
    last: String,
}

impl Stack {
    /// Nothing but the images.
    pub fn new() -> Stack {
        Stack { layers: vec![], last: INPUT.to_owned() }
    }

    /// Puts layers, the last of which has a name, behind those that are there. All names are below `at`; [`INPUT`]
    /// is what was last so far.
    pub fn then(mut self, at: &str, layers: Vec<Layer>) -> Stack {
        let within =
            |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        let input = self.last;
        let placed = layers.into_iter().map(|layer| Layer {
            name: layer.name.map(|name| within(&name)),
            from: layer
                .from
                .iter()
                .map(|name| if name == INPUT { input.clone() } else { within(name) })
                .collect(),
            ..layer
        });
        self.layers.extend(placed);
        let last = self.layers.last().and_then(|layer| layer.name.clone());
        Stack { last: last.expect("the last layer of a block has a name"), layers: self.layers }
    }

    /// The layers.
    pub fn layers(self) -> Vec<Layer> {
        self.layers
    }
}
