//! The coordinator as its callers see it.

use super::*;
use crate::protocol::Intent;
use crate::registry::members::Claim;
use crate::registry::tickets::Terms;
use std::path::Path;

fn start(dir: &Path) -> CoordinatorHandle {
    let (health, feed) = watch::channel(Arc::default());
    let (coordinator, handle) = Coordinator::open(dir, Vec::new(), feed, Journal::new()).unwrap();
    let tasks = common::Tasks::new();
    tasks.spawn_until_stopped("coordinator", async move {
        let _health = health;
        coordinator.run().await;
    });
    handle
}

async fn register(handle: &CoordinatorHandle, name: &'static str) -> Result<(), CoordinatorError> {
    let claim = Claim {
        name: name.into(),
        address: ([10, 0, 0, 1], 6443).into(),
        key: "key".into(),
        intent: Intent::Init,
        force: false,
    };
    let registered = handle
        .ask(move |registry, now| registry.register(claim, Some("abcdef"), &[], now).map(drop));
    registered.await.map(|inner| inner.unwrap())
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path());
    let token = "abcdef.0123456789abcdef".parse().unwrap();
    handle
        .ask(move |registry, now| registry.tickets.add(&token, Terms::default(), now.unix))
        .await
        .unwrap()
        .unwrap();
    register(&handle, "master-0").await.unwrap();
    // No goodbye: the task is simply not there any more, as after kill -9.
    let again = start(dir.path());
    let (members, tickets) = again
        .ask(|registry, now| {
            (registry.members.records().count(), registry.tickets.good(now.unix).count())
        })
        .await
        .unwrap();
    assert_eq!((members, tickets), (1, 1));
    assert_eq!(again.knowledge().borrow().members[0].name, "master-0");
}

#[tokio::test]
async fn what_cannot_be_written_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path());
    // A directory in the place of the new file fails every write, for root too.
    std::fs::create_dir_all(dir.path().join(format!("{STATE_FILE}.new/x"))).unwrap();
    let refused = register(&handle, "master-0").await.unwrap_err();
    assert!(refused.to_string().contains("nothing was changed"), "{refused}");
    assert_eq!(handle.ask(|registry, _| registry.members.records().count()).await.unwrap(), 0);
    std::fs::remove_dir_all(dir.path().join(format!("{STATE_FILE}.new"))).unwrap();
    register(&handle, "master-0").await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    for damage in ["", "{", "{\"tickets\": 3}", "\u{0}\u{0}\u{0}"] {
        std::fs::write(dir.path().join(STATE_FILE), damage).unwrap();
        let handle = start(dir.path());
        assert_eq!(handle.ask(|registry, _| registry.members.records().count()).await.unwrap(), 0);
        let aside = dir.path().join(format!("{STATE_FILE}.damaged"));
        assert_eq!(std::fs::read_to_string(aside).unwrap(), damage);
    }
}

#[tokio::test]
async fn changes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path());
    let mut knowledge = handle.knowledge();
    register(&handle, "master-0").await.unwrap();
    knowledge.changed().await.unwrap();
    assert!(!knowledge.borrow_and_update().members[0].draining);
    handle.ask(|registry, now| registry.leave("master-0", now)).await.unwrap();
    knowledge.changed().await.unwrap();
    assert!(knowledge.borrow().members.is_empty());
    assert_eq!(knowledge.borrow().left.len(), 1);
}
