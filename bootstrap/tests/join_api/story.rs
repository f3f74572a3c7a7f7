//! What masters do.

use std::time::{Duration, Instant};

use bootstrap::kubeadm::OsRandom;
use bootstrap::protocol::{
    ClusterFacts, Heartbeat, Intent, JoinOutcome, JoinPhase, JoinRequest, Made, Renewal, Task,
    WorkOutcome, WorkResult,
};
use bootstrap::sealing::{SealingKey, seal};
use common::status::BackendState::{Pending, Up};
use http::StatusCode;

use crate::lab::{Lab, Machine, until};

const AGENT: Heartbeat = Heartbeat { draining: false, can_issue: true, seen: None };

fn made() -> Made {
    Made { token_id: "tokenb".into(), owner_id: "owner0".into(), certs_uid: None }
}

#[tokio::test]
async fn two_masters_from_a_ticket_to_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let (first, second) = (Machine::new("master-0", 7000), Machine::new("master-1", 7001));
    let registered = lab.register(&first, Intent::Init).await.unwrap();
    assert_eq!(registered.address.to_string(), "127.0.0.1:7000");
    assert_eq!(registered.endpoint, "127.0.0.1:6443");
    let agent = lab.member(&first, &registered);
    lab.backends(&[(7000, Up)]);

    let joins = lab.register(&second, Intent::Join).await.unwrap();
    let joiner = lab.member(&second, &joins);
    let key = SealingKey::generate().unwrap();
    let request = |seen| JoinRequest { sealing_key: key.public(), turn_only: false, seen };
    assert_eq!(joiner.join(&request(None)).await.unwrap().phase, JoinPhase::Issuing);

    until("the agent is given the work", || async {
        let answer = agent.heartbeat(&AGENT).await.unwrap();
        let Some(work) = answer.work else { return false };
        let Task::Issue { joiner, sealing_key } = work.task else { panic!("{:?}", work.task) };
        let sealed = seal(&sealing_key, &joiner, b"credentials", &mut OsRandom).unwrap();
        let result = WorkOutcome::Issued { sealed, made: made() };
        agent.work_result(&WorkResult { id: work.id, result }).await.unwrap();
        true
    })
    .await;
    let ready = joiner.join(&request(Some(JoinPhase::Issuing))).await.unwrap();
    assert_eq!(ready.phase, JoinPhase::Ready);

    joiner.join_outcome(&JoinOutcome { joined: true, reason: String::new() }).await.unwrap();
    lab.backends(&[(7000, Up), (7001, Pending)]);
    assert_eq!(joiner.join(&request(None)).await.unwrap().phase, JoinPhase::Settling);
    let waits = Instant::now();
    let settling = request(Some(JoinPhase::Settling));
    let (joined, ()) = tokio::join!(joiner.join(&settling), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lab.backends(&[(7000, Up), (7001, Up)]);
    });
    assert_eq!(joined.unwrap().phase, JoinPhase::Joined);
    assert!(waits.elapsed() < Duration::from_secs(10), "it was told at once");
    let opened = key.open("master-1", &ready.credentials.unwrap()).unwrap();
    assert_eq!(*opened, b"credentials");

    until("what was made is taken back", || async {
        let Some(work) = agent.heartbeat(&AGENT).await.unwrap().work else { return false };
        assert_eq!(work.task, Task::Revoke { made: made() });
        true
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_is_held_and_answers_at_once_when_the_state_changes() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let machine = Machine::new("master-0", 7000);
    let registered = lab.register(&machine, Intent::Register).await.unwrap();
    let member = lab.member(&machine, &registered);
    lab.backends(&[(7000, Pending)]);
    until("it sees itself", || async {
        member.heartbeat(&Heartbeat::default()).await.unwrap().state == "PENDING"
    })
    .await;
    let begun = Instant::now();
    let beat = Heartbeat { seen: Some("PENDING".into()), ..Heartbeat::default() };
    let (answer, ()) = tokio::join!(member.heartbeat(&beat), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        lab.backends(&[(7000, Up)]);
    });
    assert_eq!(answer.unwrap().state, "UP");
    assert!(
        begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(8)
    );
}

/// However much others change meanwhile, a heartbeat is answered after its 10 s.
#[tokio::test]
async fn a_held_heartbeat_ends_in_time_while_others_are_busy() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let machine = Machine::new("master-0", 7000);
    let registered = lab.register(&machine, Intent::Register).await.unwrap();
    let member = lab.member(&machine, &registered);
    lab.backends(&[(7000, Pending)]);
    until("it sees itself", || async {
        member.heartbeat(&Heartbeat::default()).await.unwrap().state == "PENDING"
    })
    .await;
    let seen = Heartbeat { seen: Some("PENDING".into()), ..Heartbeat::default() };
    let begun = Instant::now();
    let busy = async {
        loop {
            lab.api.coordinator().ask(|_, _| ()).await.unwrap();
        }
    };
    tokio::select! {
        answer = member.heartbeat(&seen) => assert_eq!(answer.unwrap().state, "PENDING"),
        () = busy => {}
    }
    assert!(begun.elapsed() >= Duration::from_secs(9), "it was held: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_member_renews_leaves_and_is_then_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let machine = Machine::new("master-0", 7000);
    let registered = lab.register(&machine, Intent::Register).await.unwrap();
    let member = lab.member(&machine, &registered);
    // A new key replaces the old one, whose certificate is worthless from then on.
    let renewed_key = Machine::new("master-0", 7000);
    let csr = renewed_key.key.request("master-0").unwrap();
    let renewed = member.renew(&Renewal { csr }).await.unwrap();
    let old = member.heartbeat(&Heartbeat::default()).await.unwrap_err();
    assert_eq!(old.status(), Some(StatusCode::UNAUTHORIZED));
    let member = lab.member(&renewed_key, &renewed);
    member.leave().await.unwrap();
    let gone = member.heartbeat(&Heartbeat::default()).await.unwrap_err();
    assert!(gone.is_unknown_to_it(), "{gone}");
}

#[tokio::test]
async fn a_registered_key_comes_back_without_a_ticket_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new("master-0", 7000);
    {
        let lab = Lab::with_ticket(dir.path()).await;
        lab.register(&machine, Intent::Register).await.unwrap();
    }
    let lab = Lab::start(dir.path()).await;
    let moved = Machine { port: 7999, ..machine };
    let back = lab.stranger().register(None, &moved.wish(Intent::Register)).await.unwrap();
    assert_eq!(back.address.port(), 7000, "without a ticket it stays where it was");
    lab.member(&moved, &back).cluster().await.unwrap();
    let other = Machine::new("master-0", 7000);
    let refused = lab.stranger().register(None, &other.wish(Intent::Register)).await.unwrap_err();
    assert_eq!(refused.status(), Some(StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn only_masters_in_rotation_name_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let ca = include_str!("../../../tests/fixtures/vectors/ca-ec.crt");
    let facts = || ClusterFacts { ca: Some(ca.to_owned()), kubeconfig: None };
    let (first, second) = (Machine::new("master-0", 7000), Machine::new("master-1", 7001));
    let registered = lab.register(&first, Intent::Init).await.unwrap();
    let joiner = lab.register(&second, Intent::Join).await.unwrap();
    let refused = lab.member(&second, &joiner).announce(&facts()).await.unwrap_err();
    assert_eq!(refused.status(), Some(StatusCode::FORBIDDEN));
    lab.member(&first, &registered).announce(&facts()).await.unwrap();
    let known = lab.member(&second, &joiner).cluster().await.unwrap();
    assert_eq!(known.ca.as_deref(), Some(ca));
    let other = include_str!("../../../tests/fixtures/vectors/ca-rsa.crt").to_owned();
    let third = Machine::new("master-2", 7002);
    let foreign = bootstrap::protocol::Registration {
        cluster_ca: Some(other),
        ..third.wish(Intent::Register)
    };
    let token = crate::lab::TOKEN.parse().unwrap();
    let refused = lab.stranger().register(Some(&token), &foreign).await.unwrap_err();
    assert!(refused.to_string().contains("another cluster"), "{refused}");
}
