//! The im2col product with sixteen output channels to a vector.

use super::regions::{Region, regions};
use super::tile::{Chains, MOST, rectangle};
use super::{Part, channel_layout};
use crate::im2col::Tap;
use crate::isa::{Isa, dispatch, dispatch_bf16};
use crate::simd::{Arithmetic, Floats, Simd};
use crate::{Convolution, Epilogue, LANES, Layout, Precision};
use std::ops::Range;

/// The plan of a convolution, or of a linear layer, with sixteen output channels to a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConvolution {
    pub(super) convolution: Convolution,
    precision: Precision,
    /// Those of one input channel, or of a pair.
    taps: Vec<Tap>,
    regions: Vec<Region>,
    /// Whether pixel `j` of the output meets pixel `j` of the input alone: all pixels of all images are one row.
    pointwise: bool,
}

/// What a product of weights with activations computes with.
#[derive(Clone, Copy, Debug)]
pub struct ChannelOperands<'a> {
    /// How many images.
    pub images: usize,
    /// Weights, as the plan lays them out.
    pub weights: &'a [f32],
    /// The activations of all images; in bfloat16 as [`pack_channel_pairs`](crate::pack_channel_pairs) lays them out.
    pub x: &'a [f32],
    /// Where the chains of each output channel start, in whole panels; zero without it.
    pub bias: Option<&'a [f32]>,
    /// What is applied to each sum.
    pub epilogue: Epilogue,
}

impl ChannelConvolution {
    /// The plan of a convolution, whose blocks are of no meaning, in `f32`.
    pub fn new(convolution: &Convolution) -> ChannelConvolution {
        ChannelConvolution::with_precision(convolution, Precision::F32)
    }

    /// The plan of a convolution in this precision. In bfloat16 its chains are those of
    /// [`forward_bf16`](Convolution::forward_bf16), to the bit.
    ///
    /// # Panics
    /// If it has groups, in bfloat16.
    pub fn with_precision(convolution: &Convolution, precision: Precision) -> ChannelConvolution {
        let window = convolution.window();
        let plain = window.stride == [1, 1] && !convolution.options().is_padded();
        let pointwise = plain && window.taps() == 1 && convolution.groups() == 1;
        let (mut taps, regions) = regions(convolution);
        if precision == Precision::Bf16 {
            assert_eq!(convolution.groups(), 1, "groups of a convolution in bfloat16");
            // A vector of pairs has half the floats.
            taps.iter_mut().for_each(|tap| tap.x /= 2);
        }
        ChannelConvolution { convolution: *convolution, precision, taps, regions, pointwise }
    }

    /// Floats of the weights, `[outputs / 16][inputs / groups][kernel rows][kernel columns][16]`: those of
    /// [`pack_panels`](crate::pack_panels); in bfloat16, of what [`pack_weights`](crate::pack_weights) gives.
    pub fn weights(&self) -> usize {
        self.panels() * self.panel_weights()
    }

    /// Panels of the output.
    pub fn panels(&self) -> usize {
        self.convolution.output().channels().div_ceil(LANES)
    }

    /// Lines of a panel of the output of so many images, for [`Part`]s.
    pub fn lines(&self, images: usize) -> usize {
        if self.pointwise {
            self.output(images).block_len() / LANES
        } else {
            images * self.convolution.output().size()[0]
        }
    }

    /// Vectors of multiply-adds for an image, or of steps that do two.
    pub fn cost(&self) -> usize {
        let outputs = self.convolution.output().channels().max(1);
        let vectors = self.convolution.multiply_adds() / outputs * self.panels();
        vectors * self.cost_of_product() / self.numbers()
    }

    /// Where a part lies in the output of so many images, in floats.
    pub fn place(&self, images: usize, part: &Part) -> Range<usize> {
        let layout = self.output(images);
        let panel = layout.block_len();
        let whole = part.lines == (0..self.lines(images));
        assert!(whole || part.panels.len() == 1, "a part of several panels has all their lines");
        if whole {
            return part.panels.start * panel..part.panels.end * panel;
        }
        let [from, to] = [part.lines.start, part.lines.end].map(|line| {
            part.panels.start * panel
                + if self.pointwise { line * LANES } else { line_offset(&layout, line) }
        });
        from..to
    }

    /// Y = epilogue(bias + W · X): this part of it, to a slice of its floats.
    ///
    /// # Panics
    /// If a slice has not the length that the plan says.
    pub fn run(&self, isa: Isa, operands: &ChannelOperands<'_>, part: &Part, y: &mut [f32]) {
        let ChannelOperands { images, weights, x, bias, .. } = *operands;
        let len = self.input(images).len() / self.numbers();
        assert_eq!(x.len(), len, "input of a convolution");
        assert_eq!(weights.len(), self.weights(), "weights of a convolution in panels");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), self.panels() * LANES, "bias of a convolution in panels");
        }
        assert!(part.panels.end <= self.panels() && part.lines.end <= self.lines(images));
        assert_eq!(y.len(), self.place(images, part).len(), "a part of an output");
        match self.precision {
            Precision::F32 => dispatch!(isa, s => {
                if self.convolution.groups() > 1 {
                    self.in_groups(s, operands, part, y)
                } else {
                    self.compute((s, Floats), operands, part, y)
                }
            }),
            Precision::Bf16 => {
                dispatch_bf16!(isa, (s, step) => self.compute((s, step), operands, part, y))
            }
        }
    }

    /// Numbers in a float of the operands.
    fn numbers(&self) -> usize {
        match self.precision {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
        }
    }

    /// Floats of a pixel's vector of channels.
    fn vector(&self) -> usize {
        LANES / self.numbers()
    }

    fn input(&self, images: usize) -> Layout {
        let input = self.convolution.input();
        channel_layout(images, input.channels(), input.size())
    }

    fn output(&self, images: usize) -> Layout {
        let output = self.convolution.output();
        channel_layout(images, output.channels(), output.size())
    }

    fn panel_weights(&self) -> usize {
        match self.precision {
            Precision::F32 => self.convolution.taps() * LANES,
            Precision::Bf16 => self.channels() * self.convolution.window().taps() * LANES,
        }
    }

    /// Channels of the input, or pairs of them.
    fn channels(&self) -> usize {
        self.convolution.input().channels().div_ceil(self.numbers())
    }

    fn compute<S: Simd, A: Arithmetic<S>>(
        &self,
        s: (S, A),
        operands: &ChannelOperands<'_>,
        part: &Part,
        y: &mut [f32],
    ) {
        // A few panels at a time, whose weights stay in the caches.
        for first in part.panels.clone().step_by(MOST) {
            let panels = first..part.panels.end.min(first + MOST);
            let y_panel = self.output(operands.images).block_len();
            let y = &mut y[(first - part.panels.start) * y_panel..];
            if self.pointwise {
                self.one_row(s, operands, panels, part.lines.clone(), y);
            } else {
                self.rows(s, operands, panels, part.lines.clone(), y);
            }
        }
    }

    /// Chains of these panels, from the first pixel of the input to the first of the output.
    fn chains<'a>(
        &'a self,
        operands: &ChannelOperands<'a>,
        panels: &Range<usize>,
        y: &mut [f32],
    ) -> Chains<'a> {
        let (input, output) = (self.input(operands.images), self.output(operands.images));
        let [stride_y, stride_x] = self.convolution.window().stride;
        let bias = operands.bias.map(|bias| bias[panels.start * LANES..].as_ptr());
        Chains {
            x: operands.x.as_ptr(),
            x_row: stride_y.wrapping_mul(input.size()[1] * self.vector()),
            x_step: stride_x.wrapping_mul(self.vector()),
            x_group: input.block_len() / self.numbers(),
            channels: self.channels(),
            taps: &self.taps,
            weights: operands.weights[panels.start * self.panel_weights()..].as_ptr(),
            w_panel: self.panel_weights(),
            w_channel: self.convolution.window().taps() * LANES,
            bias,
            epilogue: operands.epilogue,
            y: y.as_mut_ptr(),
            y_row: output.size()[1] * LANES,
            y_panel: output.block_len(),
        }
    }

    /// All pixels of all images as one row, `lines` of them.
    fn one_row<S: Simd, A: Arithmetic<S>>(
        &self,
        s: (S, A),
        operands: &ChannelOperands<'_>,
        panels: Range<usize>,
        lines: Range<usize>,
        y: &mut [f32],
    ) {
        let chains = self.chains(operands, &panels, y);
        let x = chains.x.wrapping_add(lines.start * self.vector());
        let chains = Chains { x, ..chains };
        // SAFETY: `run` asserted that x, weights and bias are those of the plan and y those of the part; lines are
        // vectors of a panel of the input as of the output, as no window shrinks it.
        unsafe { rectangle(s, chains, panels.len(), [1, lines.len()]) };
    }

    /// Rows of pixels, region after region.
    fn rows<S: Simd, A: Arithmetic<S>>(
        &self,
        s: (S, A),
        operands: &ChannelOperands<'_>,
        panels: Range<usize>,
        lines: Range<usize>,
        y: &mut [f32],
    ) {
        let output = self.output(operands.images);
        let chains = self.chains(operands, &panels, y);
        self.each_rectangle(operands.images, &lines, &output, |region, source, pixel, size| {
            let chains = Chains {
                x: chains.x.wrapping_add(source / self.numbers()),
                taps: &self.taps[region.taps.clone()],
                y: chains.y.wrapping_add(pixel),
                ..chains
            };
            // SAFETY: `run` asserted that x, weights and bias are those of the plan and y those of the part.
            // The taps of a region lie inside the image from each of its pixels, by the way
            // `im2col::regions::classes` finds them, and its pixels are those of the part's lines.
            unsafe { rectangle(s, chains, panels.len(), size) };
        });
    }

    /// `f` of each region of each image within these lines: where the first tap of its first pixel lies in a panel of
    /// the input, and the pixel in the part of a panel of the output, in floats, and its rows and columns.
    fn each_rectangle(
        &self,
        images: usize,
        lines: &Range<usize>,
        output: &Layout,
        mut f: impl FnMut(&Region, usize, usize, [usize; 2]),
    ) {
        let input = self.input(images);
        let x_row = self.convolution.window().stride[0].wrapping_mul(input.size()[1] * LANES);
        let origin = line_offset(output, lines.start);
        let [height, width] = self.convolution.output().size();
        for region in &self.regions {
            for image in lines.start / height..lines.end.div_ceil(height) {
                let of_image = |line: usize| line.saturating_sub(image * height).min(height);
                let rows = region.rows.start.max(of_image(lines.start))
                    ..region.rows.end.min(of_image(lines.end));
                if rows.is_empty() {
                    continue;
                }
                let below = rows.start - region.rows.start;
                let source = input.offset(image, region.source) + below * x_row;
                let pixel = output.offset(image, [0, 0])
                    + (rows.start * width + region.columns.start) * LANES;
                f(region, source, pixel - origin, [rows.len(), region.columns.len()]);
            }
        }
    }

    /// As [`Self::each_rectangle`], row by row: the taps, the source of the first pixel, and where it lies and how
    /// many there are.
    pub(super) fn each_row(
        &self,
        images: usize,
        lines: &Range<usize>,
        output: &Layout,
        mut f: impl FnMut(&[Tap], usize, [usize; 2]),
    ) {
        let x_row =
            self.convolution.window().stride[0].wrapping_mul(self.input(images).size()[1] * LANES);
        let y_row = output.size()[1] * LANES;
        self.each_rectangle(images, lines, output, |region, source, pixel, [rows, columns]| {
            for row in 0..rows {
                let taps = &self.taps[region.taps.clone()];
                f(taps, source + row * x_row, [pixel + row * y_row, columns]);
            }
        });
    }
}

/// Where a line of a panel begins: rows of pixels, image after image. After the last is the end of the panel.
fn line_offset(layout: &Layout, line: usize) -> usize {
    let height = layout.size()[0].max(1);
    layout.offset(line / height, [line % height, 0])
}
