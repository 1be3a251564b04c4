//! A network for one image or a few: sixteen channels to a vector (`kernels/src/channels/`), weights laid out once.
//!
//! Its logits are those of the tape to the bit. The steps are those of the tape's passes, found by the same
//! function (`network/passes.rs`); each step's operation is cut into parts of its output, which a
//! [`Team`](kernels::Team) may run side by side.

use crate::layers::definition::FewCall;
use crate::network::{Node, Pass, Plan, halving};
use crate::steps::{Room, Sequence, Steps, Value, relu_if};
use crate::{Network, StatisticsError};
use autograd::{BatchNorm, Param};
use kernels::{Convolution, Cores, Epilogue, Isa, Layout, Winograd};
use std::fmt;

/// A network with its weights as one image or a few need them.
pub struct FewImages(Sequence);

/// Vectors of multiply-adds of a call for which other threads are woken: some 50 µs of one thread.
const LEAST_CALL: usize = 200_000;

/// What a few images may cost at most, in hundredths of the cost of sixteen on a tape. (Measured: `lenet`, whose six
/// channels leave lanes empty, takes longer here from seven images on, `resnet` and `vgg` from fifteen to sixteen; see
/// `docs/performance-log.md`.)
const SUITS: usize = 90;

/// Vectors of multiply-adds that take as long as loading a value of an image, and as a step.
const LOAD_COST: usize = 8;
const STEP_COST: usize = 1_000;

impl FewImages {
    /// Lays out the weights of a network; nothing if it has a layer of a kind that is computed on tapes alone.
    ///
    /// # Errors
    /// As [`Network::check_statistics`].
    pub fn new(
        isa: Isa,
        network: &Network,
        weights: &[f32],
    ) -> Result<Option<FewImages>, StatisticsError> {
        network.check_statistics(weights)?;
        Ok(build(isa, network, weights).map(FewImages))
    }

    /// Whether so many images, at most sixteen, take less time here than on a tape. The answer decides no bit.
    #[must_use]
    pub fn suits(&self, images: usize) -> bool {
        let Sequence { input, steps, cost, batch_cost, .. } = &self.0;
        let values: usize = input.iter().product();
        let cost = cost + LOAD_COST * values + STEP_COST * steps.len();
        images * cost * 100 <= batch_cost * SUITS
    }

    /// Whether so many images are enough work to wake other threads for.
    #[must_use]
    pub fn is_worth_waking(&self, images: usize) -> bool {
        images * self.0.cost >= LEAST_CALL
    }

    /// Writes the logits of some images, row-major, which `load` writes in the layout that it is given.
    ///
    /// # Panics
    /// If `logits` is not a row for each image, or the weights were laid out for another SIMD path.
    pub fn logits<'t>(
        &self,
        cores: impl Into<Cores<'t>>,
        room: &mut Room,
        images: usize,
        load: impl FnOnce(&Layout, &mut [f32]),
        logits: &mut [f32],
    ) {
        self.0.run(cores.into(), room, images, load, logits);
    }
}

impl fmt::Debug for FewImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("FewImages");
        debug.field("isa", &self.0.isa).field("steps", &self.0.steps.len());
        debug.field("floats", &self.0.constants.len()).finish_non_exhaustive()
    }
}

/// The steps of a network with these weights.
fn build(isa: Isa, network: &Network, weights: &[f32]) -> Option<Sequence> {
    let mut steps = Steps::new(isa, weights, network.input, network.precision());
    let Plan { passes, output, .. } = network.plan(false);
    let mut values = vec![None; network.nodes.len() + 1];
    values[0] = Some(steps.input());
    for planned in passes {
        let of = |value: &usize| values[*value].expect("computed by a pass before");
        let x: Vec<Value> = planned.inputs.iter().map(of).collect();
        let node = &network.nodes[planned.first];
        let is_last_reader = planned.done.iter().any(|done| done.value == planned.inputs[0]);
        let y = match planned.pass {
            Pass::Same => x[0],
            Pass::Layer { activation } => {
                let (steps, params, x) = (&mut steps, &node.params[..], &x[..]);
                let call = FewCall { steps, params, x, activation, is_last_reader };
                node.operation().few_images(call)?
            }
            Pass::NormalisedConvolution { norm, activation } => {
                let (norm, sum) = (network.norm(norm), x.get(1));
                let (epilogue, rest) = Epilogue::of(activation);
                let here = if sum.is_none() { epilogue } else { Epilogue::None };
                let y = normalised_convolution(&mut steps, node, norm, x[0], here);
                if let Some(other) = sum {
                    steps.add_to(y, *other, epilogue);
                }
                rest.into_iter().for_each(|f| steps.activate(y, f));
                y
            }
            Pass::PooledConvolution => pooled_convolution(&mut steps, node, x[0]),
            Pass::PooledNorm => {
                let norm = network.norm(planned.first);
                let full = steps.norm(&norm, x[0], relu_if(true), is_last_reader);
                let y = steps.max_pool(full, halving());
                if full.slot != x[0].slot {
                    steps.done(full);
                }
                y
            }
        };
        values[planned.output] = Some(y);
        for done in &planned.done {
            let value = values[done.value].expect("computed by a pass before");
            if value.slot != y.slot {
                steps.done(value);
            }
        }
    }
    let output = values[*output].expect("the last value is computed");
    Some(steps.finish(output))
}

/// The kernels' description of a convolution, its weights and its bias.
fn parts<'w>(
    node: &Node,
    weights: &'w [f32],
    x: Value,
) -> (Convolution, &'w [f32], Option<&'w [f32]>) {
    let convolution = node.conv2d().and_then(|conv| conv.kernel(x.shape));
    let of = |param: &Param| param.of(weights);
    let bias = node.params.get(1).map(of);
    (convolution.expect("checked when the network was"), of(&node.params[0]), bias)
}

/// A convolution with the batch norm after it in its weights.
fn normalised_convolution(
    steps: &mut Steps<'_>,
    node: &Node,
    norm: BatchNorm,
    x: Value,
    epilogue: Epilogue,
) -> Value {
    let (convolution, weights, bias) = parts(node, steps.weights(), x);
    let mut weights = weights.to_vec();
    let mut shift = vec![0.0; convolution.output().channels()];
    if let Some(bias) = bias {
        shift.copy_from_slice(bias);
    }
    norm.fold(steps.weights(), &mut weights, &mut shift);
    steps.convolution(&convolution, x, &weights, Some(&shift), epilogue)
}

/// A convolution, ReLU and the pool that halves; as on a tape in one pass only by im2col in `f32` without padding and
/// groups.
fn pooled_convolution(steps: &mut Steps<'_>, node: &Node, x: Value) -> Value {
    let (convolution, weights, bias) = parts(node, steps.weights(), x);
    let is_whole = !convolution.options().is_padded() && convolution.groups() == 1;
    let in_parts = steps.rounds(&convolution) || Winograd::applies(&convolution);
    let one = is_whole && !in_parts;
    let full = steps.convolution(&convolution, x, weights, bias, relu_if(!one));
    let [channels, height, width] = full.shape;
    let y = match one {
        true => steps.kernel(&[full], [channels, height / 2, width / 2], |cores, x, _, y| {
            kernels::relu_max_pool_channels(cores.isa(), x.values(0), &x.layout(0), y);
        }),
        false => steps.max_pool(full, halving()),
    };
    steps.done(full);
    y
}
