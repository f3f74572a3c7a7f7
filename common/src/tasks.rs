//! One handle through which every task is started, so that shutdown can wait for all of them.
//!
//! A bare `tokio::spawn` is banned by `clippy.toml`: nobody could wait for such a task.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Pause before a task that panicked is begun anew, so that one which always does costs little.
const ANEW_AFTER: Duration = Duration::from_millis(100);

/// Starts tasks, tells them to stop and waits for them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A new group of tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A group of its own that stops when this one does; it can be stopped and awaited alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// Starts a short-lived task on the current runtime. It runs to its end: it is not told to stop
    /// unless it looks at [`Tasks::stopping`] itself.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tracker.spawn(task));
    }

    /// As [`Tasks::spawn`], on the runtime of another thread.
    pub fn spawn_on<F>(&self, runtime: &tokio::runtime::Handle, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tracker.spawn_on(task, runtime));
    }

    /// Starts a long-lived task on the current runtime. It is dropped at its next await point when
    /// the group is stopped, so each of its await points must be cancel-safe. If it panics, that
    /// is logged; the other tasks go on.
    pub fn spawn_until_stopped<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let running = tokio::task::JoinSet::new();
        drop(self.tracker.spawn(supervise(name, stop, running, task)));
    }

    /// Starts a task on the runtime of another thread that others depend on: if it panics it is begun
    /// anew. It ends when one of them does so in order.
    pub fn spawn_anew_on<M, F>(
        &self,
        runtime: &tokio::runtime::Handle,
        name: &'static str,
        mut make: M,
    ) where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_on(runtime, async move {
            loop {
                let mut running = tokio::task::JoinSet::new();
                running.spawn(make());
                match running.join_next().await {
                    Some(Err(failure)) if failure.is_panic() => {
                        error!(task = name, "a task ended by a panic and is begun anew");
                        tokio::time::sleep(ANEW_AFTER).await;
                    }
                    _ => return,
                }
            }
        });
    }

    /// Resolves when the group was told to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the group was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task of the group, and of its children, to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// How many tasks of this group run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Resolves when no task of this group runs any more. No task may be started afterwards.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Runs `task` as a task of its own, so that its panic is seen here and not lost.
async fn supervise<F>(
    name: &'static str,
    stop: CancellationToken,
    mut running: tokio::task::JoinSet<()>,
    task: F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    running.spawn(task);
    tokio::select! {
        () = stop.cancelled() => running.shutdown().await,
        ended = running.join_next() => {
            if let Some(Err(failure)) = ended {
                error!(task = name, error = %failure, "a task ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[tokio::test]
    async fn stopping_the_parent_stops_the_child() {
        let parent = Tasks::new();
        let child = parent.child();
        child.spawn_until_stopped("endless", std::future::pending());
        assert_eq!(child.running(), 1);
        parent.stop();
        child.finished().await;
        assert_eq!(child.running(), 0);
    }

    #[tokio::test]
    async fn a_panic_ends_one_task_only() {
        let tasks = Tasks::new();
        let ran = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ran);
        tasks.spawn_until_stopped("broken", async { panic!("on purpose") });
        tasks.spawn_until_stopped("sound", async move { seen.store(true, Ordering::Relaxed) });
        tasks.finished().await;
        assert!(ran.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_depend_on_is_begun_anew() {
        let tasks = Tasks::new();
        let begun = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&begun);
        tasks.spawn_anew_on(&tokio::runtime::Handle::current(), "stumbling", move || {
            let count = Arc::clone(&count);
            async move { assert!(count.fetch_add(1, Ordering::Relaxed) >= 3, "on purpose") }
        });
        tasks.finished().await;
        assert_eq!(begun.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_session_is_not_dropped_by_stop() {
        let tasks = Tasks::new();
        let (send, receive) = tokio::sync::oneshot::channel::<()>();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        tasks.spawn(async move {
            receive.await.ok();
            seen.store(true, Ordering::Relaxed);
        });
        tasks.stop();
        assert!(!ended.load(Ordering::Relaxed));
        send.send(()).unwrap();
        tasks.finished().await;
        assert!(ended.load(Ordering::Relaxed));
    }
}
