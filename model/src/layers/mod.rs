//! Layers as a user writes them. A layer takes in what the one before it gives, or the layers that it names.
//!
//! ```
//! use model::{add, batch_norm2d, conv2d, flatten, layers, linear, max_pool2d, relu};
//!
//! let layers = layers![
//!     conv2d(16, 5).stride(2).padding(2).no_bias(),
//!     batch_norm2d(),
//!     relu().named("stem"),
//!     conv2d(16, 3).padding(1).named("body"),
//!     add().taking(["stem", "body"]),
//!     max_pool2d(2),
//!     flatten(),
//!     linear(10).named("head"),
//! ];
//! assert_eq!(layers.len(), 8);
//! ```
//!
//! A kind of layer is a file here, with all that is asked of it (`definition.rs`), and a line in the list below.

mod activation;
mod adaptive_pool2d;
mod add;
mod again;
mod batch_norm2d;
mod concat;
mod conv2d;
pub(crate) mod definition;
mod dropout;
mod fields;
mod flatten;
mod image_norm;
mod linear;
mod multiply;
mod pool2d;
mod prelu;
mod residual;
mod softmax;
mod table;

pub use activation::{
    elu, gelu, gelu_tanh, hardsigmoid, hardswish, leaky_relu, relu, relu6, sigmoid, silu, softplus,
    tanh,
};
pub use adaptive_pool2d::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, adaptive_avg_pool2d, adaptive_max_pool2d,
};
pub use add::{Add, add};
pub use again::{Again, again};
pub use batch_norm2d::{BatchNorm2d, batch_norm2d};
pub use concat::{Concat, concat};
pub use conv2d::{Conv2d, conv2d};
pub use dropout::{Dropout, Unit, dropout, dropout2d, stochastic_depth};
pub use flatten::{Flatten, flatten};
pub use image_norm::{GroupNorm, InstanceNorm, LayerNorm, group_norm, instance_norm, layer_norm};
pub use linear::{Linear, linear};
pub use multiply::{Multiply, multiply};
pub use pool2d::{
    AvgPool2d, GlobalAvgPool2d, MaxPool2d, avg_pool2d, global_avg_pool2d, max_pool2d,
};
pub use prelu::{Prelu, prelu};
pub use residual::{Residual, residual};
pub use softmax::{Softmax, log_softmax, softmax};

pub(crate) use fields::List;
pub(crate) use table::{list, shown};

use definition::{Form, Operation, Readable, Written};
use kernels::Activation;

/// A layer of a network, before shapes are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The name of its parameters in files; its index in the network if it has none.
    pub name: Option<String>,
    /// The names of the layers that it takes in, [`INPUT`] being what its list of layers takes in; that of the
    /// layer before it if there are none.
    pub from: Vec<String>,
    /// Its kind.
    pub kind: Kind,
}

/// What a layer names to take in what its list of layers takes in: the images of a network, or the input of a
/// residual block.
pub const INPUT: &str = "input";

/// The kinds of layers, in the order in which messages list them: those that compute a value, then those that
/// stand for other layers.
macro_rules! kinds {
    (computing { $($name:ident($kind:ty),)+ } standing { $($other:ident($short:ty),)+ }) => {
        /// The kind of a layer.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Kind {
            $(#[doc = concat!("See [`", stringify!($kind), "`].")] $name($kind),)+
            $(#[doc = concat!("See [`", stringify!($short), "`].")] $other($short),)+
        }

        impl Kind {
            pub(crate) fn written(&self) -> &dyn Written {
                match self {
                    $(Kind::$name(kind) => kind,)+
                    $(Kind::$other(kind) => kind,)+
                }
            }

            /// What it computes, unless it stands for other layers.
            pub(crate) fn operation(&self) -> Option<&dyn Operation> {
                match self {
                    $(Kind::$name(kind) => Some(kind),)+
                    $(Kind::$other(_) => None,)+
                }
            }
        }

        /// The words of all kinds.
        const KINDS: &[&[Form]] = &[
            $(<$kind as Readable>::FORMS,)+
            $(<$short as Readable>::FORMS,)+
        ];

        kinds!(from $($name($kind),)+ $($other($short),)+);
    };
    (from $($name:ident($kind:ty),)+) => {
        $(impl From<$kind> for Kind {
            fn from(kind: $kind) -> Kind {
                Kind::$name(kind)
            }
        }

        impl From<$kind> for Layer {
            fn from(kind: $kind) -> Layer {
                Kind::$name(kind).into()
            }
        })+
    };
}

kinds! {
    computing {
        Conv2d(Conv2d),
        BatchNorm2d(BatchNorm2d),
        GroupNorm(GroupNorm),
        LayerNorm(LayerNorm),
        InstanceNorm(InstanceNorm),
        Activation(Activation),
        Prelu(Prelu),
        MaxPool2d(MaxPool2d),
        AvgPool2d(AvgPool2d),
        GlobalAvgPool2d(GlobalAvgPool2d),
        AdaptiveMaxPool2d(AdaptiveMaxPool2d),
        AdaptiveAvgPool2d(AdaptiveAvgPool2d),
        Dropout(Dropout),
        Flatten(Flatten),
        Linear(Linear),
        Softmax(Softmax),
        Add(Add),
        Multiply(Multiply),
        Concat(Concat),
    }
    standing {
        Residual(Residual),
        Again(Again),
    }
}

impl Kind {
    /// Whether it is a convolution or linear layer.
    pub(crate) fn is_affine(&self) -> bool {
        matches!(self, Kind::Conv2d(_) | Kind::Linear(_))
    }

    /// Whether it, or a layer in it, is a convolution or linear layer.
    pub(crate) fn has_weights(&self) -> bool {
        match self {
            Kind::Residual(Residual { body, shortcut }) => {
                body.iter().chain(shortcut).any(|layer| layer.kind.has_weights())
            }
            kind => kind.is_affine(),
        }
    }
}

/// What is wrong with a kind that a recipe or model file could not say: a field out of its range.
pub(crate) fn unreadable(kind: &Kind) -> Option<String> {
    let layers = [Layer::from(kind.clone())];
    let value = serde_json::to_value(List(&layers)).expect("layers are JSON");
    let problem = list(&value, "").expect("a list is written as one").err()?;
    Some(problem.split_once("): ").map_or(problem.clone(), |(_, problem)| problem.to_owned()))
}

impl From<Kind> for Layer {
    fn from(kind: Kind) -> Layer {
        Layer { name: None, from: vec![], kind }
    }
}

impl Layer {
    /// The same with a name of its own for its parameters.
    #[must_use]
    pub fn named(self, name: &str) -> Layer {
        Layer { name: Some(name.to_owned()), ..self }
    }

    /// The same with the layers of these names as its inputs, instead of the one before it; [`INPUT`] is what
    /// the list of layers takes in.
    #[must_use]
    pub fn taking<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Layer {
        Layer { from: names.into_iter().map(str::to_owned).collect(), ..self }
    }
}

/// The layers of a network or block, a `Vec<`[`Layer`]`>`: each is a [`Layer`] or a kind of one, such as
/// [`Conv2d`].
#[macro_export]
macro_rules! layers {
    ($($layer:expr),* $(,)?) => {
        <::std::vec::Vec<$crate::Layer>>::from([$($crate::Layer::from($layer)),*])
    };
}

/// Kinds with choices, which are made before a name and inputs are given.
macro_rules! nameable {
    ($($kind:ty),+) => {
        $(impl $kind {
            /// A layer of this kind with a name of its own for its parameters.
            #[must_use]
            pub fn named(self, name: &str) -> Layer {
                Layer::from(self).named(name)
            }

            /// A layer of this kind with the layers of these names as its inputs: see [`Layer::taking`].
            #[must_use]
            pub fn taking<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Layer {
                Layer::from(self).taking(names)
            }
        })+
    };
}

nameable!(
    Conv2d,
    MaxPool2d,
    AvgPool2d,
    AdaptiveMaxPool2d,
    AdaptiveAvgPool2d,
    BatchNorm2d,
    GroupNorm,
    LayerNorm,
    InstanceNorm,
    Prelu,
    Linear
);

/// Kinds with a window.
macro_rules! windowed {
    ($($kind:ty),+) => {
        $(impl $kind {
            /// The same with so many rows and columns of padding on both sides.
            pub fn padding(mut self, padding: impl Axes) -> Self {
                self.window.padding = padding.axes();
                self
            }

            /// The same with this stride.
            pub fn stride(mut self, stride: impl Axes) -> Self {
                self.window.stride = stride.axes();
                self
            }

            /// The same with this dilation.
            pub fn dilation(mut self, dilation: impl Axes) -> Self {
                self.window.dilation = dilation.axes();
                self
            }
        })+
    };
}

windowed!(MaxPool2d, AvgPool2d);

/// Rows and columns: one number for both, or `[rows, columns]`.
///
/// ```
/// assert_eq!(model::conv2d(8, 3), model::conv2d(8, [3, 3]));
/// let _ = model::max_pool2d([2, 1]).stride([2, 1]);
/// ```
pub trait Axes {
    /// Rows and columns.
    fn axes(self) -> [usize; 2];
}

impl Axes for usize {
    fn axes(self) -> [usize; 2] {
        [self; 2]
    }
}

impl Axes for [usize; 2] {
    fn axes(self) -> [usize; 2] {
        self
    }
}

/// A window in a few words.
fn window_in_words(w: &kernels::Window) -> String {
    let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}×{b}") };
    let mut text = format!("{}×{}", w.kernel[0], w.kernel[1]);
    for (what, value, usual) in [
        ("stride", w.stride, [1, 1]),
        ("padding", w.padding, [0, 0]),
        ("dilation", w.dilation, [1, 1]),
    ] {
        if value != usual {
            text += &format!(", {what} {}", pair(value));
        }
    }
    text
}
