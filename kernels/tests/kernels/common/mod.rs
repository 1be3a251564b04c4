//! What the tests of the kernels share: every path, poisoned outputs, lanes full of NaN.
use kernels::{Epilogue, Isa, LANES, Layout, Operands, Start, Store};
use reference::{Planes, from_lanes, to_lanes, uniform};

/// A plain product, from zero and without an epilogue.
pub fn operands<'a>(weights: &'a [f32], x: &'a [f32]) -> Operands<'a> {
    Operands { weights, x, start: Start::Zero, epilogue: Epilogue::None }
}

pub fn relu_if(activated: bool) -> Epilogue {
    if activated { Epilogue::Relu } else { Epilogue::None }
}

pub const EPSILON: f64 = f32::EPSILON as f64;

/// What every path computes, widest path first. Those that fuse multiply-adds must agree to the
/// bit.
#[track_caller]
pub fn results_on_every_path(what: &str, run: impl Fn(Isa) -> Vec<f32>) -> Vec<(Isa, Vec<f32>)> {
    results_on(Isa::available(), what, run)
}

/// [`results_on_every_path`], on these.
#[track_caller]
pub fn results_on(
    paths: Vec<Isa>,
    what: &str,
    run: impl Fn(Isa) -> Vec<f32>,
) -> Vec<(Isa, Vec<f32>)> {
    let results: Vec<_> = paths.into_iter().map(|isa| (isa, run(isa))).collect();
    let fused = results.iter().filter(|(isa, _)| isa.name() != "portable");
    for ((a, x), (b, y)) in fused.clone().zip(fused.skip(1)) {
        assert_same_bits(&format!("{what}: {b} beside {a}"), y, x);
    }
    results
}

/// [`results_on_every_path`] for an output of `len` NaN that `kernel` writes, each shown to `check`.
pub fn on_every_path(len: usize, kernel: impl Fn(Isa, &mut [f32]), check: impl Fn(&str, &[f32])) {
    let results = results_on_every_path("output", |isa| {
        let mut y = vec![f32::NAN; len];
        kernel(isa, &mut y);
        y
    });
    for (isa, y) in results {
        check(isa.name(), &y);
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
        Batch { layout: self.layout.with_size(size), ..*self }
    }

    pub fn planes(&self) -> Planes {
        let (channels, size) = (self.layout.channels(), self.layout.size());
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
