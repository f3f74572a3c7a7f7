//! The status page in headless Chromium: what it shows, that it is live, that it asks nobody else
//! for anything, and that names from the network stay text.
//!
//! `MAINSTAY_SCREENSHOTS=DIR cargo test --test page` leaves pictures of it in DIR.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// The harness serves the socket tests too; each target uses its own part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

mod browser;
mod gateway;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::status::{BackendState, KubernetesStatus};
use serde_json::{Value, json};

use browser::{Browser, Look};
use gateway::Gateway;
use support::{Backend, Balancer, Behaviour, Client, Setup, skipped, until};

/// Time between two exchanges of a client that makes traffic.
const EXCHANGE: Duration = Duration::from_millis(20);

fn three() -> ([Backend; 3], Balancer) {
    let backends = [(); 3].map(|()| Backend::new(Behaviour::Echo));
    let named = backends.iter().enumerate();
    let named: Vec<String> = named.map(|(n, b)| format!("\"master-{n}={}\"", b.addr)).collect();
    let balancer = Setup::default().config(format!("backends = [{}]\n", named.join(", "))).start();
    (backends, balancer)
}

/// Text of the first element that the selector finds.
fn text(browser: &Browser, selector: &str) -> String {
    let script = format!("return document.querySelector({}).innerText", json!(selector));
    browser.run(&script).as_str().unwrap_or_default().to_owned()
}

fn rows(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#rows tbody tr')].map(r => r.innerText)";
    let rows = browser.run(script);
    rows.as_array().unwrap().iter().map(|row| row.as_str().unwrap().to_owned()).collect()
}

/// Clients with something to say, until the flag is set.
fn traffic<'a>(
    scope: &'a std::thread::Scope<'a, '_>,
    balancer: &Balancer,
    clients: usize,
    stop: &'a AtomicBool,
) {
    let addr = balancer.addr;
    for number in 0..clients {
        scope.spawn(move || {
            let mut client = Client::established(addr).unwrap();
            let bytes = vec![b'x'; 200 * (number + 1)];
            while !stop.load(Ordering::Relaxed) {
                if client.echo(&bytes).is_err() {
                    // Its backend died; a client of an apiserver comes back too, perhaps once more.
                    if let Ok(again) = Client::established(addr) {
                        client = again;
                    }
                }
                std::thread::sleep(EXCHANGE);
            }
        });
    }
}

#[test]
fn the_page_follows_what_happens() {
    let Some(browser) = Browser::start() else {
        return skipped("the status page in Chromium: no chromium and chromedriver here");
    };
    let (backends, balancer) = three();
    let gateway = Gateway::to(&balancer.admin);
    let [first, second, third] = backends;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        traffic(scope, &balancer, 12, &stop);
        browser.open(&gateway.url());
        until("the page is live", || text(&browser, "#live") == "live");
        until("rates are shown", || text(&browser, "#bytes").contains("/s"));
        let shown = rows(&browser);
        assert_eq!(shown.len(), 3, "{shown:?}");
        assert!(shown.iter().all(|row| row.contains("✓ UP") && row.contains("ms")), "{shown:?}");
        assert_eq!(browser.run("return document.title"), json!("3 of 3 UP – Mainstay"));
        browser.pictures("up", &[Look::Light, Look::Dark, Look::Phone]);

        let drained = format!("/v1/members/{}/drain", "master-2");
        assert_eq!(balancer.ask("POST", &drained).status, 200);
        let dead = second.die();
        until("the rows follow", || {
            let shown = rows(&browser);
            shown[1].contains("✕ DEAD") && shown[2].contains("↓ DRAIN")
        });
        let decided = text(&browser, "#decisions");
        assert!(decided.contains("backend down") && decided.contains("drained"), "{decided}");
        assert!(decided.contains("master-2"), "{decided}");
        assert_eq!(browser.run("return document.title"), json!("1 of 3 UP – Mainstay"));
        let said = browser.run("return document.getElementById('said').textContent");
        assert!(said.as_str().unwrap().contains("master-1"), "screen readers are told: {said}");
        browser.pictures("down", &[Look::Light, Look::Dark, Look::Phone]);
        stop.store(true, Ordering::Relaxed);
        drop((first, third, dead));
    });
    assert_eq!(browser.console(), Vec::<String>::new());
    let strangers: Vec<String> = browser.requests();
    let strangers: Vec<&String> = strangers
        .iter()
        .filter(|url| !url.starts_with(&gateway.url()) && !url.starts_with("data:"))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    assert_eq!(gateway.asked(), ["/", "/v1/events?status=true"]);
}

/// What runs if anything of it is taken for HTML.
const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";

/// A status in which everything that the network can choose is hostile, with all its parts.
fn hostile() -> Value {
    json!({
        "version": "0", "commit": "c", "pid": 1, "uptime_seconds": 1, "phase": "lame_duck",
        "ready": false, "listen": [HOSTILE], "listening": false, "generation": 1,
        "connections": {"open": 1, "limit": 2, "accepted_total": 3, "closed_total": {}},
        "backends": [{
            "name": HOSTILE, "addr": HOSTILE, "source": HOSTILE, "state": "SUSPECT", "why": HOSTILE,
            "connections": 1, "connections_total": 1, "dial_failures_total": 0,
            "received_bytes": 1, "sent_bytes": 1, "age_seconds": 1, "answer_us": null,
        }],
        "kubernetes": {
            "on": true, "connected": false, "since_seconds": 61, "answered_seconds_ago": 62,
            "api": null, "listed": [HOSTILE], "error": HOSTILE, "failures_total": 1,
        },
        "coordinator": {
            "members": [
                {"name": HOSTILE, "addr": HOSTILE, "life": "admitted", "heartbeat_seconds_ago": 4, "missing": false},
                {"name": "master-1", "addr": "10.0.0.12:6443", "life": "pending", "heartbeat_seconds_ago": 45, "missing": true},
            ],
            "joins": [{"name": HOSTILE, "step": HOSTILE, "seconds": 61, "seconds_left": 500}],
            "tickets": [{"id": "abcdef", "description": HOSTILE, "seconds_left": 7200, "uses_left": 2}],
            "certificates": [{"name": HOSTILE, "seconds_left": 86400}, {"name": "old", "seconds_left": -5}],
        },
    })
}

/// Each thing that can be said of the cluster's own list.
fn clusters() -> Vec<KubernetesStatus> {
    let on = KubernetesStatus { on: true, ..KubernetesStatus::default() };
    let failing = KubernetesStatus {
        error: Some(HOSTILE.to_owned()),
        since_seconds: Some(7_300),
        ..on.clone()
    };
    let listed = vec!["10.0.0.11:6443".to_owned(), HOSTILE.to_owned()];
    let connected = KubernetesStatus {
        connected: true,
        since_seconds: Some(5),
        listed: listed.clone(),
        ..on.clone()
    };
    let broken = KubernetesStatus { listed, ..failing.clone() };
    let nobody = KubernetesStatus { listed: Vec::new(), ..connected.clone() };
    vec![KubernetesStatus::default(), on, failing, connected, broken, nobody]
}

#[test]
fn what_the_network_says_stays_text() {
    let Some(browser) = Browser::start() else {
        return skipped("the status page in Chromium: no chromium and chromedriver here");
    };
    let balancer = Setup::default().start();
    let gateway = Gateway::to(&balancer.admin);
    browser.open(&gateway.url());
    until("the page is live", || text(&browser, "#live") == "live");
    assert!(text(&browser, "#rows").contains("No backend: the port is closed."));
    browser.pictures("empty", &[Look::Light, Look::Phone]);
    // From here on the page gets what we give it, and no more from the balancer.
    browser.run("window.draw = show; show = () => {}");
    browser.run(&format!("draw({})", hostile()));
    let event = json!({"id": 1, "unix_ms": 1_795_626_723_999_u64, "kind": "member_refused",
        "level": "warning", "about": HOSTILE, "text": HOSTILE});
    browser.run(&format!("decided('9-1', {event})"));
    assert_eq!(
        browser.run("return document.querySelectorAll('img, body script + script').length"),
        json!(0)
    );
    let title = browser.run("return document.title");
    assert_eq!(title, json!("✕ 0 of 1 UP – Mainstay"));
    let page = text(&browser, "main");
    assert!(page.matches("<img src=x").count() >= 9, "{page}");
    for part in ["Joins", "Members", "45s ago", "Tickets", "2h", "Certificates", "ended", "1d"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(text(&browser, "#ready"), "stopping: lame duck");
    // The script says of the cluster what the server says.
    for known in clusters() {
        let drawn = browser.run(&format!("return cluster({})", json!(known)));
        assert_eq!(drawn, json!(known.sentence()));
    }
    browser.pictures("hostile", &[Look::Light, Look::Phone]);
    // Wider than the screen is nothing, even on a phone.
    browser.look(Look::Phone);
    let overhang = "return document.documentElement.scrollWidth - window.innerWidth";
    assert_eq!(browser.run(overhang), json!(0));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_page_says_it_all_without_javascript() {
    let Some(browser) = Browser::start() else {
        return skipped("the status page in Chromium: no chromium and chromedriver here");
    };
    let (_backends, balancer) = three();
    balancer.until_state(_backends[0].addr, BackendState::Up);
    let gateway = Gateway::to(&balancer.admin);
    browser.without_scripts();
    browser.open(&gateway.url());
    let shown = rows(&browser);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown.iter().all(|row| row.contains("✓ UP") && row.contains("static")), "{shown:?}");
    assert!(text(&browser, "#decisions").contains("port opened"));
    assert_eq!(text(&browser, "#live"), "as of the last load");
    browser.pictures("plain", &[Look::Light]);
    until("it is loaded anew by itself", || gateway.asked().len() > 1);
    assert!(gateway.asked().iter().all(|path| path == "/"), "{:?}", gateway.asked());
}

#[test]
fn the_page_finds_its_way_back_after_a_restart() {
    let Some(browser) = Browser::start() else {
        return skipped("the status page in Chromium: no chromium and chromedriver here");
    };
    let (_backends, balancer) = three();
    let gateway = Gateway::to(&balancer.admin);
    browser.open(&gateway.url());
    until("the page is live", || text(&browser, "#live") == "live");
    drop(balancer);
    until("it says so", || text(&browser, "#live") == "connection lost, trying again");
    let (_others, next) = three();
    gateway.turn_to(&next.admin);
    until("it is live again", || text(&browser, "#live") == "live");
    let pid = format!("pid {}", next.pid());
    until("it shows the new one", || text(&browser, "#build").contains(&pid));
    let decided = text(&browser, "#decisions");
    assert_eq!(decided.matches("started").count(), 1, "{decided}");
}
