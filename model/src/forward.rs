//! A network on the tape. Layers that are computed in one pass (`network/passes.rs`) keep their names and numbers.

use crate::Network;
use crate::layers::definition::Call;
use crate::network::{Pass, Plan, Planned};
use autograd::{Tape, Var};

impl Network {
    /// The logits of a batch of images.
    ///
    /// In a loop of one's own, what [`Tape::backward`] gives for running statistics is those of the batch, not a
    /// gradient: `trainer::Optimizer::step` moves weights and running statistics alike. Evaluation by
    /// statistics that were moved otherwise, or not at all, is refused.
    ///
    /// # Panics
    /// If the images have another shape than the network's input; or, on a tape that does not record, where
    /// [`Network::check_statistics`] finds an error.
    pub fn forward(&self, tape: &mut Tape<'_>, images: Var) -> Var {
        let [channels, height, width] = self.input();
        let value = tape.value(images);
        assert_eq!((value.channels(), value.size()), (channels, [height, width]), "input images");
        if tape.is_training() {
            self.note_training(tape.parameters());
        } else if let Err(error) = self.check_statistics(tape.parameters()) {
            panic!("{error}");
        }
        tape.set_precision(self.precision());
        let Plan { passes, output, .. } = self.plan(tape.is_training());
        // The values so far; behind them, the inputs of a pass.
        let count = self.nodes.len() + 1;
        let mut values = tape.take_table();
        values.resize(count, images);
        for planned in passes {
            planned.inputs.iter().for_each(|input| values.push(values[*input]));
            tape.set_layer(self.nodes[planned.first].number);
            values[planned.output] = self.pass(planned, tape, &values[count..]);
            values.truncate(count);
            for done in &planned.done {
                match done.unread {
                    true => tape.spent(values[done.value]),
                    false => tape.done(values[done.value]),
                }
            }
        }
        let logits = values[*output];
        tape.put_table(values);
        logits
    }

    fn pass(&self, planned: &Planned, tape: &mut Tape<'_>, x: &[Var]) -> Var {
        let node = &self.nodes[planned.first];
        let (params, bias) = (&node.params[..], node.params.get(1).copied());
        let options = || {
            let options = node.conv2d().and_then(|convolution| convolution.resolved());
            options.expect("the pass of a convolution, checked when the network was")
        };
        match planned.pass {
            Pass::Same => x[0],
            Pass::Layer { activation } => {
                node.operation().forward(Call { tape, params, x, activation })
            }
            Pass::NormalisedConvolution { norm, activation } => {
                let (norm, sum) = (self.norm(norm), x.get(1));
                let here = activation.filter(|_| sum.is_none());
                let y = tape.conv2d_batch_norm2d(x[0], params[0], bias, options(), norm, here);
                if let Some(other) = sum {
                    tape.add_to(y, *other, activation);
                }
                y
            }
            Pass::PooledConvolution => {
                tape.conv2d_relu_max_pool2d(x[0], params[0], bias, options())
            }
            Pass::PooledNorm => tape.batch_norm2d_relu_max_pool2d(x[0], self.norm(planned.first)),
        }
    }
}
