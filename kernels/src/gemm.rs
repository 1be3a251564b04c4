//! Plain row-major matrix product.
