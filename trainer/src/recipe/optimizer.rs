//! How weights follow gradients.

use super::RecipeError;
use super::check::{below_one, not_negative, positive, require};
use serde::{Deserialize, Serialize};

/// How weights follow gradients. What another rule than `kind` reads is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct OptimizerSection {
    /// The rule.
    pub kind: OptimizerKind,
    /// The learning rate; the peak of a schedule.
    pub lr: f64,
    /// SGD and RMSprop: what remains of the velocity at each step, at least 0 and below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// SGD: whether to look one step of velocity ahead.
    pub nesterov: bool,
    /// The factor of the weights that is added to their gradient, or (AdamW) taken from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Adam and AdamW: what remains of the two moments at each step.
    pub betas: [f64; 2],
    /// All but SGD: added to what is divided by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// RMSprop: what remains of the mean square at each step.
    pub alpha: f64,
    /// RMSprop: whether to divide by the deviation instead of the root mean square.
    pub centered: bool,
    /// Adagrad: the learning rate is divided by 1 + this · steps.
    pub lr_decay: f64,
    /// Adagrad: what the sums of squares start with.
    pub initial_accumulator: f64,
    /// Gradients are cut to ± this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// The gradient as a whole is scaled down to this norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Weights are validated and saved as their exponential moving average with this decay (less in
    /// the first steps).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Parameters that are treated differently; the first group that matches one holds for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// Parameters that are treated differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a group with `match`")]
pub struct Group {
    /// Their names, with `*` for any text and `?` for any character.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Their learning rate is this times that of the others.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub lr_scale: f64,
    /// Their weight decay, if not that of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether they stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
}

/// The rule of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
    /// D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    Adam,
    /// I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    Adamw,
    /// T. Tieleman, G. Hinton, lecture 6.5 of "Neural networks for machine learning", 2012.
    Rmsprop,
    /// J. Duchi et al., "Adaptive subgradient methods", JMLR 2011.
    Adagrad,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        OptimizerSection {
            kind: OptimizerKind::Sgd,
            lr: 0.01,
            momentum: None,
            nesterov: false,
            weight_decay: None,
            betas: [0.9, 0.999],
            eps: None,
            alpha: 0.99,
            centered: false,
            lr_decay: 0.0,
            initial_accumulator: 0.0,
            clip_value: None,
            clip_norm: None,
            ema: None,
            groups: vec![],
        }
    }
}

impl OptimizerSection {
    /// The momentum: by default 0.9 for SGD, none for RMSprop.
    pub fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(if self.kind == OptimizerKind::Sgd { 0.9 } else { 0.0 })
    }

    /// The weight decay: by default 0.01 for AdamW, none for the others.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(if self.kind == OptimizerKind::Adamw { 0.01 } else { 0.0 })
    }

    /// What is added to what is divided by: by default 1e-10 for Adagrad, 1e-8 for the others.
    pub fn eps(&self) -> f64 {
        self.eps.unwrap_or(if self.kind == OptimizerKind::Adagrad { 1e-10 } else { 1e-8 })
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        positive("optimizer.lr", self.lr)?;
        below_one("optimizer.momentum", self.momentum())?;
        let sgd = self.kind == OptimizerKind::Sgd;
        let possible = !(sgd && self.nesterov) || self.momentum() > 0.0;
        let expected = "false, as `optimizer.momentum` is 0";
        require(possible, "optimizer.nesterov", true, expected)?;
        not_negative("optimizer.weight_decay", self.weight_decay())?;
        let [first, second] = self.betas;
        let possible = (0.0..1.0).contains(&first) && (0.0..1.0).contains(&second);
        let expected = "two numbers of at least 0 and below 1";
        require(possible, "optimizer.betas", format!("{:?}", self.betas), expected)?;
        positive("optimizer.eps", self.eps())?;
        below_one("optimizer.alpha", self.alpha)?;
        not_negative("optimizer.lr_decay", self.lr_decay)?;
        not_negative("optimizer.initial_accumulator", self.initial_accumulator)?;
        self.clip_value.map_or(Ok(()), |value| positive("optimizer.clip_value", value))?;
        self.clip_norm.map_or(Ok(()), |value| positive("optimizer.clip_norm", value))?;
        self.ema.map_or(Ok(()), |value| below_one("optimizer.ema", value))?;
        for group in &self.groups {
            let expected = "names of parameters, such as \"*.bias\"";
            require(!group.pattern.is_empty(), "optimizer.groups.match", "empty", expected)?;
            not_negative("optimizer.groups.lr_scale", group.lr_scale)?;
            let decay = group.weight_decay.unwrap_or(0.0);
            not_negative("optimizer.groups.weight_decay", decay)?;
        }
        Ok(())
    }
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(scale: &f64) -> bool {
    *scale == 1.0
}
