//! Layers as a user writes them. What they take as input is found from what comes before.

use kernels::{Activation, Window};

/// A layer of a network, before shapes are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The name of its parameters in files; its index in the network if it has none.
    pub name: Option<String>,
    /// What it does.
    pub kind: Kind,
}

/// What a layer does.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Convolution to `outputs` channels.
    Conv2d {
        /// Channels of the output.
        outputs: usize,
        /// The sliding window.
        window: Window,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation per channel, ε = 10⁻⁵, running statistics with momentum 0.1.
    BatchNorm2d,
    /// An element-wise function.
    Activation(Activation),
    /// Maximum of each window.
    MaxPool2d(Window),
    /// Mean of each window; padding counts.
    AvgPool2d(Window),
    /// Mean of each plane.
    GlobalAvgPool2d,
    /// Zeroes values with this probability in training.
    Dropout(f32),
    /// Images to vectors.
    Flatten,
    /// Linear map to `outputs` features.
    Linear {
        /// Features of the output.
        outputs: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// `relu(body(x) + shortcut(x))`; an empty shortcut is the identity.
    Residual {
        /// The layers of the body.
        body: Vec<Layer>,
        /// The layers of the shortcut.
        shortcut: Vec<Layer>,
    },
}

impl Kind {
    /// Whether it is a convolution or linear layer.
    pub(crate) fn is_affine(&self) -> bool {
        matches!(self, Kind::Conv2d { .. } | Kind::Linear { .. })
    }

    /// The word for it in recipes and model files.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Kind::Conv2d { .. } => "conv",
            Kind::BatchNorm2d => "batch-norm",
            Kind::Activation(Activation::Relu) => "relu",
            Kind::Activation(Activation::LeakyRelu(_)) => "leaky-relu",
            Kind::Activation(Activation::Gelu) => "gelu",
            Kind::MaxPool2d(_) => "max-pool",
            Kind::AvgPool2d(_) => "avg-pool",
            Kind::GlobalAvgPool2d => "global-avg-pool",
            Kind::Dropout(_) => "dropout",
            Kind::Flatten => "flatten",
            Kind::Linear { .. } => "linear",
            Kind::Residual { .. } => "residual",
        }
    }
}

impl From<Kind> for Layer {
    fn from(kind: Kind) -> Layer {
        Layer { name: None, kind }
    }
}

impl Layer {
    /// The same with a name of its own for its parameters.
    pub fn named(self, name: &str) -> Layer {
        Layer { name: Some(name.to_owned()), ..self }
    }

    /// The same convolution or pooling with this padding on all sides.
    pub fn padding(self, padding: usize) -> Layer {
        self.with_window(|window| window.padding(padding))
    }

    /// The same convolution or pooling with this stride along both axes.
    pub fn stride(self, stride: usize) -> Layer {
        self.with_window(|window| window.stride(stride))
    }

    /// The same convolution or pooling with this dilation along both axes.
    pub fn dilation(self, dilation: usize) -> Layer {
        self.with_window(|window| window.dilation(dilation))
    }

    /// The same convolution or linear layer without a bias.
    pub fn no_bias(mut self) -> Layer {
        if let Kind::Conv2d { bias, .. } | Kind::Linear { bias, .. } = &mut self.kind {
            *bias = false;
        }
        self
    }

    fn with_window(mut self, change: impl FnOnce(Window) -> Window) -> Layer {
        if let Kind::Conv2d { window, .. } | Kind::MaxPool2d(window) | Kind::AvgPool2d(window) =
            &mut self.kind
        {
            *window = change(*window);
        }
        self
    }
}

/// A convolution to `outputs` channels with a square kernel, stride 1, no padding, and a bias.
pub fn conv2d(outputs: usize, kernel: usize) -> Layer {
    Kind::Conv2d { outputs, window: Window::new([kernel; 2]), bias: true }.into()
}

/// Batch normalisation per channel.
pub fn batch_norm2d() -> Layer {
    Kind::BatchNorm2d.into()
}

/// max(x, 0).
pub fn relu() -> Layer {
    Kind::Activation(Activation::Relu).into()
}

/// x where positive, else `slope` · x.
pub fn leaky_relu(slope: f32) -> Layer {
    Kind::Activation(Activation::LeakyRelu(slope)).into()
}

/// x · Φ(x), Φ being the normal distribution function.
pub fn gelu() -> Layer {
    Kind::Activation(Activation::Gelu).into()
}

/// Max-pool with a square window and a stride of its size.
pub fn max_pool2d(kernel: usize) -> Layer {
    Kind::MaxPool2d(Window::new([kernel; 2]).stride(kernel)).into()
}

/// Average pool with a square window and a stride of its size.
pub fn avg_pool2d(kernel: usize) -> Layer {
    Kind::AvgPool2d(Window::new([kernel; 2]).stride(kernel)).into()
}

/// Mean of each plane.
pub fn global_avg_pool2d() -> Layer {
    Kind::GlobalAvgPool2d.into()
}

/// Dropout with this probability.
pub fn dropout(p: f32) -> Layer {
    Kind::Dropout(p).into()
}

/// Images to vectors.
pub fn flatten() -> Layer {
    Kind::Flatten.into()
}

/// A linear map to `outputs` features with a bias.
pub fn linear(outputs: usize) -> Layer {
    Kind::Linear { outputs, bias: true }.into()
}

/// relu(body(x) + shortcut(x)); an empty shortcut is the identity.
pub fn residual(body: Vec<Layer>, shortcut: Vec<Layer>) -> Layer {
    Kind::Residual { body, shortcut }.into()
}
