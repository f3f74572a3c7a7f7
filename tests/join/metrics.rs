//! What `/metrics` says of the coordinator, from the first machine to the end of a join.

use common::metric_names::ALL;

use crate::story::Beginning;
use crate::support::eventually;

#[test]
fn the_coordinator_is_measured() {
    let begun = Beginning::of("v1.20.2");
    let coordinator = &begun.coordinator;
    let until = |series: &str, value: f64| {
        eventually(&format!("{series} is {value}"), || {
            (coordinator.metric(series) == Some(value)).then_some(())
        });
    };
    until("mainstay_registered{life=\"admitted\"}", 1.0);
    until("mainstay_registered_missing", 0.0);
    until("mainstay_join_registrations_total{result=\"accepted\"}", 1.0);
    until("mainstay_tickets", 1.0);
    until("mainstay_join_turn", 0.0);
    let year = 365.0 * 24.0 * 3600.0;
    let left = |of: &str| {
        coordinator
            .metric(&format!("mainstay_certificate_left_seconds{{certificate=\"{of}\"}}"))
            .unwrap()
    };
    assert!(left("coordinator CA") > 9.0 * year);
    let member = left("master0");
    assert!(member > 80_000.0 && member <= 86_400.0, "{member}");

    let stranger = begun.machine("master1", "v1.20.2");
    let mut wrong = begun.ticket.clone();
    let token = wrong.iter_mut().skip_while(|it| *it != "--token").nth(1).unwrap();
    *token = "abcdef.0123456789abcdef".to_owned();
    let (status, said) = stranger.start("join", &wrong).end();
    assert!(!status.success(), "{said}");
    until("mainstay_join_ticket_rejections_total{reason=\"unknown\"}", 1.0);
    until("mainstay_join_sources", 1.0);

    stranger.run("join", &begun.ticket);
    coordinator.until_up(2);
    until("mainstay_registered{life=\"admitted\"}", 2.0);
    until("mainstay_events_total{kind=\"join_done\"}", 1.0);
    until("mainstay_join_turn", 0.0);
    until("mainstay_revocations", 0.0);
    let limits = ALL.iter().filter(|metric| metric.name.ends_with("_limit"));
    let limits =
        limits.filter(|metric| metric.name.contains("join") || metric.name.contains("ticket"));
    for limit in limits {
        assert!(coordinator.metric(limit.name).is_some_and(|value| value > 0.0), "{}", limit.name);
    }
}
