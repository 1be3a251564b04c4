//! Whether a program was started as one of several ranks.

use std::env::var;

/// The place of a process in its job, as the launcher states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The rank of this process, from zero.
    pub rank: usize,
    /// The number of processes, at least one.
    pub ranks: usize,
}

/// What the launcher of this process says in its environment; `None` without a launcher.
pub fn launch() -> Option<Launch> {
    find(&|name| var(name).ok())
}

fn find(variable: &dyn Fn(&str) -> Option<String>) -> Option<Launch> {
    let number = |name| variable(name)?.trim().parse::<usize>().ok();
    let of = |ranks, rank| {
        let ranks = number(ranks).filter(|&ranks| ranks > 0)?;
        Some(Launch { rank: number(rank).unwrap_or(0), ranks })
    };
    // `mpirun` of Open MPI; that of MPICH and Intel MPI; `srun`, whose tasks are ranks with PMIx alone.
    of("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
        .or_else(|| of("PMI_SIZE", "PMI_RANK"))
        .or_else(|| {
            of("SLURM_STEP_NUM_TASKS", "PMIX_RANK").filter(|_| number("PMIX_RANK").is_some())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_closest_to_the_process_counts() {
        let find = |known: &[(&str, &str)]| {
            find(&|name| {
                known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
            })
        };
        let slurm = [("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")];
        assert_eq!(find(&slurm), None);
        let pmix = [&slurm[..], &[("PMIX_RANK", "1")]].concat();
        assert_eq!(find(&pmix), Some(Launch { rank: 1, ranks: 2 }));
        let own = [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "3")];
        assert_eq!(find(&[&pmix[..], &own].concat()), Some(Launch { rank: 2, ranks: 3 }));
        let pmi = |size| find(&[("PMI_SIZE", size), ("PMI_RANK", "0")]);
        assert_eq!(pmi("1"), Some(Launch { rank: 0, ranks: 1 }));
        assert_eq!((pmi("0"), pmi("many")), (None, None));
    }
}
