//! The rule of a recipe, and its kernel.

use super::pieces::Piece;
use crate::recipe::{OptimizerKind, OptimizerSection};
use kernels::{Adagrad, Adam, AdamState, Isa, RmsProp, RmsPropState, Sgd};

/// The rule and what of its settings is the same for every parameter and step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Sgd { momentum: f64, nesterov: bool },
    Adam { betas: [f64; 2], eps: f64, decoupled: bool },
    RmsProp { alpha: f64, eps: f64, momentum: f64, centered: bool },
    Adagrad { lr_decay: f64, eps: f64, initial_accumulator: f64 },
}

/// The other settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Setting {
    pub lr: f64,
    pub weight_decay: f64,
    pub gradient_scale: f64,
    /// From one.
    pub step: u64,
}

impl Rule {
    pub(super) fn new(section: &OptimizerSection) -> Rule {
        let (momentum, eps) = (section.momentum(), section.eps());
        match section.kind {
            OptimizerKind::Sgd => Rule::Sgd { momentum, nesterov: section.nesterov },
            OptimizerKind::Adam | OptimizerKind::Adamw => {
                let decoupled = section.kind == OptimizerKind::Adamw;
                Rule::Adam { betas: section.betas, eps, decoupled }
            }
            OptimizerKind::Rmsprop => {
                let (alpha, centered) = (section.alpha, section.centered);
                Rule::RmsProp { alpha, eps, momentum, centered }
            }
            OptimizerKind::Adagrad => {
                let (lr_decay, initial_accumulator) =
                    (section.lr_decay, section.initial_accumulator);
                Rule::Adagrad { lr_decay, eps, initial_accumulator }
            }
        }
    }

    /// PyTorch's names for its state, in the order of [`Piece::state`].
    pub(super) fn names(&self) -> [Option<&'static str>; 3] {
        match *self {
            Rule::Sgd { .. } => [Some("momentum_buffer"), None, None],
            Rule::Adam { .. } => [Some("exp_avg"), Some("exp_avg_sq"), None],
            Rule::RmsProp { momentum, centered, .. } => [
                Some("square_avg"),
                centered.then_some("grad_avg"),
                (momentum > 0.0).then_some("momentum_buffer"),
            ],
            Rule::Adagrad { .. } => [Some("sum"), None, None],
        }
    }

    /// What its state starts with.
    pub(super) fn start(&self) -> f32 {
        match *self {
            Rule::Adagrad { initial_accumulator, .. } => initial_accumulator as f32,
            _ => 0.0,
        }
    }

    /// A step of some parameters.
    pub(super) fn update(&self, isa: Isa, setting: &Setting, piece: Piece<'_>) {
        let Setting { lr, weight_decay, gradient_scale, step } = *setting;
        let Piece { weights, gradients, state: [first, second, third] } = piece;
        match *self {
            Rule::Sgd { momentum, nesterov } => {
                let sgd = Sgd { lr, momentum, nesterov, weight_decay, gradient_scale };
                kernels::sgd(isa, &sgd, weights, gradients, first);
            }
            Rule::Adam { betas, eps, decoupled } => {
                let adam = Adam { lr, betas, eps, weight_decay, decoupled, gradient_scale, step };
                let state = AdamState { exp_avg: first, exp_avg_sq: second };
                kernels::adam(isa, &adam, weights, gradients, state);
            }
            Rule::RmsProp { alpha, eps, momentum, centered } => {
                let rms_prop =
                    RmsProp { lr, alpha, eps, momentum, centered, weight_decay, gradient_scale };
                let state =
                    RmsPropState { square_avg: first, grad_avg: second, momentum_buffer: third };
                kernels::rms_prop(isa, &rms_prop, weights, gradients, state);
            }
            Rule::Adagrad { lr_decay, eps, .. } => {
                let adagrad = Adagrad { lr, lr_decay, eps, weight_decay, gradient_scale, step };
                kernels::adagrad(isa, &adagrad, weights, gradients, first);
            }
        }
    }
}
