//! Fused optimiser updates.
