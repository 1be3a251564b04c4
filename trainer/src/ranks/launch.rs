//! Whether a program was started as one of several ranks.

use std::env::var;

/// How many ranks the launcher of this process has started, by what it says in the environment: `mpirun`
/// of Open MPI, MPICH or Intel MPI, or `srun` with PMIx. 1 if there is no launcher.
pub fn launched_ranks() -> usize {
    let number = |name: &str| var(name).ok()?.trim().parse::<usize>().ok();
    let slurm = || var("PMIX_RANK").ok().and_then(|_| number("SLURM_NTASKS"));
    let found = number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE")).or_else(slurm);
    found.unwrap_or(1).max(1)
}
