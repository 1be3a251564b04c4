//! Sums and products, element by element.
