//! Steps as they are put together.

use super::{Kernel, Operation, Place, Sequence, Step, run::Inputs};
use autograd::{BatchNorm, Buffer, Param};
use kernels::{
    Activation, ChannelConvolution, ChannelWinograd, Convolution, Cores, Epilogue, Isa, LANES,
    Layout, Pool, Precision, channel_layout, pack_panels,
};

/// A value between steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub slot: usize,
    /// Channels, rows and columns.
    pub shape: [usize; 3],
}

/// Steps as they are put together.
pub(crate) struct Steps<'a> {
    isa: Isa,
    weights: &'a [f32],
    constants: Vec<f32>,
    steps: Vec<Step>,
    slots: Vec<usize>,
    free: Vec<usize>,
    input: Value,
    cost: usize,
    batch_cost: usize,
    precision: Precision,
}

/// What is applied after an operation with a ReLU or without.
pub(crate) fn relu_if(relu: bool) -> Epilogue {
    if relu { Epilogue::Relu } else { Epilogue::None }
}

impl<'a> Steps<'a> {
    /// No steps yet, for images of this shape and a network with these weights, whose products are in this precision.
    pub fn new(isa: Isa, weights: &'a [f32], input: [usize; 3], precision: Precision) -> Steps<'a> {
        let (constants, steps, slots, free) = (vec![], vec![], vec![], vec![]);
        let image = Value { slot: 0, shape: input };
        let mut new = Steps {
            isa,
            weights,
            constants,
            steps,
            slots,
            free,
            input: image,
            cost: 0,
            batch_cost: 0,
            precision,
        };
        new.take_slot(input);
        new
    }

    /// The images.
    pub fn input(&self) -> Value {
        self.input
    }

    /// The weights of the network.
    pub fn weights(&self) -> &'a [f32] {
        self.weights
    }

    /// All of them, whose last value is this one.
    pub fn finish(self, output: Value) -> Sequence {
        let mut constants = Buffer::zeros(self.constants.len());
        constants.copy_from_slice(&self.constants);
        let Steps { isa, steps, slots, input, cost, batch_cost, .. } = self;
        Sequence { isa, constants, steps, slots, input: input.shape, output, cost, batch_cost }
    }

    /// Says that no later step reads a value: its slot is used again.
    pub fn done(&mut self, value: Value) {
        self.free.push(value.slot);
    }

    /// A slot that nothing is in, for values of this shape.
    fn take_slot(&mut self, shape: [usize; 3]) -> Value {
        let [channels, height, width] = shape;
        let floats = channel_layout(1, channels, [height, width]).len();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(0);
            self.slots.len() - 1
        });
        self.slots[slot] = self.slots[slot].max(floats);
        Value { slot, shape }
    }

    fn step(&mut self, operation: Operation, from: &[Value], output: [usize; 3]) -> Value {
        let to = self.take_slot(output);
        self.steps.push(Step { operation, from: from.to_vec(), to });
        to
    }

    /// A kernel from some values to a new one of this shape.
    pub fn kernel(
        &mut self,
        from: &[Value],
        output: [usize; 3],
        kernel: impl Fn(Cores<'_>, &Inputs<'_>, &Layout, &mut [f32]) + Send + Sync + 'static,
    ) -> Value {
        let kernel: Kernel = Box::new(kernel);
        self.step(Operation::Kernel(kernel), from, output)
    }

    /// Adds a value to another, in the slot of that.
    pub fn add_to(&mut self, y: Value, x: Value, epilogue: Epilogue) {
        let kernel: Kernel = Box::new(move |cores, x, _, y| {
            kernels::add_to(cores.isa(), y, x.values(0), epilogue);
        });
        self.steps.push(Step { operation: Operation::Kernel(kernel), from: vec![x], to: y });
    }

    /// An activation of a value, in the slot of that.
    pub fn activate(&mut self, y: Value, f: Activation) {
        let kernel: Kernel = Box::new(move |cores, _, _, y| {
            kernels::activate_in_place(cores.isa(), f, y);
        });
        self.steps.push(Step { operation: Operation::Kernel(kernel), from: vec![], to: y });
    }

    pub fn max_pool(&mut self, x: Value, pool: impl Into<Pool>) -> Value {
        let (pool, [channels, height, width]) = (pool.into(), x.shape);
        let [h, w] = pool.output([height, width]).expect("checked when the network was");
        self.kernel(&[x], [channels, h, w], move |cores, x, _, y| {
            kernels::max_pool(cores.isa(), x.values(0), &x.layout(0), pool, y);
        })
    }

    pub fn avg_pool(&mut self, x: Value, pool: impl Into<Pool>) -> Value {
        let (pool, [channels, height, width]) = (pool.into(), x.shape);
        let [h, w] = pool.output([height, width]).expect("checked when the network was");
        self.kernel(&[x], [channels, h, w], move |cores, x, _, y| {
            kernels::avg_pool(cores.isa(), x.values(0), &x.layout(0), pool, y);
        })
    }

    pub fn convolution(
        &mut self,
        layer: &Convolution,
        x: Value,
        weights: &[f32],
        bias: Option<&[f32]>,
        epilogue: Epilogue,
    ) -> Value {
        let (outputs, [height, width]) = (layer.output().channels(), layer.output().size());
        let output = [outputs, height, width];
        let bias = bias.map(|bias| self.constant(bias));
        let precision = if self.rounds(layer) { Precision::Bf16 } else { Precision::F32 };
        if let Some(plan) = ChannelWinograd::with_precision(layer, precision) {
            let place = self.room(plan.weights());
            plan.pack(self.isa, weights, &mut self.constants[place.clone()]);
            self.cost += plan.cost();
            self.batch_cost += plan.cost() / plan.panels() * outputs;
            let operation = Operation::Winograd { plan, weights: place, bias, epilogue };
            return self.step(operation, &[x], output);
        }
        let plan = ChannelConvolution::with_precision(layer, precision);
        if precision == Precision::Bf16 {
            let mut pairs = vec![0.0; layer.forward_bf16().weights()];
            kernels::pack_weights(self.isa, layer, weights, &mut pairs);
            let place = self.room(plan.weights());
            pack_panels(&pairs, outputs, &mut self.constants[place.clone()]);
            self.cost += plan.cost();
            self.batch_cost += layer.multiply_adds() / 2;
            let operation = Operation::Bf16 { plan, weights: place, bias, epilogue };
            return self.step(operation, &[x], output);
        }
        let place = self.room(plan.weights());
        pack_panels(weights, outputs, &mut self.constants[place.clone()]);
        self.cost += plan.cost();
        self.batch_cost += layer.multiply_adds();
        self.step(Operation::Convolution { plan, weights: place, bias, epilogue }, &[x], output)
    }

    /// Whether the operands of a layer's products are rounded.
    pub fn rounds(&self, layer: &Convolution) -> bool {
        self.precision == Precision::Bf16 && layer.suits_bf16()
    }

    /// Batch norm, in place where the values are not wanted again.
    pub fn norm(
        &mut self,
        norm: &BatchNorm,
        x: Value,
        epilogue: Epilogue,
        in_place: bool,
    ) -> Value {
        let params = self.weights;
        let of = |param: Param| param.of(params);
        let inverse = of(norm.variance).iter().map(|v| 1.0 / (v + norm.epsilon).sqrt());
        // Where there is no scale or shift, as though they were ones and zeros.
        let or = |values: &[f32], usual: f32| match values {
            [] => vec![usual; norm.mean.len],
            values => values.to_vec(),
        };
        let [gamma, beta] = [or(of(norm.weight), 1.0), or(of(norm.bias), 0.0)];
        let slope: Vec<f32> = gamma.iter().zip(inverse).map(|(g, i)| g * i).collect();
        let norm = [of(norm.mean), &slope, &beta].map(|values| self.constant(values));
        let to = if in_place { x } else { self.take_slot(x.shape) };
        self.steps.push(Step {
            operation: Operation::Affine { norm, epilogue },
            from: vec![x],
            to,
        });
        to
    }

    /// Values in whole panels.
    fn constant(&mut self, values: &[f32]) -> Place {
        let place = self.room(values.len());
        self.constants[place.start..][..values.len()].copy_from_slice(values);
        place
    }

    fn room(&mut self, len: usize) -> Place {
        let start = self.constants.len();
        self.constants.resize(start + len.next_multiple_of(LANES), 0.0);
        start..self.constants.len()
    }
}
