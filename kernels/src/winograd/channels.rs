//! Winograd's method with sixteen channels to a vector: see `channels/`.
//!
//! ```text
//! for each strip of rows of tiles, of all images
//!   for each panel of input channels    transform its tiles, to [16][images][tiles]
//!   for each few panels of outputs
//!     for each of the sixteen elements  chains over input channels, from zero
//!     transform the tiles of the output, each in the order of [`winograd`](super::winograd)
//! ```

use super::transform::{input_tiles, output_row};
use super::{ELEMENTS, Piece, Tiles, Winograd, matrix, winograd_weights};
use crate::channels::{Chains, columns_of_tiles, drop_odd};
use crate::im2col::Tap;
use crate::isa::{Isa, dispatch, dispatch_bf16};
use crate::simd::{Arithmetic, Bf16, Floats, Simd};
use crate::streaming::Streaming;
use crate::team::Shared;
use crate::{
    ChannelOperands, Convolution, Epilogue, LANES, Layout, Precision, channel_layout, pack_panels,
};
use std::ops::Range;

/// Floats that the transformed input of a strip should have at most, 1 MB: they stay in the second-level cache
/// while all panels of outputs read them.
const STRIP: usize = 1 << 18;

/// Tiles of a strip at most, of a panel: the products of two panels stay in the second-level cache.
const TILES: usize = 128;

/// Panels of outputs at a time, at most.
const PANELS: usize = 4;

/// The plan of a convolution by Winograd's method with sixteen channels to a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelWinograd {
    convolution: Convolution,
    precision: Precision,
    /// Rows and columns of tiles of a plane.
    tiles: [usize; 2],
    /// A row of the input.
    zeros: Vec<f32>,
}

/// Some rows of tiles of all images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStrip {
    images: usize,
    rows: Range<usize>,
    /// One element of the tiles of a panel, `[images][tiles]`.
    matrices: Layout,
}

impl ChannelStrip {
    /// Floats of a panel's transformed tiles.
    pub fn panel(&self) -> usize {
        ELEMENTS * matrix(&self.matrices)
    }

    /// Vectors from the first tile of the first image to the last of the last.
    fn columns(&self, tiles: usize) -> usize {
        (self.images.max(1) - 1) * self.matrices.plane() + self.rows.len() * tiles
    }
}

impl ChannelWinograd {
    /// The plan of a convolution to which Winograd's method applies, or `None`.
    pub fn new(convolution: &Convolution) -> Option<ChannelWinograd> {
        ChannelWinograd::with_precision(convolution, Precision::F32)
    }

    /// The same, for products in this precision.
    pub fn with_precision(
        convolution: &Convolution,
        precision: Precision,
    ) -> Option<ChannelWinograd> {
        let tiles = convolution.output().size().map(|n| n.div_ceil(2));
        let zeros = vec![0.0; convolution.input().size()[1] * LANES];
        Winograd::applies(convolution).then_some(ChannelWinograd {
            convolution: *convolution,
            precision,
            tiles,
            zeros,
        })
    }

    /// Floats of the weights, `[outputs / 16][16][inputs][16]`; in bfloat16 with pairs for inputs.
    pub fn weights(&self) -> usize {
        self.panels() * self.panel_weights()
    }

    /// Transforms and lays out weights `[outputs][inputs][3][3]`.
    ///
    /// # Panics
    /// If a slice has not the length that the plan says.
    pub fn pack(&self, isa: Isa, weights: &[f32], to: &mut [f32]) {
        assert_eq!(to.len(), self.weights(), "weights in panels");
        let plan = Winograd::with_precision(&self.convolution, self.precision);
        let plan = plan.expect("checked when it was made");
        let mut transformed = vec![0.0; plan.weights()];
        winograd_weights(isa, &plan, weights, &mut transformed);
        let (inputs, outputs) = (self.channels(), self.convolution.output().channels());
        let mut panels = vec![0.0; self.weights() / ELEMENTS];
        // In bfloat16, what follows the sixteen is for the data gradient.
        let matrices = transformed.chunks_exact(inputs * outputs).take(ELEMENTS);
        for (element, matrix) in matrices.enumerate() {
            pack_panels(matrix, outputs, &mut panels);
            let to = to.chunks_exact_mut(self.panel_weights());
            for (panel, to) in panels.chunks_exact(inputs * LANES).zip(to) {
                to[element * inputs * LANES..][..inputs * LANES].copy_from_slice(panel);
            }
        }
    }

    /// Panels of the output.
    pub fn panels(&self) -> usize {
        self.convolution.output().channels().div_ceil(LANES)
    }

    /// Panels of the input.
    pub fn input_panels(&self) -> usize {
        self.inputs().div_ceil(LANES)
    }

    /// Vectors of multiply-adds for an image, or of steps that do two.
    pub fn cost(&self) -> usize {
        ELEMENTS * self.tiles[0] * self.tiles[1] * self.channels() * self.panels()
    }

    /// The strips of so many images.
    pub fn strips(&self, images: usize) -> impl Iterator<Item = ChannelStrip> + use<> {
        let [all, columns] = self.tiles;
        let tiles = (STRIP / (ELEMENTS * self.input_panels() * LANES)).min(TILES);
        let rows = (tiles / (images * columns).max(1)).clamp(1, all.max(1));
        let matrices = Layout::new(1, images, [1, rows * columns]);
        (0..all).step_by(rows).map(move |first| ChannelStrip {
            images,
            rows: first..all.min(first + rows),
            matrices,
        })
    }

    /// Room that [`ChannelWinograd::product`] needs for some panels of outputs of a strip.
    pub fn scratch(&self, strip: &ChannelStrip, panels: usize) -> usize {
        panels.min(PANELS) * strip.panel()
    }

    /// The transform of this panel of the input of all images, which is `x`.
    ///
    /// # Panics
    /// If there is no such panel, or a slice has not the length that the plan says.
    pub fn transform(
        &self,
        isa: Isa,
        strip: &ChannelStrip,
        panel: usize,
        x: &[f32],
        v: &mut [f32],
    ) {
        self.check(strip);
        assert!(panel < self.input_panels(), "a panel of the input of a convolution");
        let input = self.convolution.input();
        let planes = Layout::new(1, strip.images, input.size());
        assert_eq!(x.len(), planes.len(), "a panel of the input of a convolution");
        assert_eq!(v.len(), strip.panel(), "a transformed panel");
        let tiles = Tiles {
            planes,
            padding: self.convolution.window().padding,
            strip: Piece { rows: strip.rows.clone(), columns: 0..self.tiles[1] },
            matrices: strip.matrices,
        };
        let (images, all) = (0..strip.images, Shared::new(v));
        // SAFETY: `v` is borrowed for this call alone.
        dispatch!(isa, s => unsafe { input_tiles(s, &tiles, images, [x, &self.zeros], all) });
        if self.precision == Precision::Bf16 {
            dispatch_bf16!(isa, (s, a) => pack_in_place((s, a), v));
            if panel + 1 == self.input_panels() {
                drop_odd(self.inputs(), &mut v[..strip.panel() / 2]);
            }
        }
    }

    /// Y = epilogue(bias + W ∗ X) on a strip of some panels of outputs: `x` of the operands are all panels that
    /// [`ChannelWinograd::transform`] wrote, `y` those panels of the output. Lines outside of the strip are left
    /// alone.
    ///
    /// # Panics
    /// If a slice has not the length that the plan says.
    pub fn product(
        &self,
        isa: Isa,
        strip: &ChannelStrip,
        operands: &ChannelOperands<'_>,
        panels: Range<usize>,
        m: &mut [f32],
        y: &mut [f32],
    ) {
        let ChannelOperands { images, weights, x, bias, .. } = *operands;
        self.check(strip);
        let output = channel_layout(images, LANES, self.convolution.output().size());
        assert_eq!(images, strip.images, "images of a strip");
        assert_eq!(x.len(), self.input_panels() * strip.panel(), "transformed input");
        assert_eq!(weights.len(), self.weights(), "weights of a convolution in panels");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), self.panels() * LANES, "bias of a convolution in panels");
        }
        assert!(panels.end <= self.panels(), "panels of an output");
        assert_eq!(y.len(), panels.len() * output.len(), "panels of an output");
        assert_eq!(m.len(), self.scratch(strip, panels.len()), "scratch of a convolution");
        for first in panels.clone().step_by(PANELS) {
            let these = first..panels.end.min(first + PANELS);
            let y = &mut y[(first - panels.start) * output.len()..];
            let y = &mut y[..these.len() * output.len()];
            match self.precision {
                Precision::F32 => {
                    dispatch!(isa, s => self.elements((s, Floats), strip, operands, &these, m));
                }
                Precision::Bf16 => {
                    dispatch_bf16!(isa, (s, a) => self.elements((s, a), strip, operands, &these, m));
                }
            }
            dispatch!(isa, s => self.outputs(s, strip, operands, &these, m, y));
        }
    }

    /// Panics unless the rows of the strip are rows of tiles of this plan, and its matrices have room for them: it
    /// may be one of another plan.
    fn check(&self, strip: &ChannelStrip) {
        let tiles = strip.rows.len() * self.tiles[1];
        let fits = strip.rows.end <= self.tiles[0] && tiles <= strip.matrices.pixels();
        assert!(fits, "a strip of another convolution");
    }

    fn inputs(&self) -> usize {
        self.convolution.input().channels()
    }

    /// Channels of the input, or pairs of them.
    fn channels(&self) -> usize {
        match self.precision {
            Precision::F32 => self.inputs(),
            Precision::Bf16 => self.inputs().div_ceil(2),
        }
    }

    fn panel_weights(&self) -> usize {
        ELEMENTS * self.channels() * LANES
    }

    /// The products of the sixteen elements, to `[panels][16][images][tiles]`.
    fn elements<S: Simd, A: Arithmetic<S>>(
        &self,
        s: (S, A),
        strip: &ChannelStrip,
        operands: &ChannelOperands<'_>,
        panels: &Range<usize>,
        m: &mut [f32],
    ) {
        let stride = matrix(&strip.matrices);
        let weights = &operands.weights[panels.start * self.panel_weights()..];
        let m = &mut m[..panels.len() * strip.panel()];
        for element in 0..ELEMENTS {
            let chains = Chains {
                x: operands.x[element * stride / A::NUMBERS..].as_ptr(),
                x_row: 0,
                x_step: LANES / A::NUMBERS,
                x_group: strip.panel(),
                channels: self.channels(),
                taps: &[Tap { x: 0, w: 0 }],
                weights: weights[element * self.channels() * LANES..].as_ptr(),
                w_panel: self.panel_weights(),
                w_channel: LANES,
                bias: None,
                epilogue: Epilogue::None,
                y: m[element * stride..].as_mut_ptr(),
                y_row: 0,
                y_panel: strip.panel(),
            };
            // SAFETY: `product` asserted that x is whole panels of the strip and the weights are those of the
            // plan; m was cut to whole panels; the columns of an element are below its matrix's length.
            unsafe { columns_of_tiles(s, chains, panels.len(), strip.columns(self.tiles[1])) };
        }
    }

    /// The transform of the output, from `[panels][16][images][tiles]`.
    fn outputs<S: Simd>(
        &self,
        s: S,
        strip: &ChannelStrip,
        operands: &ChannelOperands<'_>,
        panels: &Range<usize>,
        m: &[f32],
        y: &mut [f32],
    ) {
        let planes = Layout::new(1, strip.images, self.convolution.output().size());
        let [height, width] = planes.size();
        let tiles = Tiles {
            planes,
            padding: [0, 0],
            strip: Piece { rows: strip.rows.clone(), columns: 0..self.tiles[1] },
            matrices: strip.matrices,
        };
        let elements = tiles.elements();
        s.vectorize(
            #[inline(always)]
            || {
                let of_panels = m.chunks_exact(strip.panel()).zip(y.chunks_exact_mut(planes.len()));
                for (panel, (m, y)) in panels.clone().zip(of_panels) {
                    let start = match operands.bias {
                        Some(bias) => s.load(&bias.as_chunks().0[panel]),
                        None => s.zero(),
                    };
                    let (m, y) = (m.as_chunks().0, y.as_chunks_mut().0);
                    for (image, plane) in y.chunks_exact_mut(planes.plane()).enumerate() {
                        for (n, row) in strip.rows.clone().enumerate() {
                            let m = &m[image * strip.matrices.plane() + n * self.tiles[1]..];
                            let lines = 2 * row * width..height.min(2 * row + 2) * width;
                            let (upper, lower) = plane[lines].split_at_mut(width);
                            let m = (m, &elements, self.tiles[1]);
                            let epilogue = (operands.epilogue, Streaming::NEVER);
                            // SAFETY: never streamed.
                            unsafe { output_row(s, m, Some(start), epilogue, [upper, lower]) };
                        }
                    }
                }
            },
        );
    }
}

/// Rounds values to bfloat16, neighbours to a pair: the first half is as many vectors of eight pairs.
fn pack_in_place<S: Simd, A: Bf16<S>>((s, a): (S, A), v: &mut [f32]) {
    let vectors: &mut [[f32; LANES]] = v.as_chunks_mut().0;
    a.vectorize(
        s,
        #[inline(always)]
        || {
            for i in 0..vectors.len().div_ceil(2) {
                let first = s.load(&vectors[2 * i]);
                let second = match vectors.get(2 * i + 1) {
                    Some(second) => s.load(second),
                    None => s.zero(),
                };
                // What is read is at or behind what is written.
                s.store(&mut vectors[i], a.pack_neighbours(s, first, second));
            }
        },
    );
}
