//! The learning rate of each step.

use crate::recipe::{Recipe, ScheduleKind};

/// The learning rate at `step` of `steps`, counted from zero. Computed in `f64` with a portable
/// cosine, so that every machine gets the same.
pub(crate) fn learning_rate(recipe: &Recipe, step: usize, steps: usize) -> f64 {
    let (peak, schedule) = (recipe.optimizer.lr, &recipe.schedule);
    match schedule.kind {
        ScheduleKind::Constant => peak,
        ScheduleKind::OneCycle => {
            let first = peak / schedule.start_divisor;
            let last = first / schedule.end_divisor;
            // The steps at which the curve turns and ends, as in PyTorch's OneCycleLR.
            let turn = schedule.rise * steps as f64 - 1.0;
            let (step, end) = (step as f64, steps as f64 - 1.0);
            if step <= turn {
                anneal(first, peak, step / turn)
            } else {
                anneal(peak, last, (step - turn) / (end - turn))
            }
        }
        other => unimplemented!("the schedule {other:?}"),
    }
}

/// From `start` to `end` along half a cosine as `t` goes from 0 to 1.
fn anneal(start: f64, end: f64, t: f64) -> f64 {
    let t = if t.is_finite() { t.clamp(0.0, 1.0) } else { 1.0 };
    end + (start - end) / 2.0 * (1.0 + libm::cos(std::f64::consts::PI * t))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=10), PyTorch 2.15.
    #[test]
    fn one_cycle_is_that_of_pytorch() {
        let list = [("optimizer.lr".to_owned(), "0.1".to_owned())];
        let recipe = Recipe::load("fast", &list).unwrap();
        let expected = [
            0.004,
            0.052,
            0.1,
            0.095_048_463_201_3,
            0.081_174_565_395_0,
            0.061_126_202_193_6,
            0.038_874_197_806_4,
            0.018_825_834_605_0,
            0.004_951_936_798_7,
            0.000_000_4,
        ];
        for (step, expected) in expected.into_iter().enumerate() {
            let got = learning_rate(&recipe, step, 10);
            assert!((got - expected).abs() < 1e-10, "step {step}: {got} {expected}");
        }
        assert!(learning_rate(&recipe, 0, 1).is_finite());
    }
}
