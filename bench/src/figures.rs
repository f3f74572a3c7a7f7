//! Turns counts and accounts into figures: what the clients saw, and what it cost the proxy.

use std::collections::BTreeMap;

use crate::{
    load::Measured,
    results::Figure,
    scenario::{Scenario, Work},
    usage::Usage,
};

const GIB: f64 = (1_u64 << 30) as f64;
const MIB: f64 = (1_u64 << 20) as f64;

/// Some figures of one measurement.
pub(crate) type Figures = BTreeMap<Figure, f64>;

/// What the clients saw.
pub(crate) fn throughput(measured: &Measured, work: Work) -> Figures {
    let mut figures = Figures::new();
    if work == Work::Idle || measured.seconds <= 0.0 {
        return figures;
    }
    figures.insert(Figure::Errors, measured.errors as f64);
    if matches!(work, Work::Bulk { .. }) {
        figures.insert(Figure::GibPerSecond, measured.bytes as f64 / GIB / measured.seconds);
        return figures;
    }
    figures.insert(Figure::PerSecond, measured.operations as f64 / measured.seconds);
    for (figure, latencies, quantile) in [
        (Figure::P50Micros, &measured.latencies, 0.5),
        (Figure::P99Micros, &measured.latencies, 0.99),
        (Figure::P999Micros, &measured.latencies, 0.999),
        (Figure::CallP50Micros, &measured.calls, 0.5),
        (Figure::CallP99Micros, &measured.calls, 0.99),
    ] {
        if let Some(latencies) = latencies.as_ref().filter(|latencies| !latencies.is_empty()) {
            figures.insert(figure, latencies.value_at_quantile(quantile) as f64 / 1000.0);
        }
    }
    figures
}

/// What the proxy spent.
pub(crate) fn costs(measured: &Measured, before: &Usage, after: &Usage) -> Figures {
    let ticks = after.cpu_ticks.saturating_sub(before.cpu_ticks);
    let cpu = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let switches = after.switches.saturating_sub(before.switches) as f64;
    let operations = measured.operations as f64;
    let gibs = measured.bytes as f64 / GIB;
    let mut figures = Figures::new();
    figures.insert(Figure::CpuCores, cpu / measured.seconds);
    figures.insert(Figure::ResidentBytes, after.resident_bytes as f64);
    if operations > 0.0 {
        figures.insert(Figure::CpuMicrosPerRequest, cpu * 1e6 / operations);
        figures.insert(Figure::SwitchesPerRequest, switches / operations);
    } else if gibs > 0.0 {
        figures.insert(Figure::CpuSecondsPerGib, cpu / gibs);
    }
    figures
}

/// What each quiet session added.
pub(crate) fn memory(scenario: &Scenario, idle: &Usage, after: &Usage) -> Figures {
    if scenario.work != Work::Idle {
        return Figures::new();
    }
    let per_session =
        |before: u64, after: u64| (after as f64 - before as f64) / scenario.background as f64;
    Figures::from([
        (Figure::ResidentBytesPerSession, per_session(idle.resident_bytes, after.resident_bytes)),
        (Figure::DescriptorsPerSession, per_session(idle.descriptors, after.descriptors)),
    ])
}

/// What `calls` system calls mean for each request, or each MiB of a stream.
pub(crate) fn syscalls(calls: u64, measured: &Measured, work: Work) -> Figures {
    let (figure, units) = match work {
        Work::Bulk { .. } => (Figure::SyscallsPerMib, measured.bytes as f64 / MIB),
        _ => (Figure::SyscallsPerRequest, measured.operations as f64),
    };
    if units > 0.0 { Figures::from([(figure, calls as f64 / units)]) } else { Figures::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(operations: u64, bytes: u64) -> Measured {
        let (errors, fault, latencies, calls) = (0, None, None, None);
        Measured { seconds: 2.0, operations, bytes, errors, fault, latencies, calls }
    }

    #[test]
    fn streams_are_counted_in_bytes_and_the_rest_in_requests() {
        let stream = Scenario::parse("bulk-1-up").unwrap().work;
        let figures = throughput(&measured(0, 1 << 30), stream);
        assert_eq!(figures.get(&Figure::GibPerSecond), Some(&0.5));
        let requests = Scenario::parse("rr-1x64").unwrap().work;
        let figures = throughput(&measured(100, 6400), requests);
        assert_eq!(figures.get(&Figure::PerSecond), Some(&50.0));
        assert_eq!(figures.get(&Figure::GibPerSecond), None);
    }

    #[test]
    fn costs_are_those_of_the_time_between() {
        let before = Usage { cpu_ticks: 50, switches: 10, ..Usage::default() };
        let after = Usage { cpu_ticks: 250, switches: 40, ..Usage::default() };
        let figures = costs(&measured(100, 6400), &before, &after);
        let seconds = 200.0 / rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(figures.get(&Figure::CpuCores), Some(&(seconds / 2.0)));
        assert_eq!(figures.get(&Figure::SwitchesPerRequest), Some(&0.3));
    }

    #[test]
    fn memory_is_divided_by_the_sessions() {
        let idle = Usage { resident_bytes: 1000, descriptors: 10, ..Usage::default() };
        let after = Usage { resident_bytes: 6000, descriptors: 30, ..Usage::default() };
        let figures = memory(&Scenario::parse("idle-10").unwrap(), &idle, &after);
        assert_eq!(figures.get(&Figure::ResidentBytesPerSession), Some(&500.0));
        assert_eq!(figures.get(&Figure::DescriptorsPerSession), Some(&2.0));
    }
}
