//! Max-pool and average-pool.
