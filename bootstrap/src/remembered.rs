//! The members that an earlier run knew, in the state directory: candidates to be tried when
//! everything was down, never truth.
//!
//! Configured members are not kept here: the configuration is their memory, and a member that was
//! taken out of it must not come back. A disk that fails is told once and tried again; nothing else
//! waits for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::member::MEMBERS_MAX;
use common::{Member, MembershipFeed, Source};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::store::{load, save};

/// Name of the file in the state directory.
const FILE: &str = "members.json";

/// Number of the format; another one is not read.
const VERSION: u32 = 1;

/// Time until a failed write is tried again: an operator who makes room need not do more.
const RETRY: Duration = Duration::from_secs(30);

/// Changes within this time are one write: a start brings several.
const SETTLE: Duration = Duration::from_millis(200);

/// Longest name that is read back: a DNS subdomain.
const NAME_MAX: usize = 253;

/// The file.
#[derive(Clone, Debug)]
pub struct Remembered {
    path: PathBuf,
    failures: Arc<AtomicU64>,
}

/// What is in it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Content {
    version: u32,
    members: Vec<Member>,
}

impl Remembered {
    /// The file of a state directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { path: directory.join(FILE), failures: Arc::default() }
    }

    /// Writes that failed so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The members of an earlier run; none at the first start and if the file is damaged, which is
    /// logged.
    #[must_use]
    pub fn load(&self) -> Vec<Member> {
        let Some(content) = load::<Content>(&self.path).found() else {
            return Vec::new();
        };
        if content.version != VERSION {
            let (version, path) = (content.version, self.path.display());
            warn!(version, %path, "remembered members are of another version; going on without");
            return Vec::new();
        }
        let members: Vec<Member> =
            content.members.into_iter().filter(is_usable).take(MEMBERS_MAX).collect();
        info!(members = members.len(), path = %self.path.display(), "members remembered");
        members
    }

    /// Writes every change until it is dropped, which loses at most the last one. Cancel-safe.
    pub async fn keep(self, mut feed: MembershipFeed) {
        let mut written = None;
        let mut told = None;
        loop {
            let members = worth_keeping(&feed.borrow_and_update().members);
            let failure = match written.as_ref() == Some(&members) {
                true => None,
                false => self.write(members.clone()).await.err(),
            };
            if failure.is_none() {
                written = Some(members);
            } else if failure != told {
                let (reason, path) = (failure.as_deref().unwrap_or_default(), self.path.display());
                warn!(reason, %path, "cannot save the members; they are lost if mainstay restarts");
            }
            let retry = if failure.is_some() { RETRY } else { Duration::MAX };
            told = failure;
            tokio::select! {
                changed = feed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(SETTLE).await;
                }
                () = tokio::time::sleep(retry) => {}
            }
        }
    }

    /// One write, on a thread that may wait for a disk.
    async fn write(&self, members: Vec<Member>) -> Result<(), String> {
        let path = self.path.clone();
        let content = Content { version: VERSION, members };
        let written = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec_pretty(&content).map_err(std::io::Error::other)?;
            save(&path, &text)
        });
        let written = match written.await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if written.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        written
    }
}

/// The members that another run should know of: all but the configured ones.
#[must_use]
pub fn worth_keeping(members: &[Member]) -> Vec<Member> {
    members.iter().filter(|member| member.source != Source::Static).cloned().collect()
}

/// Whether a member of the file could have been written by us.
fn is_usable(member: &Member) -> bool {
    let name = &member.name;
    let addr = member.addr;
    let named = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control);
    named && addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MembershipWriter;
    use common::Tasks;
    use common::config::address::parse_backend;

    fn member(text: &str, source: Source) -> Member {
        Member { source, ..parse_backend(text).unwrap() }
    }

    async fn eventually(what: impl Fn() -> bool) {
        for _ in 0..400 {
            if what() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not happen within 10 s");
    }

    #[tokio::test]
    async fn what_is_known_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = Remembered::in_directory(directory.path());
        assert_eq!(file.load(), []);
        let writer = MembershipWriter::new(vec![member("a=10.0.0.1", Source::Static)]);
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("remembered", file.clone().keep(writer.feed()));
        writer.kubernetes(&["10.0.0.1:6443".parse().unwrap(), "[fd00::2]:6443".parse().unwrap()]);
        eventually(|| load::<Content>(&file.path).found().is_some_and(|it| !it.members.is_empty()))
            .await;
        tasks.stop();
        tasks.finished().await;
        let found = file.load();
        assert_eq!(found, [member("[fd00::2]:6443", Source::Kubernetes)], "not the configured one");
        let next = MembershipWriter::remembering(Vec::new(), found);
        assert_eq!(next.feed().borrow().members, [member("[fd00::2]:6443", Source::Remembered)]);
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_counted_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = Remembered::in_directory(&directory.path().join("gone"));
        let writer = MembershipWriter::new(Vec::new());
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("remembered", file.clone().keep(writer.feed()));
        eventually(|| file.failures() == 1).await;
        std::fs::create_dir(directory.path().join("gone")).unwrap();
        writer.kubernetes(&["10.0.0.1:6443".parse().unwrap()]);
        eventually(|| file.path.exists()).await;
        assert_eq!(file.failures(), 1);
        tasks.stop();
        tasks.finished().await;
    }

    #[test]
    fn what_we_cannot_have_written_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let file = Remembered::in_directory(directory.path());
        let write = |text: &str| std::fs::write(&file.path, text).unwrap();
        write(
            r#"{"version":1,"members":[
            {"name":"","addr":"10.0.0.1:6443","source":"registered"},
            {"name":"b","addr":"0.0.0.0:6443","source":"registered"},
            {"name":"c\u001b[2J","addr":"10.0.0.3:6443","source":"registered"},
            {"name":"d","addr":"10.0.0.4:0","source":"registered"},
            {"name":"e","addr":"10.0.0.5:6443","source":"registered"}]}"#,
        );
        assert_eq!(file.load(), [member("e=10.0.0.5", Source::Registered)]);
        write(r#"{"version":2,"members":[]}"#);
        assert_eq!(file.load(), []);
        write(r#"{"version":1,"members":[{"name":1}]}"#);
        assert_eq!(file.load(), []);
        assert!(directory.path().join("members.json.damaged").exists());
    }
}
