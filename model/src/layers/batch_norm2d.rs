//! Batch normalisation.

use super::definition::{Call, FewCall, Form, Operation, Part, Readable, Shape, Written};
use super::fields::Fields;
use super::image_norm::eps;
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Role;
use crate::steps::Value;
use autograd::{BatchNorm, Param, Var};
use kernels::{Activation, Epilogue};

/// The ε that batch norm adds to a variance, unless it is told otherwise.
const EPSILON: f32 = 1e-5;

/// How far running statistics move towards those of a batch, unless they are told otherwise.
const MOMENTUM: f32 = 0.1;

/// Batch normalisation per channel: see [`batch_norm2d`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct BatchNorm2d {
    /// Added to the variance.
    pub eps: f32,
    /// How far running statistics move towards those of a batch, as PyTorch's.
    pub momentum: f32,
    /// Whether each channel has a scale and a shift.
    pub affine: bool,
    /// How often a network uses it again after this place.
    pub(crate) later: u32,
}

/// Batch normalisation per channel, ε = 10⁻⁵, running statistics with momentum 0.1, a scale and a shift per channel.
pub fn batch_norm2d() -> BatchNorm2d {
    BatchNorm2d { eps: EPSILON, momentum: MOMENTUM, affine: true, later: 0 }
}

impl BatchNorm2d {
    /// The same with this ε.
    pub fn eps(self, eps: f32) -> BatchNorm2d {
        BatchNorm2d { eps, ..self }
    }

    /// The same whose running statistics move by this share towards those of a batch.
    pub fn momentum(self, momentum: f32) -> BatchNorm2d {
        BatchNorm2d { momentum, ..self }
    }

    /// The same with scale and shift, or without.
    pub fn affine(self, affine: bool) -> BatchNorm2d {
        BatchNorm2d { affine, ..self }
    }

    /// What the tape needs to know, of the places of its parameters.
    pub(crate) fn norm(&self, params: &[Param]) -> BatchNorm {
        let none = Param { offset: 0, len: 0 };
        let (affine, statistics) = params.split_at(if self.affine { 2 } else { 0 });
        let [weight, bias] = [0, 1].map(|i| affine.get(i).copied().unwrap_or(none));
        let [mean, variance, batches] =
            statistics.try_into().expect("the three statistics of a batch norm");
        let share = self.kept(self.later);
        BatchNorm { weight, bias, mean, variance, batches, epsilon: self.eps, share }
    }

    /// What is left of running statistics after so many batches.
    pub(crate) fn kept(&self, batches: u32) -> f32 {
        (0..batches).fold(1.0, |kept, _| kept * (1.0 - self.momentum))
    }
}

impl Readable for BatchNorm2d {
    const FORMS: &'static [Form] = &[Form {
        word: "batch-norm",
        fields: &["eps", "momentum", "affine"],
        read: |table| {
            let expected = "a number above 0, at most 1";
            let momentum = table.number("momentum", MOMENTUM, expected, |m| m > 0.0 && m <= 1.0)?;
            let affine = table.switch("affine")?.unwrap_or(true);
            Ok(batch_norm2d().eps(eps(table, EPSILON)?).momentum(momentum).affine(affine).into())
        },
    }];
}

impl Written for BatchNorm2d {
    fn word(&self) -> &'static str {
        "batch-norm"
    }

    fn write(&self, fields: &mut Fields) {
        if self.eps != EPSILON {
            fields.decimal("eps", self.eps);
        }
        if self.momentum != MOMENTUM {
            fields.decimal("momentum", self.momentum);
        }
        if !self.affine {
            fields.switch("affine", false);
        }
    }

    fn in_words(&self) -> String {
        "batch norm".into()
    }
}

impl Operation for BatchNorm2d {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        Ok(x[0])
    }

    fn parameters(&self, x: &[Shape]) -> Vec<Part> {
        let each = |name, role| Part { name, shape: vec![x[0][0]], role };
        let affine = [each("weight", Role::Scale), each("bias", Role::Shift)];
        let statistics = [
            each("running_mean", Role::RunningMean),
            each("running_var", Role::RunningVariance),
            Part { name: "num_batches_tracked", shape: vec![], role: Role::BatchesTracked },
        ];
        affine.into_iter().filter(|_| self.affine).chain(statistics).collect()
    }

    fn takes(&self, _: Activation) -> bool {
        true
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.batch_norm2d(call.x[0], self.norm(call.params), call.activation)
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let norm = self.norm(call.params);
        let (epilogue, rest) = Epilogue::of(call.activation);
        let y = call.steps.norm(&norm, call.x[0], epilogue, call.is_last_reader);
        rest.into_iter().for_each(|f| call.steps.activate(y, f));
        Some(y)
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        use crate::onnx_nodes::float;
        let mut inputs = vec![x[0].name.clone()];
        for (part, value) in [("weight", 1.0), ("bias", 0.0)] {
            let channels = site.inputs[0][0];
            inputs.push(match self.affine {
                true => graph.parameter_input(site, part),
                false => graph.floats(
                    &format!("{}/{part}", site.name),
                    &[channels],
                    &vec![value; channels],
                ),
            });
        }
        for part in ["running_mean", "running_var"] {
            inputs.push(graph.parameter_input(site, part));
        }
        let epsilon = vec![float("epsilon", self.eps)];
        graph.node(site.name, "BatchNormalization", &inputs, epsilon, x[0].is_vector)
    }
}
