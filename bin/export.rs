//! `export`: a trained network as an ONNX file.

mod cli;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/weights.rs"]
mod weights;

use clap::Parser;
use cli::{Failure, printable, run, say, usage};
use data::DataFlags;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weights::{Loaded, WeightsFlags};

/// Writes a trained network as an ONNX file, for ONNX Runtime and whatever else reads such.
#[derive(Parser)]
#[command(name = "export", version, args_override_self = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    weights: WeightsFlags,
    /// The file to write
    #[arg(long, value_name = "OUT.onnx")]
    onnx: PathBuf,
    /// Put each batch norm into the weights of the layer before it
    #[arg(long)]
    fold_batch_norm: bool,
    /// Replace OUT.onnx if there is one
    #[arg(long)]
    force: bool,
    #[command(flatten, next_help_heading = "Weights of PyTorch: the data set that they are for")]
    data: DataFlags,
}

const AFTER_HELP: &str = "\
Examples:
  export --weights runs/fast-1 --onnx lenet.onnx
  export --weights runs/own/best.safetensors --onnx own.onnx --fold-batch-norm --force
  export --weights torch.safetensors --model vgg --normalize 0.286,0.353 --onnx vgg.onnx

The graph (operator set 17) has the input `image`, a float array [batch, channels, rows, columns] of
pixels / 255, so from 0 to 1, a batch of any size; it normalises them itself. Its output `logits` is
[batch, classes]: the largest is the class, their softmax the probabilities. Metadata: classes (a JSON
array of names), normalize.mean and normalize.std, model, input.

Exit codes: 0 written; 1 the weights, the data or a file is wrong; 2 the command is wrong.";

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => cli::end(export(&arguments)),
        Err(error) => cli::stop(&error),
    }
}

fn export(arguments: &Arguments) -> Result<(), Failure> {
    let out = &arguments.onnx;
    if !arguments.force && out.symlink_metadata().is_ok() {
        return Err(run(format!("{}: exists; --force replaces it", out.display())));
    }
    let Loaded { model, file, scaling } = arguments.weights.load(|| arguments.data.open())?;
    if is_same(&file, out) {
        return Err(usage(format!("--onnx: {} is the file of the weights", out.display())));
    }
    let bytes = model.to_onnx(arguments.fold_batch_norm);
    model::write_file(out, &bytes).map_err(run)?;
    let [channels, rows, columns] = model.network.input();
    let line = format!(
        "onnx: {}, {}: image [batch, {channels}, {rows}, {columns}] of pixels / 255, normalised \
         {scaling}, to logits [batch, {}]; {} bytes",
        out.display(),
        model.preset,
        model.network.classes(),
        bytes.len(),
    );
    say(&printable(&line));
    Ok(())
}

/// Whether both are one file, by whatever names.
fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}
