//! The steps at work.

use super::parts::{MOST_PARTS, run_pieces};
use super::{Operation, Place, Sequence, Step, Value};
use autograd::Buffer;
use kernels::{
    ChannelConvolution, ChannelOperands, ChannelWinograd, Cores, Epilogue, Layout, Part,
    channel_affine, channel_layout, pack_channel_pairs, rows_of_channels,
};

/// Vectors of multiply-adds that a part should have: below, handing it out costs more than it saves.
const LEAST_PART: usize = 40_000;

/// What a run writes, kept from one to the next so that it allocates nothing.
#[derive(Debug, Default)]
pub struct Room {
    slots: Vec<Buffer>,
    /// Transformed inputs and products of Winograd's method; packed inputs of products in bfloat16.
    scratch: [Buffer; 2],
}

impl Room {
    /// Fills it with NaN, for tests: no run reads what another has left.
    pub fn poison(&mut self) {
        self.slots.iter_mut().chain(&mut self.scratch).for_each(|buffer| buffer.fill(f32::NAN));
    }
}

/// What a step reads.
pub(crate) struct Inputs<'a> {
    images: usize,
    from: &'a [Value],
    slots: &'a [Buffer],
}

impl Inputs<'_> {
    /// The layout of an input.
    pub fn layout(&self, input: usize) -> Layout {
        layout(self.images, self.from[input].shape)
    }

    /// The values of an input.
    pub fn values(&self, input: usize) -> &[f32] {
        &self.slots[self.from[input].slot][..self.layout(input).len()]
    }
}

fn layout(images: usize, [channels, height, width]: [usize; 3]) -> Layout {
    channel_layout(images, channels, [height, width])
}

impl Sequence {
    /// Writes what the last step computes of some images, row-major, which `load` writes in the layout that it is
    /// given.
    ///
    /// # Panics
    /// If `rows` has not a row for each image, or the weights were laid out for another SIMD path.
    pub fn run(
        &self,
        cores: Cores<'_>,
        room: &mut Room,
        images: usize,
        load: impl FnOnce(&Layout, &mut [f32]),
        rows: &mut [f32],
    ) {
        let features: usize = self.output.shape.iter().product();
        assert_eq!(cores.isa(), self.isa, "SIMD path, and that of the weights");
        assert_eq!(rows.len(), images * features, "logits of {images} images");
        if images == 0 {
            return;
        }
        room.slots.resize(self.slots.len().max(room.slots.len()), Buffer::default());
        for (slot, floats) in room.slots.iter_mut().zip(&self.slots) {
            at_least(slot, floats * images);
        }
        let layout = layout(images, self.input);
        load(&layout, &mut room.slots[0][..layout.len()]);
        let run = Run { sequence: self, cores, images };
        for step in &self.steps {
            run.step(step, room);
        }
        let output = channel_layout(images, features, [1, 1]);
        let values = &room.slots[self.output.slot][..output.len()];
        rows_of_channels(values, images, features, rows);
    }
}

/// A run of so many images.
struct Run<'a> {
    sequence: &'a Sequence,
    cores: Cores<'a>,
    images: usize,
}

impl Run<'_> {
    fn constant(&self, place: &Place) -> &[f32] {
        &self.sequence.constants[place.clone()]
    }

    fn step(&self, step: &Step, room: &mut Room) {
        let to = layout(self.images, step.to.shape);
        let mut output = std::mem::take(&mut room.slots[step.to.slot]);
        let y = &mut output[..to.len()];
        let x = Inputs { images: self.images, from: &step.from, slots: &room.slots };
        match &step.operation {
            Operation::Affine { norm, epilogue } => {
                if step.from[0].slot != step.to.slot {
                    y.copy_from_slice(x.values(0));
                }
                let norm = norm.each_ref().map(|place| self.constant(place));
                channel_affine(self.cores.isa(), &to, norm, *epilogue, y);
            }
            Operation::Convolution { plan, weights, bias, epilogue } => {
                let operands = self.operands(weights, bias.as_ref(), x.values(0), *epilogue);
                self.convolution(plan, &operands, y);
            }
            Operation::Bf16 { plan, weights, bias, epilogue } => {
                let (layout, values) = (x.layout(0), x.values(0));
                let pairs = at_least(&mut room.scratch[0], values.len() / 2);
                pack_channel_pairs(self.cores, &layout, step.from[0].shape[0], values, pairs);
                let operands = self.operands(weights, bias.as_ref(), pairs, *epilogue);
                self.convolution(plan, &operands, y);
            }
            Operation::Winograd { plan, weights, bias, epilogue } => {
                let operands = self.operands(weights, bias.as_ref(), x.values(0), *epilogue);
                self.winograd(plan, &operands, &mut room.scratch, y);
            }
            Operation::Kernel(kernel) => kernel(self.cores, &x, &to, y),
        }
        room.slots[step.to.slot] = output;
    }

    fn operands<'a>(
        &'a self,
        weights: &Place,
        bias: Option<&Place>,
        x: &'a [f32],
        epilogue: Epilogue,
    ) -> ChannelOperands<'a> {
        let bias = bias.map(|place| self.constant(place));
        ChannelOperands { images: self.images, weights: self.constant(weights), x, bias, epilogue }
    }

    /// How many workers an operation with so many vectors of multiply-adds for an image should have.
    fn workers(&self, cost: usize) -> usize {
        let worth = self.images * cost / LEAST_PART;
        self.cores.size().min(worth).clamp(1, MOST_PARTS)
    }

    fn convolution(
        &self,
        plan: &ChannelConvolution,
        operands: &ChannelOperands<'_>,
        y: &mut [f32],
    ) {
        let (images, isa) = (self.images, self.cores.isa());
        let (panels, lines) = (plan.panels(), plan.lines(images));
        let count = match Part::count(panels, lines, self.workers(plan.cost())) {
            count @ ..=MOST_PARTS => count,
            _ => panels.min(MOST_PARTS),
        };
        let part = |i| Part::new(panels, lines, count, i);
        let places = |i| [plan.place(images, &part(i)), 0..0];
        run_pieces(self.cores, count, [y, &mut []], places, &|i, [y, _]| {
            plan.run(isa, operands, &part(i), y);
        });
    }

    fn winograd(
        &self,
        plan: &ChannelWinograd,
        operands: &ChannelOperands<'_>,
        [transformed, products]: &mut [Buffer; 2],
        y: &mut [f32],
    ) {
        let isa = self.cores.isa();
        let (inputs, panels) = (plan.input_panels(), plan.panels());
        let workers = self.workers(plan.cost());
        let [x_panel, y_panel] = [operands.x.len() / inputs, y.len() / panels];
        for strip in plan.strips(self.images) {
            let v = at_least(transformed, inputs * strip.panel());
            let count = inputs.min(workers);
            let cut = |i: usize| Part::new(inputs, 1, count, i).panels;
            let places = |i| [cut(i).start * strip.panel()..cut(i).end * strip.panel(), 0..0];
            run_pieces(self.cores, count, [v, &mut []], places, &|i, [v, _]| {
                for (panel, v) in cut(i).zip(v.chunks_exact_mut(strip.panel())) {
                    let x = &operands.x[panel * x_panel..][..x_panel];
                    plan.transform(isa, &strip, panel, x, v);
                }
            });
            let operands = ChannelOperands { x: v, ..*operands };
            let count = panels.min(workers);
            let cut = |i: usize| Part::new(panels, 1, count, i).panels;
            let room = plan.scratch(&strip, panels);
            let m = at_least(products, count * room);
            let places = |i: usize| {
                let scratch = i * room..i * room + plan.scratch(&strip, cut(i).len());
                [cut(i).start * y_panel..cut(i).end * y_panel, scratch]
            };
            run_pieces(self.cores, count, [&mut *y, m], places, &|i, [y, m]| {
                plan.product(isa, &strip, &operands, cut(i), m, y);
            });
        }
    }
}

/// The first `len` floats of a buffer, which grows if it must.
fn at_least(buffer: &mut Buffer, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len);
    }
    &mut buffer[..len]
}
