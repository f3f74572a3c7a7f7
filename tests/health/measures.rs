//! What is measured of the masters: answers of probes, dials of clients, changes of state.

use common::status::BackendState;

use crate::master::{three, until_state};
use crate::pki::Pki;
use crate::support::{Client, until};

#[test]
fn probes_dials_and_transitions_are_measured() {
    let pki = Pki::new();
    let (mut masters, balancer) = three(&pki);
    let addrs = masters.each_ref().map(|master| master.addr);
    let of = |name: &str, master: usize, more: &str| {
        let addr = addrs[master];
        balancer.metric(&format!("mainstay_backend_{name}{{backend=\"{addr}\"{more}}}"))
    };
    for (master, addr) in addrs.iter().enumerate() {
        assert!(of("tls_seconds_count", master, "") >= 1.0);
        assert!(of("tls_seconds_sum", master, "") > 0.0);
        assert!(of("answer_seconds_bucket", master, ",le=\"+Inf\"") >= 1.0);
        assert!(of("probes_total", master, ",outcome=\"ready\"") >= 1.0);
        assert_eq!(of("transitions_total", master, ",state=\"up\""), 1.0);
        assert!(balancer.row(*addr).unwrap().answer_us.unwrap() > 0);
    }
    let dials = || (0..3).map(|master| of("dial_seconds_count", master, "")).sum::<f64>();
    let before = dials();
    let clients: Vec<_> = (0..3).map(|_| Client::connect(balancer.addr).unwrap()).collect();
    until("three dials are measured", || dials() >= before + 3.0);
    drop(clients);
    assert_eq!(balancer.metric("mainstay_members"), 3.0);
    masters[0].crash();
    until_state(&balancer, &masters[0], BackendState::Dead);
    let addr = masters[0].addr;
    let dead = format!("mainstay_backend_transitions_total{{backend=\"{addr}\",state=\"dead\"}}");
    assert_eq!(balancer.metric(&dead), 1.0);
    let refused =
        format!("mainstay_backend_probes_total{{backend=\"{addr}\",outcome=\"refused\"}}");
    assert!(balancer.metric(&refused) >= 2.0);
}
