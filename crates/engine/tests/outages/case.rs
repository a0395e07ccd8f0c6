//! One outage, and the conditions after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reclaim_fake::{Call, Fake, Fault};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, Work, runtime};

/// The kind of outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// containerd stops before it executes the call, and starts again later.
    Away,
    /// containerd stops after it executes the call and before the answer.
    AwayAfter,
    /// containerd pauses and continues later, as with SIGSTOP and SIGCONT.
    Silent,
}

/// An outage at a call of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) version: &'static str,
    pub(crate) work: Work,
    pub(crate) is_held: bool,
    /// The number of calls before it.
    pub(crate) call: u64,
    pub(crate) harm: Harm,
    pub(crate) length: Duration,
}

/// The time limit for the caller's answer once containerd answers.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a run retries its last steps.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The time limit for a daemon to finish its run once containerd answers.
const FINISH: Duration = Duration::from_secs(120);

impl Case {
    pub(crate) fn run(&self) -> Result<(), String> {
        runtime().block_on(async {
            let stage = Stage::set(self.version, self.work, self.is_held);
            self.harm(&stage.fake);
            let cancel = CancellationToken::new();
            let (daemon, token) = (Arc::clone(&stage.engine), cancel.clone());
            let daemon = tokio::spawn(async move { daemon.finish_runs(&token).await });
            let checked = Box::pin(self.check(&stage)).await;
            cancel.cancel();
            daemon.await.map_err(|error| error.to_string())?;
            checked
        })
    }

    async fn check(&self, stage: &Stage) -> Result<(), String> {
        let began = Instant::now();
        let most = self.length.min(PATIENCE) + ANSWER;
        let pruned = timeout(most + ANSWER, stage.run()).await;
        let took = began.elapsed();
        let Ok(pruned) = pruned else {
            return Err(format!("no answer within {took:?}"));
        };
        if took > most {
            return Err(format!("an answer after {took:?}: {pruned:?}"));
        }
        let there = stage.images();
        if let Ok(report) = &pruned {
            // Images that the report lists as removed are gone, unless the run is unfinished.
            let removed = report.removed.iter();
            let mut removed = removed.map(|it| it.name.trim_start_matches("docker.io/library/"));
            let is_there = |name: &str| there.iter().any(|it| it == name);
            if let Some(name) = removed.find(|it| is_there(it)) {
                return Err(format!("`{name}` was reported as removed and is there"));
            }
        }
        sleep((self.length + FINISH).saturating_sub(began.elapsed())).await;
        stage.check_whole()?;
        self.check_rest(stage)?;

        let text = |error| reclaim_model::chain(&error);
        stage.release().await.map_err(text)?;
        stage.check_whole()?;
        let again = stage.run().await.map_err(|error| {
            let error = reclaim_model::chain(&error);
            format!("the next run fails: {error}")
        })?;
        if !again.failed.is_empty() || again.unfinished.is_some() {
            return Err(format!("the next run: {again:?}"));
        }
        stage.check_whole()?;
        stage.check_done()?;
        self.check_rest(stage)
    }

    /// Checks that no lease of a run is left.
    fn check_rest(&self, stage: &Stage) -> Result<(), String> {
        let leases = stage.space().leases;
        let is_rest =
            |id: &&String| !self.is_held || id.ends_with(".unfinished") || !id.contains("hold");
        let rest: Vec<&String> = leases.keys().filter(is_rest).collect();
        if rest.is_empty() {
            Ok(())
        } else {
            Err(format!("leases are left: {rest:?}"))
        }
    }

    fn harm(&self, fake: &Fake) {
        let (case, server) = (*self, fake.clone());
        let is_harmed = AtomicBool::new(false);
        let silent_until: Arc<std::sync::Mutex<Option<Instant>>> = Arc::default();
        fake.on_call(move |call: &Call| {
            if call.number == case.call && !is_harmed.swap(true, Ordering::Relaxed) {
                let server = server.clone();
                match case.harm {
                    Harm::Away | Harm::AwayAfter => {
                        tokio::spawn(async move {
                            server.stop();
                            sleep(case.length).await;
                            server.start();
                        });
                    }
                    Harm::Silent => {
                        let until = Instant::now() + case.length;
                        *silent_until.lock().expect("nothing panics") = Some(until);
                    }
                }
                if case.harm == Harm::Away {
                    return Fault::Silence;
                }
            }
            if call.number == case.call && case.harm == Harm::AwayAfter {
                return Fault::SilenceAfter;
            }
            let until = *silent_until.lock().expect("nothing panics");
            let left = until.map(|it| it.saturating_duration_since(Instant::now()));
            match left.filter(|it| !it.is_zero()) {
                // Like a stopped process: it executes the arrived calls when it continues.
                Some(left) => Fault::Wait(left),
                None => Fault::None,
            }
        });
    }
}
