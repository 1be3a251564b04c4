//! Norms of each image by itself: group, layer and instance norm.

#[cfg(feature = "onnx")]
mod export;

use super::definition::{
    Call, FewCall, Form, Operation, Part, Readable, Shape, Work, Written, product,
};
use super::fields::Fields;
use super::table::{OUTPUTS, Table};
#[cfg(feature = "onnx")]
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Role;
use crate::steps::Value;
use autograd::{ImageNorm, Param, Var};
use kernels::NormSets;

/// What these norms add to a variance, unless they are told otherwise.
const EPSILON: f32 = 1e-5;

/// Normalises groups of channels with all their pixels, image by image: see [`group_norm`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct GroupNorm {
    /// Groups; they divide the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Whether each channel has a scale and a shift.
    pub affine: bool,
}

/// Normalises all channels of each pixel, or of all pixels, image by image: see [`layer_norm`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct LayerNorm {
    /// Whether pixels are normalised together, with a scale and shift for each channel and pixel; else each pixel
    /// is by itself, with a scale and shift for each channel.
    pub pixels: bool,
    /// Added to the variance.
    pub eps: f32,
    /// Whether there are scales and shifts.
    pub affine: bool,
}

/// Normalises the pixels of each channel, image by image: see [`instance_norm`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is a layer once it is in a list of layers"]
pub struct InstanceNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Whether each channel has a scale and a shift.
    pub affine: bool,
}

/// Group norm of so many groups of channels, ε = 10⁻⁵, with a scale and shift for each channel.
pub fn group_norm(groups: usize) -> GroupNorm {
    GroupNorm { groups, eps: EPSILON, affine: true }
}

/// Layer norm over the channels of each pixel, or the features of a vector, ε = 10⁻⁵, with a scale and shift for each.
pub fn layer_norm() -> LayerNorm {
    LayerNorm { pixels: false, eps: EPSILON, affine: true }
}

/// Instance norm, ε = 10⁻⁵, without scale and shift.
pub fn instance_norm() -> InstanceNorm {
    InstanceNorm { eps: EPSILON, affine: false }
}

impl LayerNorm {
    /// The same over channels and pixels.
    pub fn over_pixels(self) -> LayerNorm {
        LayerNorm { pixels: true, ..self }
    }
}

/// What the choices of these norms have in common.
macro_rules! choices {
    ($($norm:ty),+) => {
        $(impl $norm {
            /// The same with this ε.
            pub fn eps(self, eps: f32) -> Self {
                Self { eps, ..self }
            }

            /// The same with scales and shifts, or without.
            pub fn affine(self, affine: bool) -> Self {
                Self { affine, ..self }
            }
        })+
    };
}

choices!(GroupNorm, LayerNorm, InstanceNorm);

pub(super) fn eps(table: &Table<'_>, default: f32) -> Result<f32, String> {
    table.number("eps", default, "a finite number above 0", |eps| eps > 0.0 && eps.is_finite())
}

impl Readable for GroupNorm {
    const FORMS: &'static [Form] = &[Form {
        word: "group-norm",
        fields: &["groups", "eps", "affine"],
        read: |table| {
            let groups = table.required("groups", table.whole("groups", 1..=OUTPUTS)?)?;
            let affine = table.switch("affine")?.unwrap_or(true);
            Ok(GroupNorm { groups, eps: eps(table, EPSILON)?, affine }.into())
        },
    }];
}

impl Readable for LayerNorm {
    const FORMS: &'static [Form] = &[Form {
        word: "layer-norm",
        fields: &["pixels", "eps", "affine"],
        read: |table| {
            let pixels = table.switch("pixels")?.unwrap_or(false);
            let affine = table.switch("affine")?.unwrap_or(true);
            Ok(LayerNorm { pixels, eps: eps(table, EPSILON)?, affine }.into())
        },
    }];
}

impl Readable for InstanceNorm {
    const FORMS: &'static [Form] = &[Form {
        word: "instance-norm",
        fields: &["eps", "affine"],
        read: |table| {
            let affine = table.switch("affine")?.unwrap_or(false);
            Ok(InstanceNorm { eps: eps(table, EPSILON)?, affine }.into())
        },
    }];
}

fn write(fields: &mut Fields, eps: f32, affine: bool, usual: bool) {
    if eps != EPSILON {
        fields.decimal("eps", eps);
    }
    if affine != usual {
        fields.switch("affine", affine);
    }
}

impl Written for GroupNorm {
    fn word(&self) -> &'static str {
        "group-norm"
    }

    fn write(&self, fields: &mut Fields) {
        fields.whole("groups", self.groups);
        write(fields, self.eps, self.affine, true);
    }

    fn in_words(&self) -> String {
        format!("group norm, {} groups", self.groups)
    }
}

impl Written for LayerNorm {
    fn word(&self) -> &'static str {
        "layer-norm"
    }

    fn write(&self, fields: &mut Fields) {
        if self.pixels {
            fields.switch("pixels", true);
        }
        write(fields, self.eps, self.affine, true);
    }

    fn in_words(&self) -> String {
        if self.pixels { "layer norm over channels and pixels" } else { "layer norm" }.into()
    }
}

impl Written for InstanceNorm {
    fn word(&self) -> &'static str {
        "instance-norm"
    }

    fn write(&self, fields: &mut Fields) {
        write(fields, self.eps, self.affine, false);
    }

    fn in_words(&self) -> String {
        "instance norm".into()
    }
}

/// A norm of each image by itself, whichever.
trait Norm {
    fn sets(&self, x: Shape) -> NormSets;
    /// Its ε, and whether it has parameters.
    fn settings(&self) -> (f32, bool);
    /// The shape of its scale and shift.
    fn shape(&self, x: Shape) -> Vec<usize> {
        vec![x[0]]
    }
    /// What keeps it from normalising such images.
    fn problem(&self, x: Shape) -> Option<String> {
        match self.sets(x) {
            NormSets::Groups(groups) if groups == 0 || !x[0].is_multiple_of(groups) => {
                Some(format!("{groups} groups do not divide {} channels", x[0]))
            }
            _ => None,
        }
    }
}

impl Norm for GroupNorm {
    fn sets(&self, _: Shape) -> NormSets {
        NormSets::Groups(self.groups)
    }

    fn settings(&self) -> (f32, bool) {
        (self.eps, self.affine)
    }
}

impl Norm for LayerNorm {
    fn sets(&self, _: Shape) -> NormSets {
        if self.pixels { NormSets::Groups(1) } else { NormSets::Pixels }
    }

    fn settings(&self) -> (f32, bool) {
        (self.eps, self.affine)
    }

    fn shape(&self, x: Shape) -> Vec<usize> {
        if self.pixels { x.to_vec() } else { vec![x[0]] }
    }
}

impl Norm for InstanceNorm {
    fn sets(&self, x: Shape) -> NormSets {
        NormSets::Groups(x[0])
    }

    fn settings(&self) -> (f32, bool) {
        (self.eps, self.affine)
    }

    /// Whatever a lone pixel is, it would become zero. PyTorch refuses it too.
    fn problem(&self, [_, height, width]: Shape) -> Option<String> {
        let problem = "one pixel is its own mean and has no deviation: expected more pixels";
        ([height, width] == [1, 1]).then(|| problem.to_owned())
    }
}

fn parameters(norm: &impl Norm, x: Shape) -> Vec<Part> {
    let each = |name, role| Part { name, shape: norm.shape(x), role };
    match norm.settings().1 {
        true => vec![each("weight", Role::Scale), each("bias", Role::Shift)],
        false => vec![],
    }
}

fn forward(norm: &impl Norm, call: Call<'_, '_>) -> Var {
    let value = call.tape.value(call.x[0]);
    let [height, width] = value.size();
    let sets = norm.sets([value.channels(), height, width]);
    let none = Param { offset: 0, len: 0 };
    let [weight, bias] = [0, 1].map(|i| call.params.get(i).copied().unwrap_or(none));
    call.tape.image_norm(call.x[0], ImageNorm { sets, weight, bias, epsilon: norm.settings().0 })
}

/// Three passes over the values.
fn work(y: Shape) -> Work {
    Work { steps: product(&y).saturating_mul(4), ..Work::default() }
}

macro_rules! operations {
    ($($norm:ty, $onnx:path;)+) => {
        $(impl Operation for $norm {
            fn output(&self, x: &[Shape]) -> Result<Shape, String> {
                self.problem(x[0]).map_or(Ok(x[0]), Err)
            }

            fn parameters(&self, x: &[Shape]) -> Vec<Part> {
                parameters(self, x[0])
            }

            fn work(&self, _: &[Shape], y: Shape) -> Work {
                work(y)
            }

            fn reads_output(&self, _: bool) -> bool {
                false
            }

            fn forward(&self, call: Call<'_, '_>) -> Var {
                forward(self, call)
            }

            /// Sums over the channels of an image cross lanes there.
            fn few_images(&self, _: FewCall<'_, '_>) -> Option<Value> {
                None
            }

            #[cfg(feature = "onnx")]
            fn onnx(&self, graph: &mut Graph<'_>, site: &Site<'_>, x: Vec<Array>) -> Array {
                $onnx(self, graph, site, x)
            }
        })+
    };
}

operations! {
    GroupNorm, export::group_norm;
    LayerNorm, export::layer_norm;
    InstanceNorm, export::instance_norm;
}
