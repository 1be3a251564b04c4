//! What has sixteen channels to a vector: inference for a few images.

use crate::Call;
use crate::buffers::Buffers;
use crate::chance::Chance;
use kernels::{
    ChannelConvolution, ChannelOperands, ChannelStrip, ChannelWinograd, Convolution, Isa, LANES,
    Layout, Part, Precision, Window, channel_affine, channel_layout, flatten_channels,
    load_channels, load_float_channels, pack_channel_pairs, pack_panels, relu_max_pool_channels,
    rows_of_channels,
};
use std::ops::Range;

pub const ALL: &[(&str, Call)] = &[
    ("ChannelConvolution::run", run),
    ("ChannelConvolution::run, bf16", run_bf16),
    ("ChannelWinograd::pack", pack),
    ("ChannelWinograd::transform", transform),
    ("ChannelWinograd::product", product),
    ("pack_panels", |c, b, _| {
        let (outputs, taps) = (c.below(40), c.below(20));
        let weights = b.floats(c, outputs * taps);
        pack_panels(weights, outputs, b.floats(c, outputs.next_multiple_of(LANES) * taps));
    }),
    ("load_channels", |c, b, isa| {
        let (channels, layout) = panels(c);
        let image = c.near(c_below(layout.channels()));
        let bytes = b.filled(c.near(channels * layout.pixels()), 200u8);
        let scaling = [&*b.floats(c, channels), &*b.floats(c, channels)];
        load_channels(isa, bytes, &layout, image, scaling, b.floats(c, layout.len()));
    }),
    ("load_float_channels", |c, b, isa| {
        let (channels, layout) = panels(c);
        let image = c.near(c_below(layout.channels()));
        let values = b.filled(4 * c.near(channels * layout.pixels()), 63u8).as_chunks().0;
        let scaling = [&*b.floats(c, channels), &*b.floats(c, channels)];
        load_float_channels(isa, values, &layout, image, scaling, b.floats(c, layout.len()));
    }),
    ("channel_affine", |c, b, isa| {
        let (_, layout) = panels(c);
        let mut each = || &*b.floats(c, layout.blocks() * LANES);
        let values = [each(), each(), each()];
        let epilogue = c.epilogue();
        channel_affine(isa, &layout, values, epilogue, b.floats(c, layout.len()));
    }),
    ("pack_channel_pairs", |c, b, isa| {
        let (channels, layout) = panels(c);
        let x = b.floats(c, layout.len());
        pack_channel_pairs(isa, &layout, c.near(channels), x, b.floats(c, layout.len() / 2));
    }),
    ("relu_max_pool_channels", |c, b, isa| {
        let (_, layout) = panels(c);
        let half = layout.with_size(layout.size().map(|n| n / 2));
        relu_max_pool_channels(isa, b.floats(c, layout.len()), &layout, b.floats(c, half.len()));
    }),
    ("flatten_channels", |c, b, _| {
        let (channels, layout) = panels(c);
        let features = channel_layout(layout.channels(), channels * layout.pixels(), [1, 1]);
        let x = b.floats(c, layout.len());
        flatten_channels(x, &layout, c.near(channels), b.floats(c, features.len()));
    }),
    ("rows_of_channels", |c, b, _| {
        let (images, features) = (c.below(5), c.below(40));
        let x = b.floats(c, channel_layout(images, features, [1, 1]).len());
        rows_of_channels(x, c.near(images), features, b.floats(c, images * features));
    }),
];

/// The last of so many.
fn c_below(count: usize) -> usize {
    count.saturating_sub(1)
}

/// Channels, and a layout of their panels for a few images.
fn panels(c: &mut Chance) -> (usize, Layout) {
    let (images, channels) = (c.below(4), c.below(40));
    let layout = channel_layout(images, channels, c.size());
    assert!(layout.len() <= 1 << 17, "more than is tried");
    (channels, layout)
}

/// A range that is mostly within so many.
fn range(c: &mut Chance, count: usize) -> Range<usize> {
    if c.once_in(20) {
        let ends = [0, 1, count, count + 1, usize::MAX, usize::MAX / 2, 1 << 60];
        return c.of(&ends)..c.of(&ends);
    }
    if c.once_in(2) {
        return 0..count;
    }
    let from = c.below(count + 1);
    from..from + c.below(count - from + 1)
}

fn run(c: &mut Chance, b: &Buffers, isa: Isa) {
    run_plan(c, b, isa, ChannelConvolution::new, 1);
}

fn run_bf16(c: &mut Chance, b: &Buffers, isa: Isa) {
    run_plan(c, b, isa, |conv| ChannelConvolution::with_precision(conv, Precision::Bf16), 2);
}

/// A part of a plan, of operands with so many numbers to a float.
fn run_plan(
    c: &mut Chance,
    b: &Buffers,
    isa: Isa,
    plan: fn(&Convolution) -> ChannelConvolution,
    numbers: usize,
) {
    let window = c.window();
    let conv =
        Convolution::new(c.count(), c.size(), c.count(), window).expect("a window that fits");
    let most = conv.input().block_len().max(conv.output().block_len());
    assert!(most.max(conv.weights()) <= 1 << 16, "more than is tried");
    let (plan, images) = (plan(&conv), c.below(4));
    let mut part = Part { panels: range(c, plan.panels()), lines: range(c, plan.lines(images)) };
    if part.lines != (0..plan.lines(images)) && !c.once_in(10) {
        part.panels.end = part.panels.start.wrapping_add(1);
    }
    let input = channel_layout(images, conv.input().channels(), conv.input().size());
    let x = b.floats(c, input.len() / numbers);
    let weights = b.floats(c, plan.weights());
    let bias = b.floats(c, plan.panels() * LANES);
    let bias = if c.once_in(2) { Some(&*bias) } else { None };
    let operands = ChannelOperands { images, weights, x, bias, epilogue: c.epilogue() };
    let y = b.floats(c, plan.place(images, &part).len());
    plan.run(isa, &operands, &part, y);
}

/// A plan, how many images, and a strip of theirs; once in a while that of another plan.
fn winograd(c: &mut Chance) -> (ChannelWinograd, Convolution, usize, ChannelStrip) {
    let plan = |c: &mut Chance| {
        let window = Window::new([3, 3]).padding(c.below(3));
        let channels = [c.of(&[32, 33, 48, 64]), c.of(&[32, 32, 50])];
        let size = c.size().map(|n| n + 3);
        let conv = Convolution::new(channels[0], size, channels[1], window).expect("it fits");
        assert!(conv.input().block_len() <= 1 << 17, "more than is tried");
        let precision = c.of(&[Precision::F32, Precision::Bf16]);
        (ChannelWinograd::with_precision(&conv, precision).expect("enough channels"), conv)
    };
    let ((own, conv), (other, _)) = (plan(c), plan(c));
    let images = 1 + c.below(3);
    let of = if c.once_in(8) { &other } else { &own };
    let strips: Vec<ChannelStrip> = of.strips(images).collect();
    let strip = strips[c.below(strips.len())].clone();
    (own, conv, images, strip)
}

fn pack(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (plan, conv, ..) = winograd(c);
    let weights = b.floats(c, conv.weights());
    plan.pack(isa, weights, b.floats(c, plan.weights()));
}

fn transform(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (plan, conv, images, strip) = winograd(c);
    let x = b.floats(c, Layout::new(1, images, conv.input().size()).len());
    plan.transform(
        isa,
        &strip,
        c.near(c_below(plan.input_panels())),
        x,
        b.floats(c, strip.panel()),
    );
}

fn product(c: &mut Chance, b: &Buffers, isa: Isa) {
    let (plan, conv, images, strip) = winograd(c);
    let panels = range(c, plan.panels());
    let x = b.floats(c, plan.input_panels() * strip.panel());
    let weights = b.floats(c, plan.weights());
    let bias = b.floats(c, plan.panels() * LANES);
    let bias = if c.once_in(2) { Some(&*bias) } else { None };
    let operands = ChannelOperands { images, weights, x, bias, epilogue: c.epilogue() };
    let scratch = b.floats(c, plan.scratch(&strip, panels.len()));
    let output = channel_layout(images, LANES, conv.output().size());
    let y = b.floats(c, panels.len().saturating_mul(output.len()));
    plan.product(isa, &strip, &operands, panels, scratch, y);
}
