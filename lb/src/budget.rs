//! How many connections and pipes fit under the limit of open files.
//!
//! A connection is two descriptors, a pipe two more. Running out of descriptors in the middle of a
//! session would cut it, so the two limits are set such that it cannot happen by our own load.

/// Descriptors for everything else: those who ask the admin endpoint and the join port, probes, logs.
const OTHER_DESCRIPTORS: u64 = 512;

/// Descriptors of a worker without its listening sockets: of its runtime.
const OF_A_WORKER: u64 = 4;

/// Most pipes at once. With 512 KiB each they hold at most 128 MiB, and 256 bulk streams at once
/// are more than any network card feeds.
const PIPES_MAX: u64 = 256;

/// How many connections and pipes there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Client connections.
    pub connections: usize,
    /// Pipes for bulk data.
    pub pipes: usize,
}

/// Descriptors that `workers` have from their start: a handle of a socket for each of the
/// addresses, and a second one of it.
#[must_use]
pub fn standing(workers: usize, addresses: usize) -> u64 {
    let of_a_worker = (addresses as u64).saturating_mul(2).saturating_add(OF_A_WORKER);
    of_a_worker.saturating_mul(workers as u64)
}

/// The budget under `nofile` open files, of which some are [`standing`], for at most `wanted`
/// connections. If the operator has `chosen` that number it is kept, and accepting pauses when
/// descriptors run out.
#[must_use]
pub fn budget(nofile: u64, standing: u64, wanted: usize, chosen: bool) -> Budget {
    let free = nofile.saturating_sub(standing);
    let other = OTHER_DESCRIPTORS.min(free / 2);
    let pipes = PIPES_MAX.min(free / 16);
    let fitting = free.saturating_sub(other + 2 * pipes) / 2;
    let fitting = usize::try_from(fitting).unwrap_or(usize::MAX).max(1);
    Budget {
        connections: if chosen { wanted } else { wanted.min(fitting) },
        pipes: usize::try_from(pipes).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_lowered_to_what_fits() {
        let table = [
            (1_048_576, 50_000, false, 50_000, 256),
            (65_536, 50_000, false, 32_250, 256),
            (1_024, 50_000, false, 190, 63),
            (1_024, 50_000, true, 50_000, 63),
            (32, 50_000, false, 4, 1),
            (0, 50_000, false, 1, 0),
        ];
        assert_eq!((standing(2, 1), standing(64, 4)), (12, 768));
        for (nofile, wanted, chosen, connections, pipes) in table {
            let found = budget(nofile, standing(2, 1), wanted, chosen);
            assert_eq!(found, Budget { connections, pipes }, "nofile {nofile}");
        }
    }

    #[test]
    fn everything_fits_under_the_limit() {
        for nofile in [64, 256, 1_024, 4_096, 65_536, 1_048_576] {
            for standing in [12, nofile / 2] {
                let found = budget(nofile, standing, 1_000_000, false);
                let used = standing + 2 * (found.connections + found.pipes) as u64;
                assert!(used < nofile, "{used} of {nofile}");
            }
        }
    }
}
