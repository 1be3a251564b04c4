//! Where the time of a tape goes, operation by operation.
//!
//! A watch with laps: each lap ends with a part of an operation and begins with the last one's end,
//! so nothing between operations is lost, and the clock is read once for each part. A tape whose
//! workspace has no watch asks once per operation whether there is one, and that is all.

use super::{Backward, Tape, Var, Workspace};
use std::time::{Duration, Instant};

/// The time that an operation has taken, over all tapes of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationTime {
    /// Its layer, as set by [`Tape::set_layer`].
    pub layer: usize,
    /// What it is, and what is computed in the same pass.
    pub operation: &'static str,
    /// Channels, rows and columns of its output.
    pub output: [usize; 3],
    /// The forward pass.
    pub forward: Duration,
    /// The whole backward pass.
    pub backward: Duration,
    /// Of the backward pass, the gradient of the input where it is computed apart.
    pub data_gradient: Duration,
    /// Of the backward pass, the gradient of the weights where it is computed apart.
    pub weight_gradient: Duration,
}

impl OperationTime {
    /// Forward and backward.
    pub fn total(&self) -> Duration {
        self.forward + self.backward
    }

    /// Adds the time that another thread has spent on the same operation.
    pub fn add(&mut self, other: &OperationTime) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.data_gradient += other.data_gradient;
        self.weight_gradient += other.weight_gradient;
    }
}

/// What the backward pass of an operation has done since the last lap.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    DataGradient,
    WeightGradient,
    /// Anything else.
    Rest,
}

/// The watch of a workspace.
pub(crate) struct Watch {
    since: Instant,
    /// By the number of the operation's output.
    times: Vec<OperationTime>,
    /// The operation whose backward pass is running.
    current: usize,
}

impl Watch {
    fn lap(&mut self) -> Duration {
        let last = std::mem::replace(&mut self.since, Instant::now());
        self.since - last
    }
}

impl Workspace {
    /// From now on tapes that record measure their operations. They must be of one network.
    pub fn start_profile(&mut self) {
        self.watch = Some(Watch { since: Instant::now(), times: vec![], current: 0 });
    }

    /// What was measured, in the order of the forward pass; the end of measuring.
    pub fn finish_profile(&mut self) -> Vec<OperationTime> {
        self.watch.take().map_or(vec![], |watch| watch.times)
    }
}

impl Tape<'_> {
    /// The first lap begins.
    pub(crate) fn start_watch(&mut self) {
        if let Some(watch) = &mut self.workspace.watch {
            watch.since = Instant::now();
        }
    }

    /// The lap was the forward pass of the operation with this output.
    pub(crate) fn lap(&mut self, output: Var, operation: &'static str) {
        let (layer, training) = (self.layer(), self.is_training());
        let Workspace { watch: Some(watch), nodes, .. } = &mut *self.workspace else { return };
        if !training {
            return;
        }
        let forward = watch.lap();
        if let Some(times) = watch.times.get_mut(output.0) {
            times.forward += forward;
            return;
        }
        let value = &nodes[output.0].value;
        let ([height, width], zero) = (value.size(), Duration::ZERO);
        watch.times.push(OperationTime {
            layer,
            operation,
            output: [value.channels(), height, width],
            forward,
            backward: zero,
            data_gradient: zero,
            weight_gradient: zero,
        });
    }
}

impl Backward<'_> {
    /// The backward pass of the operation with this output begins.
    pub(crate) fn start_lap(&mut self, output: Var) {
        if let Some(watch) = &mut self.workspace.watch {
            watch.current = output.0;
        }
    }

    /// The lap was a part of the backward pass.
    pub(crate) fn lap(&mut self, part: Part) {
        let Some(watch) = &mut self.workspace.watch else { return };
        let time = watch.lap();
        let times = &mut watch.times[watch.current];
        times.backward += time;
        match part {
            Part::DataGradient => times.data_gradient += time,
            Part::WeightGradient => times.weight_gradient += time,
            Part::Rest => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Param, Tensor};
    use kernels::{Isa, Window};

    #[test]
    fn tapes_that_record_are_measured() {
        let mut workspace = Workspace::default();
        let weights = [0.5; 4];
        let run = |workspace: &mut Workspace, training: bool| {
            let mut tape = match training {
                true => Tape::training(Isa::detect(), workspace, &weights, 1),
                false => Tape::evaluation(Isa::detect(), workspace, &weights),
            };
            tape.set_layer(3);
            let x = tape.variable(&Tensor::from_rows(&[1.0; 9], 1, 1, [3, 3]));
            let weight = Param { offset: 0, len: 4 };
            let y = tape.conv2d(x, weight, None, Window::new([2, 2]), true);
            let loss = tape.sum(y);
            if training {
                tape.backward(loss, &mut [0.0; 4]);
            }
        };
        run(&mut workspace, true);
        assert_eq!(workspace.finish_profile(), vec![]);

        workspace.start_profile();
        run(&mut workspace, true);
        let first = measured(&workspace);
        run(&mut workspace, false);
        assert_eq!(measured(&workspace), first, "a tape that does not record is not measured");
        run(&mut workspace, true);
        let times = workspace.finish_profile();
        let found: Vec<_> = times.iter().map(|t| (t.layer, t.operation, t.output)).collect();
        let convolution = (3, "convolution + ReLU", [1, 2, 2]);
        assert_eq!(found, [(3, "variable", [1, 3, 3]), convolution, (3, "sum", [1, 1, 1])]);
        // The same operations, not three more; each has taken time again.
        for (first, both) in first.iter().zip(&times) {
            assert!(both.forward > first.forward, "{first:?}, then {both:?}");
        }
        let [first, both] = [&first[1], &times[1]];
        assert!(both.data_gradient > first.data_gradient, "{first:?}, then {both:?}");
        assert!(both.weight_gradient > first.weight_gradient, "{first:?}, then {both:?}");
        // The ReLU's part belongs to neither.
        assert!(both.backward > both.data_gradient + both.weight_gradient, "{both:?}");
    }

    /// What has been measured so far.
    fn measured(workspace: &Workspace) -> Vec<OperationTime> {
        workspace.watch.as_ref().expect("a profile").times.clone()
    }

    #[test]
    fn times_add_up() {
        let time = |[forward, backward, data, weight]: [u64; 4]| OperationTime {
            layer: 1,
            operation: "convolution",
            output: [1, 2, 2],
            forward: Duration::from_nanos(forward),
            backward: Duration::from_nanos(backward),
            data_gradient: Duration::from_nanos(data),
            weight_gradient: Duration::from_nanos(weight),
        };
        let mut sum = time([1, 20, 300, 4000]);
        sum.add(&time([5, 60, 700, 8000]));
        assert_eq!(sum, time([6, 80, 1000, 12_000]));
        assert_eq!(sum.total(), Duration::from_nanos(86));
    }
}
