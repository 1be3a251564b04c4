//! Tiles: some panels of outputs at some pixels, one chain in a register each.

use crate::im2col::Tap;
use crate::simd::{Arithmetic, Simd};
use crate::tile::{split, with_size};
use crate::{Epilogue, LANES};

/// What the chains of a tile read and where their ends go.
#[derive(Clone, Copy)]
pub(crate) struct Chains<'a> {
    /// The input of the first tap of the first pixel.
    pub x: *const f32,
    /// Floats from there to that of the pixel below, and from a pixel to the next of its row: once or twice the floats
    /// of a pixel's vector of channels, or anything where a tile has one column.
    pub x_row: usize,
    pub x_step: usize,
    /// Floats from sixteen input channels to the next.
    pub x_group: usize,
    /// Input channels, or pairs of them.
    pub channels: usize,
    /// The taps of a channel, or of a pair.
    pub taps: &'a [Tap],
    /// The weights of the first panel, and floats from there to those of the next panel, and from a channel's
    /// (or a pair's) to the next.
    pub weights: *const f32,
    pub w_panel: usize,
    pub w_channel: usize,
    /// Where the chains of a panel start: sixteen floats for each; zero if there is none.
    pub bias: Option<*const f32>,
    pub epilogue: Epilogue,
    /// The output of the first pixel, and floats from there to that of the pixel below and of the next panel.
    pub y: *mut f32,
    pub y_row: usize,
    pub y_panel: usize,
}

/// The most columns of a tile: the sizes that are compiled.
const MOST_COLUMNS: usize = 24;
/// The most panels, and the most rows of pixels.
pub(super) const MOST: usize = 8;

/// The largest of 1, 2, 4 and 8 that is not above `n`.
const fn power(n: usize) -> usize {
    match n {
        0 | 1 => 1,
        2 | 3 => 2,
        4..MOST => 4,
        _ => MOST,
    }
}

/// The most chains of a tile of so many panels: beside six of two panels, the weights do not fit into the sixteen
/// registers of a path whose vectors are of two. Where the step of a pair takes two instructions, the halves of weights
/// wait in registers too.
const fn chains_of<S: Simd, A: Arithmetic<S>>(panels: usize) -> usize {
    match (A::ACCUMULATORS, panels) {
        (6, 2) => 4,
        (4, 2) => 2,
        (20, MOST) => MOST,
        (most, _) => most,
    }
}

/// Panels of the tiles of a rectangle with so many pixels: those that fill the registers, at least two where
/// they can, which share the broadcasts of x.
fn panels_of<S: Simd, A: Arithmetic<S>>(pixels: usize) -> usize {
    let least = if S::ACCUMULATORS >= 6 { 2 } else { 1 };
    power((A::ACCUMULATORS / pixels.clamp(1, A::ACCUMULATORS)).max(least))
}

/// Computes `panels` panels of a rectangle of `rows` × `columns` pixels.
///
/// # Safety
/// For each of these pixels, panels, taps and channels, what `chains` says must be readable, and the outputs
/// writable, with no other reference to them.
pub(crate) unsafe fn rectangle<S: Simd, A: Arithmetic<S>>(
    (s, a): (S, A),
    chains: Chains<'_>,
    panels: usize,
    [rows, columns]: [usize; 2],
) {
    let most = panels_of::<S, A>(rows * columns);
    let mut panel = 0;
    while panel < panels {
        let p = power((panels - panel).min(most));
        let chains = Chains {
            weights: chains.weights.wrapping_add(panel * chains.w_panel),
            bias: chains.bias.map(|bias| bias.wrapping_add(panel * LANES)),
            y: chains.y.wrapping_add(panel * chains.y_panel),
            ..chains
        };
        // SAFETY: the caller's promise.
        unsafe { pixels((s, a), chains, p, [rows, columns]) };
        panel += p;
    }
}

/// Computes `p` panels, at most [`MOST`], of a row of `columns` pixels: [`rectangle`] of one row, for products
/// whose columns are all alike.
///
/// # Safety
/// As [`rectangle`].
pub(crate) unsafe fn columns_of_tiles<S: Simd, A: Arithmetic<S>>(
    s: (S, A),
    chains: Chains<'_>,
    p: usize,
    columns: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { rectangle(s, chains, p, [1, columns]) }
}

/// All tiles of `p` panels.
unsafe fn pixels<S: Simd, A: Arithmetic<S>>(
    (s, a): (S, A),
    chains: Chains<'_>,
    p: usize,
    [rows, columns]: [usize; 2],
) {
    let most = (chains_of::<S, A>(p) / p).max(1);
    // Tiles of several columns have a constant step between them.
    let known = [1, 2].contains(&(chains.x_step / vector::<S, A>()))
        && chains.x_step.is_multiple_of(vector::<S, A>());
    let widest = if known { most.min(MOST_COLUMNS) } else { 1 };
    let width = columns.div_ceil(columns.div_ceil(widest).max(1)).max(1);
    let tallest = power((most / width).max(1));
    let mut row = 0;
    while row < rows {
        let r = power((rows - row).min(tallest));
        for (column, n) in split(columns, widest) {
            let place = Chains {
                x: chains.x.wrapping_add(row * chains.x_row + column * chains.x_step),
                y: chains.y.wrapping_add(row * chains.y_row + column * LANES),
                ..chains
            };
            with_size!(P = p, of 1 2 4 8 => with_size!(R = r, of 1 2 4 8 => with_size!(
                N = n, of 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 =>
                // SAFETY: the caller's promise.
                unsafe {
                    if chains.x_step == 2 * vector::<S, A>() {
                        tile::<S, A, P, R, N, 2>((s, a), place);
                    } else {
                        tile::<S, A, P, R, N, 1>((s, a), place);
                    }
                }
            )));
        }
        row += r;
    }
}

/// A tile whose neighbours in a row meet inputs `STRIDE` pixels apart.
unsafe fn tile<
    S: Simd,
    A: Arithmetic<S>,
    const P: usize,
    const R: usize,
    const N: usize,
    const STRIDE: usize,
>(
    (s, a): (S, A),
    chains: Chains<'_>,
) {
    // Sizes that never occur on this path are not compiled for it.
    if const { P * R * N <= chains_of::<S, A>(P) || P * R * N == 1 } {
        a.vectorize(
            s,
            #[inline(always)]
            // SAFETY: the caller's promise.
            || unsafe {
                let mut sums = [[[s.zero(); N]; R]; P];
                if let Some(bias) = chains.bias {
                    for p in 0..P {
                        sums[p] = [[a.start(s, s.load_at(bias.add(p * LANES))); N]; R];
                    }
                }
                all_channels::<S, A, P, R, N, STRIDE>((s, a), &chains, &mut sums);
                // Which epilogue it is is asked once: a loop that asked for each chain would not be unrolled, and then
                // the sums would live in memory.
                match chains.epilogue {
                    Epilogue::None => {}
                    Epilogue::Relu => each(&mut sums, |sum| Epilogue::Relu.apply(s, sum)),
                    Epilogue::Relu6 => each(&mut sums, |sum| Epilogue::Relu6.apply(s, sum)),
                }
                for p in 0..P {
                    for r in 0..R {
                        let y = chains.y.add(p * chains.y_panel + r * chains.y_row);
                        for n in 0..N {
                            s.store_at(y.add(n * LANES), sums[p][r][n]);
                        }
                    }
                }
            },
        );
    } else {
        unreachable!("a tile of {P} × {R} × {N} on this path");
    }
}

/// Changes each sum of a tile.
#[inline(always)]
fn each<V: Copy, const P: usize, const R: usize, const N: usize>(
    sums: &mut [[[V; N]; R]; P],
    change: impl Fn(V) -> V,
) {
    for p in 0..P {
        for r in 0..R {
            for n in 0..N {
                sums[p][r][n] = change(sums[p][r][n]);
            }
        }
    }
}

/// Floats of a pixel's vector of channels, or of pairs.
const fn vector<S: Simd, A: Arithmetic<S>>() -> usize {
    LANES / A::NUMBERS
}

/// The heart of it: `P · R · N` chains, one step each per channel, or pair, and tap.
#[inline(always)]
unsafe fn all_channels<
    S: Simd,
    A: Arithmetic<S>,
    const P: usize,
    const R: usize,
    const N: usize,
    const STRIDE: usize,
>(
    (s, a): (S, A),
    chains: &Chains<'_>,
    sums: &mut [[[S::Vector; N]; R]; P],
) {
    let (mut x, mut w, mut left) = (chains.x, chains.weights, chains.channels);
    while left > 0 {
        let lanes = left.min(vector::<S, A>());
        // SAFETY: the caller's promise.
        unsafe {
            if let [tap] = chains.taps {
                let x = x.add(tap.x as usize);
                for lane in 0..lanes {
                    let w = w.add(tap.w as usize + lane * chains.w_channel);
                    step::<S, A, P, R, N, STRIDE>((s, a), chains, [x.add(lane), w], sums);
                }
            } else {
                for lane in 0..lanes {
                    let (x, w) = (x.add(lane), w.add(lane * chains.w_channel));
                    for tap in chains.taps {
                        let at = [x.add(tap.x as usize), w.add(tap.w as usize)];
                        step::<S, A, P, R, N, STRIDE>((s, a), chains, at, sums);
                    }
                }
            }
        }
        x = x.wrapping_add(chains.x_group);
        w = w.wrapping_add(lanes * chains.w_channel);
        left -= lanes;
    }
}

/// The registers of a vector of weights: a path of half as wide registers has two. A value of x, the same in all
/// lanes, has one.
const fn registers<S: Simd>() -> usize {
    if S::ACCUMULATORS < 12 { 2 } else { 1 }
}

/// One step of every chain.
#[inline(always)]
unsafe fn step<
    S: Simd,
    A: Arithmetic<S>,
    const P: usize,
    const R: usize,
    const N: usize,
    const STRIDE: usize,
>(
    (s, a): (S, A),
    chains: &Chains<'_>,
    [x, w]: [*const f32; 2],
    sums: &mut [[[S::Vector; N]; R]; P],
) {
    // SAFETY: the caller's promise.
    unsafe {
        // Whichever take fewer registers stay in them.
        if const { P * registers::<S>() > R * N } {
            let mut values = [[s.zero(); N]; R];
            for r in 0..R {
                for n in 0..N {
                    values[r][n] =
                        s.splat(*x.add(r * chains.x_row + n * STRIDE * vector::<S, A>()));
                }
            }
            for p in 0..P {
                let weight = s.load_at(w.add(p * chains.w_panel));
                for r in 0..R {
                    for n in 0..N {
                        sums[p][r][n] = a.step(s, weight, values[r][n], sums[p][r][n]);
                    }
                }
            }
            return;
        }
        let mut weights = [s.zero(); P];
        for p in 0..P {
            weights[p] = s.load_at(w.add(p * chains.w_panel));
        }
        for r in 0..R {
            for n in 0..N {
                let value = s.splat(*x.add(r * chains.x_row + n * STRIDE * vector::<S, A>()));
                for p in 0..P {
                    sums[p][r][n] = a.step(s, weights[p], value, sums[p][r][n]);
                }
            }
        }
    }
}
