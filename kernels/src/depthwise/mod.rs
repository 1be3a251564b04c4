//! Depthwise convolution: an output channel meets one input channel alone, with a kernel of its own.
//!
//! ```text
//! y[o][p]  = epilogue( start[o] + Σ_k w[o][k] · x[c][q] )          k in order: ky, kx
//! dx[c][q] = start + Σ_o Σ_k w[o][k] · dy[o][p]                    in order: o, ky, kx, p
//! dw[o][k] += Σ_blocks Σ_lanes Σ_p dy[o][p] · x[c][q]              p in order
//! ```
//! where tap k of output pixel p sees input pixel q, and o are the outputs of channel c, as many for each: the
//! multiplier. Sixteen images to a vector, an output is one short chain of fused multiply-adds, that of
//! [`implicit_gemm`](crate::implicit_gemm) with a channel to a group. A weight's gradient is a chain per segment (below)
//! and lane; segments are added in order, then the sixteen lanes by halving, then blocks.
//!
//! There are as many loads as multiply-adds, so nothing is gained by tiles of several channels, and memory is the
//! limit: a plane is run through once, row by row, in *segments*, neighbours of a row that meet the same taps
//! (`sweep.rs`). Both gradients of a plane are computed while it is in the caches.

mod gradient;
mod sweep;

use crate::implicit_gemm::{Operands, Start};
use crate::isa::dispatch;
use crate::simd::Simd;
use crate::team::{Cores, Cost, Shared};
use crate::tile::{self, with_size};
use crate::{Convolution, Epilogue, LANES, Layout};
pub use gradient::{DepthwiseTensors, depthwise_gradients};
use std::sync::OnceLock;
use sweep::{Segment, Sweep};

/// The plan of a depthwise convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depthwise {
    convolution: Convolution,
    /// From pixels of the output to what they see.
    forward: Sweep,
    /// From pixels of the input to the outputs that saw them; made when it is first asked for, as evaluation needs
    /// none.
    backward: OnceLock<Sweep>,
}

impl Depthwise {
    /// Whether a convolution has as many groups as input channels, and more than one.
    pub fn applies(convolution: &Convolution) -> bool {
        let groups = convolution.groups();
        groups > 1 && groups == convolution.input().channels()
    }

    /// The plan of a convolution to which it [applies](Depthwise::applies), or `None`.
    pub fn new(convolution: &Convolution) -> Option<Depthwise> {
        Depthwise::applies(convolution).then(|| Depthwise {
            convolution: *convolution,
            forward: Sweep::forward(&convolution.group()),
            backward: OnceLock::new(),
        })
    }

    /// Bytes of the tables of the forward pass at most, by a closed formula.
    pub fn forward_bytes(convolution: &Convolution) -> u64 {
        let segments = convolution.output().pixels().saturating_mul(size_of::<Segment>()) as u64;
        convolution.forward_bytes().saturating_add(segments)
    }

    fn backward(&self) -> &Sweep {
        self.backward.get_or_init(|| Sweep::backward(&self.convolution.group()))
    }

    /// Output channels for each input channel.
    fn multiplier(&self) -> usize {
        self.convolution.output().channels() / self.convolution.input().channels()
    }

    /// Blocks of sixteen images, of `x` and `y` which must have as many.
    #[track_caller]
    fn blocks(&self, x: usize, y: usize, weights: usize) -> usize {
        let (input, output) = (self.convolution.input(), self.convolution.output());
        let blocks = x / input.block_len().max(1);
        assert_eq!(x, input.with_blocks(blocks).len(), "input of a depthwise convolution");
        assert_eq!(y, output.with_blocks(blocks).len(), "output of a depthwise convolution");
        assert_eq!(weights, self.convolution.weights(), "weights of a depthwise convolution");
        blocks
    }

    /// What reading and writing every plane costs.
    fn cost(&self, blocks: usize) -> Cost {
        let (input, output) = (self.convolution.input(), self.convolution.output());
        Cost::floats(blocks * (input.block_len() + output.block_len()))
    }
}

/// Floats from one plane to the next.
fn plane(layout: Layout) -> usize {
    layout.plane() * LANES
}

/// Y = epilogue(start + w ∗ x) for every block of `x`: `weights` are `[outputs][kh][kw]`, `x` and `y` whole
/// batches. The unused vectors of `y` are left alone.
///
/// # Panics
/// If a slice has not the length that the plan says.
pub fn depthwise<'t>(
    cores: impl Into<Cores<'t>>,
    plan: &Depthwise,
    operands: Operands<'_>,
    y: &mut [f32],
) {
    let Operands { weights, x, start, epilogue } = operands;
    let blocks = plan.blocks(x.len(), y.len(), weights.len());
    let (input, output) = (plan.convolution.input(), plan.convolution.output());
    let (outputs, multiplier) = (output.channels(), plan.multiplier());
    let taps = plan.convolution.window().taps();
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), outputs, "bias of a depthwise convolution");
    }
    let (cores, y) = (cores.into(), Shared::new(y));
    // A part has some planes, which follow each other alike within a block and across blocks.
    cores.each_range(blocks * outputs, plan.cost(blocks), |planes| {
        dispatch!(cores.isa, s => s.vectorize(#[inline(always)] || {
            for number in planes {
                let o = number % outputs;
                let source = (number - o) / multiplier + o / multiplier;
                let x = &x[source * plane(input)..][..plane(input)];
                // SAFETY: each plane is one part's.
                let y = unsafe { y.slice(number * plane(output)..(number + 1) * plane(output)) };
                let begin = match start {
                    Start::Zero => Some(0.0),
                    Start::Bias(bias) => Some(bias[o]),
                    Start::Output => None,
                };
                run(s, &plan.forward, &weights[o * taps..][..taps], x, begin, epilogue, y);
            }
        }));
    });
}

/// How many neighbours a tile has at most: as many chains as hide the latency of two multiply-adds a cycle, or fit
/// into the registers.
const fn widest<S: Simd>() -> usize {
    if S::ACCUMULATORS < 8 { S::ACCUMULATORS } else { 8 }
}

/// One plane: every segment of a sweep. Chains start at `begin`, or at what `y` holds.
///
/// # Panics
/// If a slice has not the length that the sweep says.
#[inline(always)]
fn run<S: Simd>(
    s: S,
    sweep: &Sweep,
    weights: &[f32],
    x: &[f32],
    begin: Option<f32>,
    epilogue: Epilogue,
    y: &mut [f32],
) {
    assert!([weights.len(), x.len(), y.len()] == sweep.lengths, "a plane of a sweep");
    for segment in &sweep.segments {
        for (first, n) in tile::split(segment.count, const { widest::<S>() }) {
            with_size!(N = n, of 1 2 3 4 5 6 7 8 => {
                if const { N <= widest::<S>() } {
                    // SAFETY: the lengths are asserted to be those of the sweep, whose segments lie inside them by
                    // `Sweep::validated`; the tile is some neighbours of a segment.
                    unsafe { tile::<S, N>(s, sweep, segment, first, weights, x, begin, epilogue, y) };
                }
            });
        }
    }
}

/// `N` neighbours of a segment, from the `first` on: a chain each.
///
/// # Safety
/// The slices must have the lengths of the sweep, and the segment so many neighbours.
#[inline(always)]
#[expect(clippy::too_many_arguments)]
unsafe fn tile<S: Simd, const N: usize>(
    s: S,
    sweep: &Sweep,
    segment: &Segment,
    first: usize,
    weights: &[f32],
    x: &[f32],
    begin: Option<f32>,
    epilogue: Epilogue,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let x = x.as_ptr().add(segment.x + first * segment.x_step);
        let y = y.as_mut_ptr().add(segment.y + first * segment.y_step);
        let mut sums = [s.splat(begin.unwrap_or(0.0)); N];
        if begin.is_none() {
            for n in 0..N {
                sums[n] = s.load_at(y.add(n * segment.y_step));
            }
        }
        for tap in &sweep.taps[segment.taps.clone()] {
            let w = s.splat(*weights.as_ptr().add(tap.w as usize));
            let x = x.add(tap.x as usize);
            for n in 0..N {
                sums[n] = s.mul_add(w, s.load_at(x.add(n * segment.x_step)), sums[n]);
            }
        }
        for n in 0..N {
            s.store_at(y.add(n * segment.y_step), epilogue.apply(s, sums[n]));
        }
    }
}
