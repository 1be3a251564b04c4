//! The crate from outside: networks, their files, and the files of others.

mod convolutions;
mod definitions;
mod few_images;
mod files;
mod fine_tune;
mod fused;
mod graphs;
mod hash;
mod interpreter;
mod kinds;
mod memory;
mod model_file;
mod networks;
mod presets;
mod pytorch_files;
mod random_graphs;
mod refused_files;
mod state_dict;
mod statistics;
