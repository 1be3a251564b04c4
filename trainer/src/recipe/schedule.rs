//! How the learning rate changes.

use super::RecipeError;
use super::check::{below_one, count, not_negative, part, positive, require};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The schedule of the learning rate. A field that only another `kind` reads must have its default.
///
/// A warm-up comes first; the curve begins where it ends, and counts its epochs, steps and
/// validations from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section of fields")]
pub struct ScheduleSection {
    /// The curve.
    pub kind: ScheduleKind,
    /// Epochs, also parts of them, of a linear rise to the curve's first learning rate: `lr`, or for
    /// one-cycle `lr` / `start_divisor`. Rounded to whole steps.
    pub warmup: f64,
    /// The part of the curve's first learning rate that the warm-up starts above: its first step is
    /// one step's rise further.
    pub warmup_start: f64,
    /// Step: epochs between the steps.
    pub step_size: usize,
    /// Multi-step: the epochs after which the steps are.
    pub milestones: Vec<usize>,
    /// Step, multi-step, exponential: what the learning rate is multiplied by, at each step or epoch.
    pub gamma: f64,
    /// Cosine, polynomial: the learning rate at the end. Plateau: the lowest.
    pub min_lr: f64,
    /// Polynomial: the exponent.
    pub power: f64,
    /// One-cycle: the fraction of the steps in which the learning rate rises.
    pub rise: f64,
    /// One-cycle: the peak divided by the first learning rate.
    pub start_divisor: f64,
    /// One-cycle: the first learning rate divided by the last.
    pub end_divisor: f64,
    /// List: what `lr` is multiplied by, epoch after epoch; beyond the last it stays.
    // Not written where there is none: recipes, and so ledgers, are as they were before there were lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<f64>,
    /// List: whether there is a factor for each step, not for each epoch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_step: bool,
    /// Plateau: what the learning rate is multiplied by.
    pub factor: f64,
    /// Plateau: validations without improvement before the rate falls.
    pub patience: usize,
    /// Plateau: the smallest relative change that counts as an improvement.
    pub threshold: f64,
}

/// The kind of a schedule, each as the PyTorch scheduler named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Constant.
    Constant,
    /// Down by `gamma` every `step_size` epochs (`StepLR`).
    Step,
    /// Down by `gamma` after each of `milestones` (`MultiStepLR`).
    MultiStep,
    /// Down by `gamma` every epoch (`ExponentialLR`).
    Exponential,
    /// Half a cosine down to `min_lr` (`CosineAnnealingLR`), step by step.
    Cosine,
    /// A power of the steps that remain, down to `min_lr` (`PolynomialLR`), step by step.
    Polynomial,
    /// Up and down again, in halves of cosines, step by step: L. Smith, "Super-convergence", 2017. The rates
    /// are those of `OneCycleLR` with `cycle_momentum=False`: the momentum stays as it is.
    OneCycle,
    /// As `factors` say: of whatever scheduler, such as `LambdaLR`.
    List,
    /// Down by `factor` when what `stop.monitor` names no longer improves (`ReduceLROnPlateau`).
    Plateau,
}

impl ScheduleKind {
    /// Every kind, for listing them.
    pub const ALL: [ScheduleKind; 9] = [
        ScheduleKind::Constant,
        ScheduleKind::Step,
        ScheduleKind::MultiStep,
        ScheduleKind::Exponential,
        ScheduleKind::Cosine,
        ScheduleKind::Polynomial,
        ScheduleKind::OneCycle,
        ScheduleKind::List,
        ScheduleKind::Plateau,
    ];

    /// Its name in recipes.
    pub fn word(self) -> &'static str {
        match self {
            ScheduleKind::Constant => "constant",
            ScheduleKind::Step => "step",
            ScheduleKind::MultiStep => "multi-step",
            ScheduleKind::Exponential => "exponential",
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::Polynomial => "polynomial",
            ScheduleKind::OneCycle => "one-cycle",
            ScheduleKind::List => "list",
            ScheduleKind::Plateau => "plateau",
        }
    }

    /// Whether every learning rate depends on the steps that are planned in all.
    pub fn follows_the_plan(self) -> bool {
        matches!(self, ScheduleKind::Cosine | ScheduleKind::Polynomial | ScheduleKind::OneCycle)
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Default for ScheduleSection {
    fn default() -> Self {
        ScheduleSection {
            kind: ScheduleKind::Constant,
            warmup: 0.0,
            warmup_start: 0.0,
            step_size: 1,
            milestones: vec![],
            gamma: 0.1,
            min_lr: 0.0,
            power: 1.0,
            rise: 0.3,
            start_divisor: 25.0,
            end_divisor: 1e4,
            factors: vec![],
            by_step: false,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
        }
    }
}

impl ScheduleSection {
    pub(super) fn check(&self, lr: f64) -> Result<(), RecipeError> {
        let possible = (0.0..=1e6).contains(&self.warmup);
        require(possible, "schedule.warmup", self.warmup, "a number of epochs from 0 to 1000000")?;
        part("schedule.warmup_start", self.warmup_start)?;
        count("schedule.step_size", self.step_size)?;
        let rising = self.milestones.windows(2).all(|pair| pair[0] < pair[1]);
        let possible = rising && self.milestones.first() != Some(&0);
        let expected = "a list of epochs from 1, each later than the one before";
        require(possible, "schedule.milestones", format!("{:?}", self.milestones), expected)?;
        let given = self.kind != ScheduleKind::MultiStep || !self.milestones.is_empty();
        require(given, "schedule.milestones", "[]", "at least one epoch, such as [30, 60]")?;
        positive("schedule.gamma", self.gamma)?;
        not_negative("schedule.min_lr", self.min_lr)?;
        let expected = format!("at most `optimizer.lr`, which is {lr}");
        require(self.min_lr <= lr, "schedule.min_lr", self.min_lr, expected)?;
        positive("schedule.power", self.power)?;
        part("schedule.rise", self.rise)?;
        for (field, value) in [
            ("schedule.start_divisor", self.start_divisor),
            ("schedule.end_divisor", self.end_divisor),
        ] {
            let possible = value.is_finite() && value >= 1.0;
            require(possible, field, value, "a number of at least 1")?;
        }
        self.check_factors()?;
        let possible = 0.0 < self.factor && self.factor < 1.0;
        require(possible, "schedule.factor", self.factor, "a number above 0 and below 1")?;
        below_one("schedule.threshold", self.threshold)
    }

    fn check_factors(&self) -> Result<(), RecipeError> {
        let given = self.kind != ScheduleKind::List || !self.factors.is_empty();
        require(given, "schedule.factors", "[]", "at least one factor, such as [1.0, 0.5]")?;
        self.factors.iter().try_for_each(|&factor| not_negative("schedule.factors", factor))
    }
}
