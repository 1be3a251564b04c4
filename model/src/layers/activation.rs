//! Element-wise functions.

use super::Layer;
use super::definition::{Call, FewCall, Form, Operation, Readable, Shape, Work, Written, product};
use super::fields::Fields;
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::steps::Value;
use autograd::Var;
use kernels::Activation;

/// max(x, 0).
#[must_use]
pub fn relu() -> Layer {
    Activation::Relu.into()
}

/// x where positive, else `slope` · x.
#[must_use]
pub fn leaky_relu(slope: f32) -> Layer {
    Activation::LeakyRelu(slope).into()
}

/// The nearest value from 0 to 6.
#[must_use]
pub fn relu6() -> Layer {
    Activation::Relu6.into()
}

/// relu6(x + 3) / 6.
#[must_use]
pub fn hardsigmoid() -> Layer {
    Activation::HardSigmoid.into()
}

/// x · relu6(x + 3) / 6.
#[must_use]
pub fn hardswish() -> Layer {
    Activation::HardSwish.into()
}

/// 1 / (1 + exp(−x)).
#[must_use]
pub fn sigmoid() -> Layer {
    Activation::Sigmoid.into()
}

/// The hyperbolic tangent.
#[must_use]
pub fn tanh() -> Layer {
    Activation::Tanh.into()
}

/// x · sigmoid(x).
#[must_use]
pub fn silu() -> Layer {
    Activation::Silu.into()
}

/// x · Φ(x), Φ being the normal distribution function.
#[must_use]
pub fn gelu() -> Layer {
    Activation::Gelu.into()
}

/// The approximation of [`gelu`] by tanh.
#[must_use]
pub fn gelu_tanh() -> Layer {
    Activation::GeluTanh.into()
}

/// x where positive, else `alpha` · (exp(x) − 1).
#[must_use]
pub fn elu(alpha: f32) -> Layer {
    Activation::Elu(alpha).into()
}

/// ln(1 + exp(`beta` · x)) / `beta`.
#[must_use]
pub fn softplus(beta: f32) -> Layer {
    Activation::Softplus(beta).into()
}

/// One without fields.
macro_rules! plain {
    ($word:literal, $f:expr) => {
        Form { word: $word, fields: &[], read: |_| Ok($f.into()) }
    };
}

impl Readable for Activation {
    const FORMS: &'static [Form] = &[
        plain!("relu", Activation::Relu),
        Form {
            word: "leaky-relu",
            fields: &["slope"],
            read: |table| {
                let slope = table.number("slope", 0.01, "a finite number", f32::is_finite)?;
                Ok(Activation::LeakyRelu(slope).into())
            },
        },
        plain!("relu6", Activation::Relu6),
        plain!("hardsigmoid", Activation::HardSigmoid),
        plain!("hardswish", Activation::HardSwish),
        plain!("sigmoid", Activation::Sigmoid),
        plain!("tanh", Activation::Tanh),
        plain!("silu", Activation::Silu),
        Form {
            word: "gelu",
            fields: &["approximate"],
            read: |table| match table.choice("approximate", &["none", "tanh"])? {
                Some("tanh") => Ok(Activation::GeluTanh.into()),
                _ => Ok(Activation::Gelu.into()),
            },
        },
        Form {
            word: "elu",
            fields: &["alpha"],
            read: |table| {
                let alpha = table.number("alpha", 1.0, "a finite number", f32::is_finite)?;
                Ok(Activation::Elu(alpha).into())
            },
        },
        Form {
            word: "softplus",
            fields: &["beta"],
            read: |table| {
                let beta = table.number("beta", 1.0, BETA, is_beta)?;
                Ok(Activation::Softplus(beta).into())
            },
        },
    ];
}

/// The factors of a softplus: beyond them β x or 1/β would be lost.
const BETA: &str = "a number from 0.001 to 1000";

fn is_beta(beta: f32) -> bool {
    (1e-3..=1e3).contains(&beta)
}

impl Written for Activation {
    fn word(&self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu(_) => "leaky-relu",
            Activation::Relu6 => "relu6",
            Activation::HardSigmoid => "hardsigmoid",
            Activation::HardSwish => "hardswish",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Silu => "silu",
            Activation::Gelu | Activation::GeluTanh => "gelu",
            Activation::Elu(_) => "elu",
            Activation::Softplus(_) => "softplus",
        }
    }

    fn write(&self, fields: &mut Fields) {
        match self {
            Activation::LeakyRelu(slope) => fields.decimal("slope", *slope),
            Activation::GeluTanh => fields.text("approximate", "tanh"),
            Activation::Elu(alpha) if *alpha != 1.0 => fields.decimal("alpha", *alpha),
            Activation::Softplus(beta) if *beta != 1.0 => fields.decimal("beta", *beta),
            _ => {}
        }
    }

    fn in_words(&self) -> String {
        match self {
            Activation::LeakyRelu(slope) => format!("leaky ReLU {slope}"),
            Activation::Elu(alpha) => format!("ELU {alpha}"),
            Activation::Softplus(beta) => format!("softplus {beta}"),
            Activation::Relu => "ReLU".into(),
            Activation::Relu6 => "ReLU6".into(),
            Activation::HardSigmoid => "hard sigmoid".into(),
            Activation::HardSwish => "hard swish".into(),
            Activation::Sigmoid => "sigmoid".into(),
            Activation::Tanh => "tanh".into(),
            Activation::Silu => "SiLU".into(),
            Activation::Gelu => "GELU".into(),
            Activation::GeluTanh => "GELU by tanh".into(),
        }
    }
}

impl Operation for Activation {
    fn output(&self, x: &[Shape]) -> Result<Shape, String> {
        Ok(x[0])
    }

    fn work(&self, _: &[Shape], y: Shape) -> Work {
        // A ReLU is done with the layer before it.
        let is_along = *self == Activation::Relu;
        Work { steps: product(&y), is_along, ..Work::default() }
    }

    fn reads_output(&self, _: bool) -> bool {
        false
    }

    fn forward(&self, call: Call<'_, '_>) -> Var {
        call.tape.activate(call.x[0], *self)
    }

    fn few_images(&self, call: FewCall<'_, '_>) -> Option<Value> {
        let (x, f) = (call.x[0], *self);
        Some(call.steps.kernel(&[x], x.shape, move |cores, x, _, y| {
            kernels::activate(cores.isa(), f, x.values(0), y);
        }))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
        export::nodes(*self, graph, site.name, &x[0])
    }
}

/// Nodes of operator set 17.
#[cfg(feature = "onnx")]
mod export {
    use crate::onnx_nodes::{Array, Graph, float};
    use kernels::Activation;

    pub(super) fn nodes(f: Activation, graph: &mut Graph<'_>, name: &str, x: &Array) -> Array {
        let mut one = |operation, attributes| {
            graph.node(name, operation, std::slice::from_ref(&x.name), attributes, x.is_vector)
        };
        match f {
            Activation::Relu => one("Relu", vec![]),
            Activation::LeakyRelu(slope) => one("LeakyRelu", vec![float("alpha", slope)]),
            Activation::HardSigmoid => {
                one("HardSigmoid", vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)])
            }
            Activation::HardSwish => one("HardSwish", vec![]),
            Activation::Sigmoid => one("Sigmoid", vec![]),
            Activation::Tanh => one("Tanh", vec![]),
            Activation::Elu(alpha) => one("Elu", vec![float("alpha", alpha)]),
            Activation::Softplus(1.0) => one("Softplus", vec![]),
            Activation::Relu6 => {
                let ends = [("least", 0.0), ("most", 6.0)];
                let [least, most] =
                    ends.map(|(end, v)| graph.floats(&format!("{name}/{end}"), &[], &[v]));
                graph.node(name, "Clip", &[x.name.clone(), least, most], vec![], x.is_vector)
            }
            Activation::Softplus(beta) => {
                let [beta, inverse] = [("beta", beta), ("inverse", 1.0 / beta)]
                    .map(|(what, v)| graph.floats(&format!("{name}/{what}"), &[1], &[v]));
                let steps = [
                    ("scaled", "Mul", Some(beta)),
                    ("softplus", "Softplus", None),
                    ("", "Mul", Some(inverse)),
                ];
                chain(graph, name, x, &steps)
            }
            Activation::Silu => chain(
                graph,
                name,
                x,
                &[("sigmoid", "Sigmoid", None), ("", "Mul", Some(x.name.clone()))],
            ),
            Activation::Gelu => exact_gelu(graph, name, x),
            Activation::GeluTanh => gelu_by_tanh(graph, name, x),
        }
    }

    /// x · ½(1 + erf(x/√2)): the operator Gelu is younger.
    fn exact_gelu(graph: &mut Graph<'_>, name: &str, x: &Array) -> Array {
        let constants = [std::f32::consts::FRAC_1_SQRT_2, 1.0, 0.5];
        let [scale, one, half] =
            constants.map(|v| graph.floats(&format!("{name}/{v}"), &[1], &[v]));
        let steps = [
            ("scaled", "Mul", Some(scale)),
            ("erf", "Erf", None),
            ("shifted", "Add", Some(one)),
            ("times", "Mul", Some(x.name.clone())),
            ("", "Mul", Some(half)),
        ];
        chain(graph, name, x, &steps)
    }

    /// x · σ(x (a + b x²)), with 2 √(2/π) for a and 0.044715 of it for b.
    fn gelu_by_tanh(graph: &mut Graph<'_>, name: &str, x: &Array) -> Array {
        let a = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
        let [b, a] = [("cubic", 0.044715 * a), ("slope", a)]
            .map(|(what, v)| graph.floats(&format!("{name}/{what}"), &[1], &[v as f32]));
        let x_again = || Some(x.name.clone());
        let steps = [
            ("square", "Mul", x_again()),
            ("cube", "Mul", Some(b)),
            ("sum", "Add", Some(a)),
            ("exponent", "Mul", x_again()),
            ("sigmoid", "Sigmoid", None),
            ("", "Mul", x_again()),
        ];
        chain(graph, name, x, &steps)
    }

    /// Nodes one after the other: what the name of each ends in, its operator, its second input.
    fn chain(
        graph: &mut Graph<'_>,
        name: &str,
        x: &Array,
        steps: &[(&str, &str, Option<String>)],
    ) -> Array {
        let mut y = x.clone();
        for (part, operation, other) in steps {
            let step = if part.is_empty() { name.to_owned() } else { format!("{name}/{part}") };
            let inputs: Vec<String> = [y.name].into_iter().chain(other.clone()).collect();
            y = graph.node(&step, operation, &inputs, vec![], x.is_vector);
        }
        y
    }
}
