//! Floats that start on a cache line.

use bytemuck::{Pod, Zeroable};
use kernels::LANES;
use std::ops::{Deref, DerefMut};

/// A cache line, one vector of sixteen lanes: a vector that straddled two would cost two loads.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A fixed number of `f32`, zero at first, starting on a 64-byte boundary.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    #[must_use]
    pub fn zeros(len: usize) -> Buffer {
        Buffer { lines: vec![Line::default(); len.div_ceil(LANES)], len }
    }

    /// Makes it `len` long, all zeros if that is a change. Memory is kept where it suffices.
    pub fn resize(&mut self, len: usize) {
        if len != self.len {
            self.lines.clear();
            self.lines.resize(len.div_ceil(LANES), Line::default());
            self.len = len;
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.deref().fmt(f)
    }
}
