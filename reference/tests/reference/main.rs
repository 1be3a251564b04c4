//! The reference itself: known answers, and backward functions that are adjoints and what differences say.

mod adjoints;
mod examples;
mod gradcheck;
mod options;
