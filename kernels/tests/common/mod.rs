//! What the tests of the kernels share: every path, poisoned outputs, lanes full of NaN.
#![allow(dead_code, reason = "no test file uses all of it")]

use kernels::reference::{Planes, from_lanes, to_lanes, uniform};
use kernels::{Isa, LANES, Layout, Store};

pub const EPSILON: f64 = f32::EPSILON as f64;

/// Runs `kernel` on every path with an output of `len` NaN, checks that all paths with fused
/// multiply-add give the same bits, and shows each result to `check`.
pub fn on_every_path(len: usize, kernel: impl Fn(Isa, &mut [f32]), check: impl Fn(&str, &[f32])) {
    let mut fused: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        let mut y = vec![f32::NAN; len];
        kernel(isa, &mut y);
        check(isa.name(), &y);
        if isa.name() != "portable" {
            let first = fused.get_or_insert_with(|| y.clone());
            assert_same_bits(isa.name(), &y, first);
        }
    }
}

/// [`on_every_path`] for a kernel that can accumulate: what it overwrites is checked, and what it
/// accumulates must be that plus what was there before, up to rounding (or what was there before
/// alone, where it overwrites nothing or with NaN).
pub fn on_every_path_stored(
    len: usize,
    kernel: impl Fn(Isa, &mut [f32], Store),
    check: impl Fn(&str, &[f32]),
) {
    let before: Vec<f32> = uniform(len, 99);
    for isa in Isa::available() {
        let (mut fresh, mut sum) = (vec![f32::NAN; len], before.clone());
        kernel(isa, &mut fresh, Store::Overwrite);
        kernel(isa, &mut sum, Store::Accumulate);
        for (i, (fresh, before)) in fresh.iter().zip(&before).enumerate() {
            let added = if fresh.is_nan() { 0.0 } else { *fresh };
            let allowance = 8.0 * f32::EPSILON * (before.abs() + added.abs()).max(1.0);
            let close = (sum[i] - (before + added)).abs() <= allowance;
            assert!(close || fresh.is_nan() && sum[i].is_nan(), "{isa}, {i}: {} {before}", sum[i]);
        }
    }
    on_every_path(len, |isa, y| kernel(isa, y, Store::Overwrite), check);
}

#[track_caller]
pub fn assert_same_bits(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(same, "{what}: element {i}: {a:e} and {b:e} differ");
    }
}

/// A batch of images in row-major order and in lanes.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub images: usize,
    pub layout: Layout,
}

impl Batch {
    pub fn new(images: usize, channels: usize, size: [usize; 2]) -> Batch {
        Batch { images, layout: Layout::new(images.div_ceil(LANES), channels, size) }
    }

    /// The same batch with other planes.
    pub fn sized(&self, size: [usize; 2]) -> Batch {
        Batch { layout: Layout { size, ..self.layout }, ..*self }
    }

    pub fn planes(&self) -> Planes {
        let Layout { channels, size, .. } = self.layout;
        Planes { images: self.images, channels, size }
    }

    /// Row-major values from −1 to 1.
    pub fn uniform(&self, seed: u64) -> Vec<f32> {
        uniform(self.planes().len(), seed)
    }

    /// In lanes; zero wherever there is no image.
    pub fn lanes(&self, x: &[f32]) -> Vec<f32> {
        to_lanes(x, self.images, &self.layout)
    }

    /// In lanes; NaN wherever there is no image, in the unused vectors too.
    pub fn poisoned(&self, x: &[f32]) -> Vec<f32> {
        let used = self.lanes(&vec![1.0; x.len()]);
        let values = self.lanes(x);
        used.iter().zip(values).map(|(used, x)| if *used == 1.0 { x } else { f32::NAN }).collect()
    }

    /// From lanes to row-major.
    pub fn rows(&self, lanes: &[f32]) -> Vec<f32> {
        from_lanes(lanes, self.images, &self.layout)
    }
}
