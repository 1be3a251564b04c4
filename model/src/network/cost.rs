//! What a network costs, by closed formulas in the sizes of its layers: held against the limits before anything is
//! made or computed.

use crate::layers::definition::{Shape, Work, product};
use files::{LIMITS_VARIABLE, Limits};
use kernels::LANES;

/// The cost of the layers so far; sums stay at the largest number where they would be larger.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Products and other steps for an image, those with padding too.
    products: u64,
    /// Floats of the parameters.
    parameters: u64,
    /// Bytes of tables, transformed weights, and the values of every layer for sixteen images.
    working: u64,
}

impl Cost {
    pub(super) fn add_parameter(&mut self, floats: usize) {
        self.parameters = self.parameters.saturating_add(floats as u64);
    }

    /// Adds a layer with an output of this shape.
    pub(super) fn add_layer(&mut self, work: Work, output: Shape) {
        self.products = self.products.saturating_add(work.steps);
        let values = match work.is_along {
            true => 0,
            false => product(&output).saturating_mul((LANES * size_of::<f32>()) as u64),
        };
        self.working = self.working.saturating_add(values).saturating_add(work.tables);
    }

    /// What is too much, if anything is, and how more is allowed.
    pub(super) fn within(&self, limits: &Limits) -> Result<(), String> {
        let more = format!("{LIMITS_VARIABLE}=N allows N times the standard limits");
        if self.parameters > limits.parameters {
            return Err(format!(
                "its weights are too large: with them the network has {} numbers, expected at most {}; {more}",
                self.parameters, limits.parameters
            ));
        }
        if self.products > limits.products {
            let expected = power(limits.products);
            return Err(format!(
                "with it an image takes more than {expected} products: too large; {more}"
            ));
        }
        let bytes = self.working.saturating_add(self.parameters.saturating_mul(4));
        if bytes > limits.network_bytes {
            let expected = limits.network_bytes >> 20;
            return Err(format!(
                "with it sixteen images take {} MiB of memory, expected at most {expected}; {more}",
                bytes >> 20
            ));
        }
        Ok(())
    }
}

/// 2³⁶, or a multiple of it.
fn power(products: u64) -> String {
    match products >> 36 {
        1 => "2³⁶".to_owned(),
        times => format!("{times} · 2³⁶"),
    }
}
