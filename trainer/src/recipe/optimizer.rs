//! How weights follow gradients.

use super::RecipeError;
use super::check::{below_one, not_negative, positive, require};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The optimiser. A field that only another `kind` reads must have its default. Written, it says which momentum,
/// weight decay and ε it uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default, expecting = "a section of fields")]
pub struct OptimizerSection {
    /// The rule.
    pub kind: OptimizerKind,
    /// The learning rate; the peak of a schedule. For a recipe that has none see [`OptimizerKind::lr`].
    pub lr: f64,
    /// SGD and RMSprop: what remains of the velocity at each step, at least 0 and below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// SGD: Nesterov momentum.
    pub nesterov: bool,
    /// The factor of the weights that is added to their gradient, or (AdamW) taken from them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Adam and AdamW: what remains of the two moments at each step.
    pub betas: [f64; 2],
    /// All but SGD: added to the denominator.
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
    /// Gradients are clipped to ± this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// The gradient as a whole is scaled down to this norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Weights are validated and saved as their exponential moving average with this decay (less in
    /// the first steps).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Groups of parameters with settings of their own; the first that matches a parameter applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// A group of parameters with settings of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a group with `match`")]
pub struct Group {
    /// Their names, with `*` for any text and `?` for any character.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The factor of their learning rate.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub lr_scale: f64,
    /// Their weight decay, if it is not that of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether they are left as they are.
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

impl OptimizerKind {
    /// Every kind, for listing them.
    pub const ALL: [OptimizerKind; 5] = [
        OptimizerKind::Sgd,
        OptimizerKind::Adam,
        OptimizerKind::Adamw,
        OptimizerKind::Rmsprop,
        OptimizerKind::Adagrad,
    ];

    /// Its name in recipes.
    pub fn word(self) -> &'static str {
        match self {
            OptimizerKind::Sgd => "sgd",
            OptimizerKind::Adam => "adam",
            OptimizerKind::Adamw => "adamw",
            OptimizerKind::Rmsprop => "rmsprop",
            OptimizerKind::Adagrad => "adagrad",
        }
    }

    /// The learning rate of a recipe that has none: 0.001 for Adam and AdamW, 0.01 for the others.
    pub fn lr(self) -> f64 {
        match self {
            OptimizerKind::Adam | OptimizerKind::Adamw => 0.001,
            OptimizerKind::Sgd | OptimizerKind::Rmsprop | OptimizerKind::Adagrad => 0.01,
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for OptimizerSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        OptimizerSection::serialize(&self.complete(), serializer)
    }
}

impl<'de> Deserialize<'de> for OptimizerSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OptimizerSection::deserialize(deserializer)
    }
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

    /// The same with the defaults that depend on the kind said, so that it stays the same if those change.
    fn complete(&self) -> OptimizerSection {
        let has_momentum = matches!(self.kind, OptimizerKind::Sgd | OptimizerKind::Rmsprop);
        let has_eps = self.kind != OptimizerKind::Sgd;
        OptimizerSection {
            momentum: self.momentum.or(has_momentum.then(|| self.momentum())),
            weight_decay: Some(self.weight_decay()),
            eps: self.eps.or(has_eps.then(|| self.eps())),
            ..self.clone()
        }
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
            let unused = group.weight_decay.is_some() || group.lr_scale != 1.0;
            let expected = "false, as the group has `lr_scale` or `weight_decay`";
            require(!(group.frozen && unused), "optimizer.groups.frozen", true, expected)?;
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
