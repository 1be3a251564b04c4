//! `export`: a trained network as an ONNX file.

use crate::cli::data::DataFlags;
use crate::cli::weights::{Loaded, WeightsFlags};
use crate::cli::{Failure, Kind, check_name, flowing, printable, run, say, usage};
use clap::Parser;
use kernels::Precision;
use std::path::{Path, PathBuf};

/// Writes a trained network as an ONNX file, for ONNX Runtime and other programs that read ONNX.
#[derive(Parser)]
#[command(name = "export", args_override_self = true, after_help = flowing(AFTER_HELP))]
pub struct Arguments {
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
  bobbin export --weights runs/fast-1 --onnx lenet.onnx
  bobbin export --weights runs/own/best.safetensors --onnx own.onnx --fold-batch-norm --force
  bobbin export --weights torch.safetensors --data data/idx --onnx torch.onnx

The graph (operator set 17) has the input `image`, a float array [batch, channels, rows, columns] of
pixels / 255, so from 0 to 1, a batch of any size; it normalises them itself. Its output `logits` is
[batch, classes]: the largest is the class, their softmax the probabilities. Metadata: classes (a JSON
array of names), normalize.mean and normalize.std, model, input.

All of it is f32, also of a network that was trained with --precision bf16 (its metadata have `precision`):
its logits then differ by some 1 % of the largest from those of evaluate and predict, which round as in
training.

Exit codes: 0 written; 1 the weights, the data or a file is wrong; 2 the command is wrong.";

/// Does it.
pub fn export(arguments: &Arguments) -> Result<(), Failure> {
    let out = &arguments.onnx;
    check_name("--onnx", out, "file")?;
    if !arguments.force && out.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Kind::File,
            format!("{}: exists; --force replaces it", out.display()),
        ));
    }
    let Loaded { model, file, scaling } =
        arguments.weights.load(|| arguments.data.required(&arguments.weights.file()?))?;
    if is_same(&file, out) {
        return Err(usage(format!("--onnx: {} is the file of the weights", out.display())));
    }
    let bytes = model.to_onnx(arguments.fold_batch_norm);
    let bytes =
        bytes.map_err(|error| Failure::new(Kind::File, format!("{}: {error}", file.display())))?;
    files::write_file(out, &bytes).map_err(run)?;
    let [channels, rows, columns] = model.network.input();
    let products = match model.network.precision() {
        Precision::F32 => "",
        Precision::Bf16 => ", in f32 though it was trained in bf16, so logits differ by some 1 %",
    };
    let line = format!(
        "onnx: {}, {}: image [batch, {channels}, {rows}, {columns}] of pixels / 255, normalised \
         {scaling}, to logits [batch, {}]{products}; {} bytes",
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
