//! Histograms in Prometheus' text format. The recorder of the other metrics takes single values only;
//! ours are counted in buckets where they are made.

use std::fmt::Write;
use std::sync::Arc;

use common::histogram::{BOUNDS_US, Histogram, Snapshot};
use common::metric_names::{self as names, ALL, Kind};
use lb::Backend;

/// One family of histograms: its name and which measure it shows.
type Family = (&'static str, fn(&Backend) -> &Histogram);

const FAMILIES: [Family; 3] = [
    (names::BACKEND_DIAL_SECONDS, |backend| &backend.measures().dial),
    (names::BACKEND_TLS_SECONDS, |backend| &backend.measures().tls),
    (names::BACKEND_ANSWER_SECONDS, |backend| &backend.measures().answer),
];

/// All histograms of these backends.
pub(super) fn render(backends: &[Arc<Backend>]) -> String {
    let mut page = String::new();
    for (name, measure) in FAMILIES {
        let metric = ALL.iter().find(|metric| metric.name == name);
        let help = metric.map_or("", |metric| metric.help);
        debug_assert!(metric.is_some_and(|metric| metric.kind == Kind::Histogram));
        // Writing to a String cannot fail.
        write!(page, "\n# HELP {name} {help}\n# TYPE {name} histogram\n").ok();
        for backend in backends {
            let label = format!("backend=\"{}\"", escaped(&backend.member.name));
            one(&mut page, name, &label, &measure(backend).snapshot());
        }
    }
    page
}

fn one(page: &mut String, name: &str, label: &str, seen: &Snapshot) {
    let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(seen.cumulative) {
        writeln!(page, "{name}_bucket{{{label},le=\"{bound}\"}} {count}").ok();
    }
    writeln!(page, "{name}_sum{{{label}}} {}", seen.sum.as_secs_f64()).ok();
    writeln!(page, "{name}_count{{{label}}} {}", seen.count()).ok();
}

/// The value of a label as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn as_prometheus_reads_them() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(3));
        histogram.observe(Duration::from_secs(60));
        let mut page = String::new();
        one(&mut page, "x_seconds", "backend=\"m\"", &histogram.snapshot());
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines[0], "x_seconds_bucket{backend=\"m\",le=\"0.00025\"} 0");
        assert_eq!(lines[4], "x_seconds_bucket{backend=\"m\",le=\"0.005\"} 1");
        assert_eq!(lines[13], "x_seconds_bucket{backend=\"m\",le=\"10\"} 1");
        assert_eq!(lines[14], "x_seconds_bucket{backend=\"m\",le=\"+Inf\"} 2");
        assert_eq!(lines[15], "x_seconds_sum{backend=\"m\"} 60.003");
        assert_eq!(lines[16], "x_seconds_count{backend=\"m\"} 2");
    }

    #[test]
    fn labels_cannot_break_out() {
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }
}
