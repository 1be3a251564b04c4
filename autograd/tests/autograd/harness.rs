//! One operation on the tape, run on every path.
//!
//! The loss is `⟨r, y⟩` with random `r`, so that the gradient of the operation's output `y` is `r`
//! itself, to the bit. Nothing starts clean: the tape's workspace has held the NaN of a run before, and
//! gradients are added to numbers that are there already.

use autograd::{Buffer, Param, Tape, Tensor, Var, Workspace};
use kernels::{Activation, Isa, LANES};
use proptest::prelude::*;
use reference::{Planes, WindowLimits, compare, magnitude, uniform, widen};

/// Which numbers go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Quarters from −1 to 1: sums of some hundred thousand products of two are exact in `f32`, in
    /// any order, and equal values are frequent. Nothing is allowed for rounding.
    Quarters,
    /// Anything from −1 to 1.
    Any,
}

pub fn numbers() -> impl Strategy<Value = Numbers> {
    prop_oneof![Just(Numbers::Quarters), Just(Numbers::Any)]
}

impl Numbers {
    pub fn draw(self, len: usize, seed: u64) -> Vec<f32> {
        let values: Vec<f32> = uniform(len, seed);
        match self {
            Numbers::Any => values,
            Numbers::Quarters => values.iter().map(|x| (4.0 * x).round() / 4.0).collect(),
        }
    }
}

/// The activations that have no tests of their own, as ReLU, leaky ReLU and GELU have.
pub fn other_activations(factor: f32) -> [Activation; 9] {
    [
        Activation::Relu6,
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::GeluTanh,
        Activation::Elu(factor),
        Activation::Softplus(factor),
    ]
}

/// What goes into an operation.
#[derive(Clone, Debug)]
pub struct Case {
    numbers: Numbers,
    seed: u64,
    planes: Vec<Planes>,
    inputs: Vec<Vec<f32>>,
    params: Vec<Vec<f32>>,
    /// What the gradients of the parameters are added to.
    before: Vec<Vec<f32>>,
    /// The gradients that the inputs get from elsewhere first, if they are used elsewhere.
    elsewhere: Option<Vec<Vec<f32>>>,
    batch: usize,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub y: Vec<f32>,
    /// The gradient of `y`.
    pub r: Vec<f32>,
    pub dx: Vec<Vec<f32>>,
    pub dp: Vec<Vec<f32>>,
}

impl Case {
    /// Random inputs of these shapes and parameters of these lengths.
    pub fn new(numbers: Numbers, seed: u64, planes: &[Planes], params: &[usize]) -> Case {
        let mut stream = seed;
        let mut draw = |len| {
            stream = stream.wrapping_add(1);
            numbers.draw(len, stream)
        };
        Case {
            numbers,
            seed,
            planes: planes.to_vec(),
            inputs: planes.iter().map(|p| draw(p.len())).collect(),
            params: params.iter().map(|len| draw(*len)).collect(),
            before: params.iter().map(|len| draw(*len)).collect(),
            elsewhere: None,
            batch: planes[0].images,
        }
    }

    /// The same where every input, if `shared`, is used by another operation too.
    pub fn shared(mut self, shared: bool) -> Case {
        let draw = |(i, p): (u64, &Planes)| self.numbers.draw(p.len(), self.seed ^ (0x100 + i));
        self.elsewhere = shared.then(|| (0..).zip(&self.planes).map(draw).collect());
        self
    }

    /// The same as part of a batch of so many images.
    pub fn batch(self, batch: usize) -> Case {
        Case { batch, ..self }
    }

    /// The same with other values for input `i`.
    pub fn with_input(mut self, i: usize, change: impl Fn(f32) -> f32) -> Case {
        self.inputs[i].iter_mut().for_each(|x| *x = change(*x));
        self
    }

    /// The same with other values for the first parameters, whose gradients are added to zeros.
    pub fn with_parameters(mut self, values: &[Vec<f32>]) -> Case {
        for (i, values) in values.iter().enumerate() {
            self.before[i] = vec![0.0; values.len()];
            self.params[i].clone_from(values);
        }
        self
    }

    pub fn x(&self, i: usize) -> Vec<f64> {
        widen(&self.inputs[i])
    }

    pub fn p(&self, i: usize) -> Vec<f64> {
        widen(&self.params[i])
    }

    pub fn abs_x(&self, i: usize) -> Vec<f64> {
        magnitude(&self.inputs[i])
    }

    pub fn abs_p(&self, i: usize) -> Vec<f64> {
        magnitude(&self.params[i])
    }

    /// Runs the operation on every path and `check`s what comes out; AVX-512 and AVX2 must agree bit
    /// for bit.
    pub fn on_every_path(
        &self,
        op: impl Fn(&mut Tape<'_>, &[Var], &[Param]) -> Var,
        check: impl Fn(&Outcome) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let mut fused: Option<Outcome> = None;
        for isa in Isa::available() {
            let outcome = self.run(isa, &op);
            check(&outcome).map_err(|error| TestCaseError::fail(format!("{isa}: {error}")))?;
            if isa.name() != "portable" {
                let first = fused.get_or_insert_with(|| outcome.clone());
                prop_assert!(*first == outcome, "{} differs in bits", isa);
            }
        }
        Ok(())
    }

    /// The outcome on one path.
    pub fn run(&self, isa: Isa, op: &impl Fn(&mut Tape<'_>, &[Var], &[Param]) -> Var) -> Outcome {
        let mut workspace = Workspace::default();
        workspace.set_origin(self.seed, 3, 0..1000);
        self.poisoned().step(isa, &mut workspace, op);
        self.step(isa, &mut workspace, op)
    }

    /// NaN in all inputs, and in every lane.
    fn poisoned(&self) -> Case {
        let mut case = self.clone();
        for (planes, input) in case.planes.iter_mut().zip(&mut case.inputs) {
            planes.images = planes.images.next_multiple_of(LANES);
            *input = vec![f32::NAN; planes.len()];
        }
        case.elsewhere = None;
        case.batch = case.batch.max(case.planes[0].images);
        case
    }

    fn step(
        &self,
        isa: Isa,
        workspace: &mut Workspace,
        op: &impl Fn(&mut Tape<'_>, &[Var], &[Param]) -> Var,
    ) -> Outcome {
        let (flat, params) = place(&self.params);
        let (mut gradients, _) = place(&self.before);
        let mut tape = Tape::training(isa, workspace, &flat, self.batch);
        let inputs: Vec<Var> = self
            .planes
            .iter()
            .zip(&self.inputs)
            .map(|(p, x)| tape.variable(&Tensor::from_rows(x, p.images, p.channels, p.size)))
            .collect();
        let y = op(&mut tape, &inputs, &params);
        let r = self.numbers.draw(tape.value(y).to_rows().len(), self.seed ^ 0x200);
        let mut loss = functional(&mut tape, y, &r);
        // Later on the tape, so earlier in its backward.
        for (x, q) in inputs.iter().zip(self.elsewhere.iter().flatten()) {
            let more = functional(&mut tape, *x, q);
            loss = tape.add(loss, more);
        }
        tape.backward(loss, &mut gradients);
        let gradient = |x: &Var| tape.gradient(*x).expect("a gradient").to_rows();
        Outcome {
            y: tape.value(y).to_rows(),
            r,
            dx: inputs.iter().map(gradient).collect(),
            dp: params.iter().map(|p| p.of(&gradients).to_vec()).collect(),
        }
    }

    /// Compares an output.
    pub fn check(&self, what: &str, got: &[f32], expected: Expected) -> Result<(), TestCaseError> {
        let Expected { terms, value, size } = expected;
        let epsilon = match self.numbers {
            Numbers::Quarters => 0.0,
            Numbers::Any => f64::from(f32::EPSILON),
        };
        compare(got, &value, |i| terms * epsilon * size[i])
            .map_err(|difference| TestCaseError::fail(format!("{what}: {difference}")))
    }

    /// Compares the gradient of input `i`, to which that from elsewhere is added.
    pub fn check_dx(
        &self,
        i: usize,
        got: &Outcome,
        expected: Expected,
    ) -> Result<(), TestCaseError> {
        let expected = match &self.elsewhere {
            Some(elsewhere) => expected.plus(&elsewhere[i]),
            None => expected,
        };
        self.check(&format!("gradient of input {i}"), &got.dx[i], expected)
    }

    /// Compares the gradient of parameter `i`, added to what was there before.
    pub fn check_dp(
        &self,
        i: usize,
        got: &Outcome,
        expected: Expected,
    ) -> Result<(), TestCaseError> {
        let expected = expected.plus(&self.before[i]);
        self.check(&format!("gradient of parameter {i}"), &got.dp[i], expected)
    }
}

/// `⟨r, y⟩`.
fn functional(tape: &mut Tape<'_>, y: Var, r: &[f32]) -> Var {
    let value = tape.value(y);
    let (images, channels, size) = (value.images(), value.channels(), value.size());
    let r = Tensor::from_rows(r, images, channels, size);
    let fill = |tensor: &mut Tensor| tensor.data_mut().copy_from_slice(r.data());
    let r = tape.input(images, channels, size, fill);
    let product = tape.mul(y, r);
    tape.sum(product)
}

/// Parameters in a flat buffer with NaN between them, which no operation may meet.
fn place(params: &[Vec<f32>]) -> (Buffer, Vec<Param>) {
    let room = |values: &Vec<f32>| values.len().next_multiple_of(LANES) + LANES;
    let mut flat = Buffer::zeros(params.iter().map(room).sum());
    flat.fill(f32::NAN);
    let mut offset = 0;
    let mut places = vec![];
    for values in params {
        let param = Param { offset, len: values.len() };
        param.of_mut(&mut flat).copy_from_slice(values);
        places.push(param);
        offset += room(values);
    }
    (flat, places)
}

/// What should come out, and how exactly.
#[derive(Clone, Debug)]
pub struct Expected {
    /// How many roundings, in units of ε.
    terms: f64,
    value: Vec<f64>,
    /// Of what size the terms are that are rounded.
    size: Vec<f64>,
}

impl Expected {
    /// Sums of so many products, whose absolute values add up to `size`: see
    /// [`reference::dot_allowance`].
    pub fn sums(terms: usize, value: Vec<f64>, size: Vec<f64>) -> Expected {
        Expected { terms: terms as f64, value, size }
    }

    /// Values that are copied, not computed.
    pub fn exactly(value: Vec<f64>) -> Expected {
        let size = vec![0.0; value.len()];
        Expected { terms: 0.0, value, size }
    }

    /// The same added to `start`: one more term.
    fn plus(mut self, start: &[f32]) -> Expected {
        self.terms += 1.0;
        for ((value, size), start) in self.value.iter_mut().zip(&mut self.size).zip(start) {
            *size = size.max(value.abs()) + f64::from(start.abs());
            *value += f64::from(*start);
        }
        self
    }
}

/// `r`, or zero where a ReLU that was fused into the operation gave zero. Which those are is taken
/// from `y` itself: where the exact value is all but zero, rounding may decide.
pub fn through_relu(relu: bool, outcome: &Outcome) -> Vec<f32> {
    let gate = |(y, r): (&f32, &f32)| if *y > 0.0 || !relu { *r } else { 0.0 };
    outcome.y.iter().zip(&outcome.r).map(gate).collect()
}

/// Of windows, and of planes that they fit.
pub const LIMITS: WindowLimits = WindowLimits { kernel: [5, 5], padding: 2, dilation: 2, size: 9 };

/// Images of several blocks, the last of them full or not.
pub fn images() -> impl Strategy<Value = usize> {
    prop_oneof![1..=35usize, Just(16), Just(32)]
}

pub fn planes() -> impl Strategy<Value = Planes> {
    (images(), 1..=5usize, [1..=5usize, 1..=5usize]).prop_map(|(images, channels, size)| Planes {
        images,
        channels,
        size,
    })
}

/// Vectors of features.
pub fn features(images: usize, channels: usize) -> Planes {
    Planes { images, channels, size: [1, 1] }
}
