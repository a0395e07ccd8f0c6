//! Inhibitors: commands that keep policies, or every removal, from running while they run.
//!
//! An inhibitor is a lease without resources, which keeps no content. One in any namespace counts
//! for all namespaces of its containerd, because no namespace is created for it. Leases cannot be
//! extended, so a successor is created before the lease expires, and then the predecessor is
//! deleted. A killed process leaves a lease that other processes ignore: at once if they can prove
//! that the process is gone ([`crate::identity`]), otherwise when it expires.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{InhibitScope, Inhibitor, Lease, Namespace, Selection, chain, is_printable};
use reclaim_store::StoreError;
use tracing::{debug, warn};

use crate::engine::Engine;
use crate::error::RunError;
use crate::lease::{self, STARTED};
use crate::presence::Presence;
use crate::preview::new_run;
use crate::retry::{Patience, retry};
use crate::run::Run;

/// The prefix of the lease IDs of inhibitors.
const PREFIX: &str = "reclaim.inhibit.";

/// The label that makes a lease an inhibitor: what it inhibits.
const INHIBITS: &str = "reclaim/inhibits";
const COMMAND: &str = "reclaim/inhibit-command";
const PID: &str = "reclaim/inhibit-pid";
const UID: &str = "reclaim/inhibit-uid";
const WHY: &str = "reclaim/inhibit-why";

/// The time between two checks of whether a lease must be renewed, while containerd answers. Shorter
/// than the lifetime, because the clock may have been set.
const CHECK: Duration = Duration::from_secs(10);

/// What a command inhibits, and for what reason.
#[derive(Debug, Clone)]
pub struct InhibitRequest {
    /// What it keeps from running.
    pub what: InhibitScope,
    /// The command, without its arguments.
    pub command: String,
    /// The reason.
    pub why: Option<String>,
    /// The namespace of the lease, if it exists. Otherwise it is another one.
    pub namespace: Namespace,
    /// How long the inhibitor lasts if this process is killed. [`Self::LIFETIME`] is a good value.
    pub lifetime: Duration,
}

impl InhibitRequest {
    /// How long an inhibitor lasts after a crash, and how long containerd may be away before it ends.
    pub const LIFETIME: Duration = Duration::from_secs(5 * 60);

    /// The longest command and reason in bytes: less than containerd allows for a label.
    pub const MAX_TEXT: usize = 1000;
}

/// An inhibitor of this process. Call [`Self::end`] to end it.
#[derive(Debug)]
pub struct Inhibition {
    engine: Engine,
    request: InhibitRequest,
    presence: Presence,
    began: Timestamp,
    /// How many leases were created or attempted.
    tries: u64,
    /// The leases that may exist, with their namespaces: one, and during a renewal its successor.
    leases: Vec<(Namespace, String)>,
    /// When the lease was created; `None` without a namespace for one.
    made: Option<Timestamp>,
}

impl Engine {
    /// Lists the inhibitors of all namespaces, oldest first.
    ///
    /// A namespace whose leases cannot be listed is skipped with a warning in the log: the run that
    /// prunes it fails, and the others must not stop because of it.
    ///
    /// # Errors
    ///
    /// If containerd does not answer.
    pub async fn inhibitors(&self) -> Result<Vec<Inhibitor>, StoreError> {
        self.inhibitors_within(&Patience::default()).await
    }

    async fn inhibitors_within(&self, patience: &Patience) -> Result<Vec<Inhibitor>, StoreError> {
        let listing = patience.retry(|| self.store.leases_with_label(INHIBITS));
        let (listed, unread) = listing.await?;
        for (namespace, error) in unread {
            let error = chain(&error);
            warn!(%namespace, %error, "cannot list leases; an inhibitor there is not respected");
        }
        let now = self.store.now();
        let mut found: BTreeMap<String, Inhibitor> = BTreeMap::new();
        for (namespace, lease) in listed {
            if !lease.is_live(now) || self.identity.is_abandoned(&self.store, &lease).await {
                continue;
            }
            let inhibitor = inhibitor(namespace, &lease);
            // During a renewal there are two leases.
            let key = lease::run(&lease).map_or(lease.id, |run| run.0);
            let is_later = |other: &Inhibitor| {
                let end = |it: &Inhibitor| it.until.unwrap_or(Timestamp::MAX);
                end(&inhibitor) > end(other)
            };
            if found.get(&key).is_none_or(is_later) {
                found.insert(key, inhibitor);
            }
        }
        let mut found: Vec<Inhibitor> = found.into_values().collect();
        found.sort_by(|a, b| (a.since, &a.lease).cmp(&(b.since, &b.lease)));
        Ok(found)
    }

    /// Fails if an inhibitor forbids runs of this scope.
    ///
    /// # Errors
    ///
    /// [`RunError::Inhibited`], or if containerd does not answer.
    pub async fn check_inhibitors(&self, run: InhibitScope) -> Result<(), RunError> {
        match self.inhibitor_of(run, &Patience::default()).await? {
            Some(inhibitor) => Err(RunError::Inhibited(Box::new(inhibitor))),
            None => Ok(()),
        }
    }

    /// As [`Self::check_inhibitors`], for a run.
    pub(crate) async fn check_inhibitors_of(&self, run: Run<'_>) -> Result<(), RunError> {
        self.check_inhibitors(scope(run)).await
    }

    /// Returns why a run that has removed records must restore them, if an inhibitor has come
    /// meanwhile. If that is unknown, it must, too.
    pub(crate) async fn inhibited_meanwhile(&self, run: Run<'_>) -> Option<String> {
        match self.inhibitor_of(scope(run), run.patience).await {
            Ok(inhibitor) => inhibitor
                .map(|inhibitor| format!("what the run removed is restored, because {inhibitor}")),
            Err(error) => Some(format!("list inhibitors: {}", chain(&error))),
        }
    }

    async fn inhibitor_of(
        &self,
        run: InhibitScope,
        patience: &Patience,
    ) -> Result<Option<Inhibitor>, StoreError> {
        let inhibitors = self.inhibitors_within(patience).await?;
        let mut inhibitors = inhibitors.into_iter();
        Ok(inhibitors.find(|it| run == InhibitScope::Policies || it.what == InhibitScope::All))
    }

    /// Inhibits runs until [`Inhibition::end`], as long as [`Inhibition::keep`] renews it.
    ///
    /// If containerd has no namespace, there is nothing to inhibit, and [`Inhibition::is_held`]
    /// returns false until a renewal finds one.
    ///
    /// # Errors
    ///
    /// If the lease cannot be created.
    pub async fn inhibit(&self, request: InhibitRequest) -> Result<Inhibition, StoreError> {
        let mut inhibition = Inhibition {
            presence: self.presence(new_run(), &request.namespace).await,
            engine: self.clone(),
            began: self.store.now(),
            request,
            tries: 0,
            leases: Vec::new(),
            made: None,
        };
        inhibition.renew().await?;
        Ok(inhibition)
    }
}

impl Inhibition {
    /// Whether a lease inhibits runs now.
    pub fn is_held(&self) -> bool {
        let lifetime = self.request.lifetime;
        let now = self.engine.store.now();
        self.made
            .is_some_and(|made| now <= lease::expiry(made, lifetime))
    }

    /// Renews the inhibitor until the future is dropped.
    ///
    /// Cancellation safe: [`Self::end`] ends what was created.
    pub async fn keep(&mut self) {
        let mut is_logged = false;
        loop {
            tokio::time::sleep(CHECK.min(self.request.lifetime / 6)).await;
            if !self.is_due() {
                continue;
            }
            match self.renew().await {
                Ok(()) => is_logged = false,
                Err(error) if is_logged => debug!(error = chain(&error), "cannot renew yet"),
                Err(error) => {
                    let error = chain(&error);
                    warn!(%error, "cannot renew the inhibitor; it ends when its lease expires");
                    is_logged = true;
                }
            }
        }
    }

    /// Whether the lease must be renewed: a third of its lifetime is over, or the clock was set back.
    fn is_due(&self) -> bool {
        let Some(made) = self.made else {
            return true;
        };
        let third = SignedDuration::try_from(self.request.lifetime / 3);
        let young = SignedDuration::ZERO..third.unwrap_or(SignedDuration::MAX);
        !young.contains(&self.engine.store.now().duration_since(made))
    }

    /// Creates a lease, and deletes its predecessor.
    async fn renew(&mut self) -> Result<(), StoreError> {
        // A lease would create a namespace that was deleted.
        let listing = retry(|| self.engine.store.namespaces());
        let existing = listing.await?;
        let before = self.leases.last().map(|(namespace, _)| namespace);
        let preferred = before.unwrap_or(&self.request.namespace).clone();
        let (first, others): (Vec<_>, Vec<_>) = existing.iter().partition(|it| **it == preferred);
        let mut failed = None;
        for namespace in first.into_iter().chain(others) {
            match self.create_in(namespace).await {
                Ok(made) => {
                    self.made = Some(made);
                    while self.leases.len() > 1 {
                        self.delete(0).await;
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.delete(self.leases.len() - 1).await;
                    if error.is_transient() {
                        return Err(error);
                    }
                    debug!(%namespace, error = chain(&error), "cannot inhibit by a lease there");
                    failed.get_or_insert(error);
                }
            }
        }
        if failed.is_none() {
            self.made = None;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Creates a lease in an existing namespace, and checks that leases can be listed there. Returns
    /// the time of its creation. It is the last of the leases, also after an error.
    async fn create_in(&mut self, namespace: &Namespace) -> Result<Timestamp, StoreError> {
        self.tries += 1;
        let id = format!("{PREFIX}{}.{}", self.presence.run(), self.tries);
        self.leases.push((namespace.clone(), id.clone()));
        let store = &self.engine.store;
        let made = store.now();
        let labels = labels(&self.request, &self.presence, self.began, made);
        // If it exists, an earlier attempt succeeded, and only its answer was lost.
        retry(|| store.create_lease(namespace, &id, labels.clone())).await?;
        retry(|| store.lease(namespace, &id)).await?;
        Ok(made)
    }

    /// Deletes a lease. After a failure it is ignored once the process is gone, or when it expires.
    async fn delete(&mut self, index: usize) {
        let (namespace, id) = &self.leases[index];
        let store = &self.engine.store;
        if let Err(error) = retry(|| store.delete_lease(namespace, id, false)).await {
            debug!(%namespace, lease = %id, error = chain(&error), "cannot delete a lease");
        }
        self.leases.remove(index);
    }

    /// Ends the inhibitor.
    pub async fn end(mut self) {
        while !self.leases.is_empty() {
            self.delete(0).await;
        }
    }
}

/// Returns what inhibits a run.
fn scope(run: Run<'_>) -> InhibitScope {
    match run.request.selection {
        Selection::Rule(_) => InhibitScope::Policies,
        Selection::Filters(_)
        | Selection::Named(_)
        | Selection::Project(_)
        | Selection::Parts(_) => InhibitScope::All,
    }
}

/// Returns the labels of an inhibitor's lease.
fn labels(
    request: &InhibitRequest,
    presence: &Presence,
    began: Timestamp,
    now: Timestamp,
) -> BTreeMap<String, String> {
    let mut labels = presence.lease_labels(now, request.lifetime);
    let uid = rustix::process::getuid().as_raw();
    let ours = [
        (STARTED, Some(lease::text(began))),
        (INHIBITS, Some(request.what.word().to_owned())),
        (COMMAND, Some(printable(&request.command))),
        (PID, Some(std::process::id().to_string())),
        (UID, Some(uid.to_string())),
        (WHY, request.why.as_deref().map(printable)),
    ];
    let ours = ours.into_iter();
    labels.extend(ours.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    labels
}

/// Reads the inhibitor of a lease, which another program may have created.
fn inhibitor(namespace: Namespace, lease: &Lease) -> Inhibitor {
    let label = |key| lease.labels.get(key).map(|text| printable(text));
    Inhibitor {
        what: InhibitScope::of_label(&label(INHIBITS).unwrap_or_default()),
        command: label(COMMAND).unwrap_or_else(|| lease.id.clone()),
        pid: label(PID).and_then(|pid| pid.parse().ok()),
        uid: label(UID).and_then(|uid| uid.parse().ok()),
        why: label(WHY).filter(|why| !why.is_empty()),
        since: lease::started(lease).or(lease.created),
        until: lease.expires,
        namespace,
        lease: lease.id.clone(),
    }
}

/// Returns text for one line of a terminal, shortened to what a label can have.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for letter in text
        .chars()
        .map(|letter| if is_printable(letter) { letter } else { ' ' })
    {
        if printable.len() + letter.len_utf8() > InhibitRequest::MAX_TEXT {
            break;
        }
        printable.push(letter);
    }
    printable
}

#[cfg(test)]
mod tests {
    use reclaim_fake::Fake;
    use reclaim_store::{Clock, Containerd};

    use super::*;
    use crate::PruneRequest;

    fn request(what: InhibitScope) -> InhibitRequest {
        InhibitRequest {
            what,
            command: "make".to_owned(),
            why: Some("a build".to_owned()),
            namespace: "default".parse().unwrap(),
            lifetime: Duration::from_secs(300),
        }
    }

    fn with_namespaces(names: &[&str]) -> (Fake, Engine) {
        let fake = Fake::new("2.1.9");
        fake.change(|state| {
            for name in names {
                state.namespace(name);
            }
        });
        let engine = Engine::new(Containerd::from_channel(fake.channel()));
        (fake, engine)
    }

    #[tokio::test]
    async fn lives_in_an_existing_namespace_and_is_one_during_a_renewal() {
        let (_fake, engine) = with_namespaces(&["moby"]);
        let mut inhibition = engine
            .inhibit(request(InhibitScope::Policies))
            .await
            .unwrap();
        assert!(inhibition.is_held());
        let [found] = &engine.inhibitors().await.unwrap()[..] else {
            panic!("there is one inhibitor")
        };
        assert_eq!(found.namespace.as_str(), "moby");
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(found.why.as_deref(), Some("a build"));
        // The successor of a renewal whose predecessor could not be deleted.
        inhibition.create_in(&found.namespace).await.unwrap();
        assert_eq!(inhibition.leases.len(), 2);
        assert_eq!(engine.inhibitors().await.unwrap().len(), 1);
        inhibition.renew().await.unwrap();
        assert_eq!(inhibition.leases.len(), 1);
        let namespaces = engine.store.namespaces().await.unwrap();
        assert_eq!(namespaces.len(), 1, "no namespace is created");
        inhibition.end().await;
        assert_eq!(engine.inhibitors().await.unwrap(), []);
    }

    #[tokio::test]
    async fn without_a_namespace_there_is_nothing_to_inhibit_yet() {
        let (fake, engine) = with_namespaces(&[]);
        let mut inhibition = engine.inhibit(request(InhibitScope::All)).await.unwrap();
        assert!(!inhibition.is_held() && inhibition.is_due());
        assert_eq!(engine.store.namespaces().await.unwrap(), []);
        fake.change(|state| {
            state.namespace("k8s.io");
        });
        inhibition.renew().await.unwrap();
        assert!(inhibition.is_held() && !inhibition.is_due());
        inhibition.end().await;
    }

    /// Renewals outlast the lifetime of a lease; without them it ends after one.
    #[tokio::test(start_paused = true)]
    async fn lasts_as_long_as_it_is_renewed() {
        let (_fake, engine) = with_namespaces(&["default"]);
        let (start, boot) = (reclaim_store::now(), tokio::time::Instant::now());
        let clock = Clock::new(move || lease::expiry(start, boot.elapsed()));
        let engine = Engine::new(engine.store.clone().with_clock(clock));
        let mut inhibition = engine.inhibit(request(InhibitScope::All)).await.unwrap();
        let hour = Duration::from_secs(3600);
        tokio::time::timeout(hour, inhibition.keep())
            .await
            .unwrap_err();
        assert!((30..40).contains(&inhibition.tries), "{inhibition:?}");
        assert!(inhibition.is_held());
        assert_eq!(inhibition.leases.len(), 1);
        let [found] = &engine.inhibitors().await.unwrap()[..] else {
            panic!("there is one inhibitor")
        };
        // In whole seconds, as in the label.
        assert_eq!(found.since.unwrap().as_second(), start.as_second());
        // The lease is not renewed if the process hangs.
        tokio::time::advance(InhibitRequest::LIFETIME).await;
        assert!(!inhibition.is_held());
        assert_eq!(engine.inhibitors().await.unwrap(), []);
        inhibition.renew().await.unwrap();
        assert_eq!(engine.inhibitors().await.unwrap().len(), 1);
        // A clock that was set back must not make the lease last for years.
        inhibition.made = Some(Timestamp::MAX);
        assert!(inhibition.is_due());
        // Other processes can prove that the process is over.
        drop(inhibition);
        assert_eq!(engine.inhibitors().await.unwrap(), []);
    }

    #[tokio::test]
    async fn only_the_scope_all_inhibits_prunes_and_no_scope_a_preview() {
        let (_fake, engine) = with_namespaces(&["default"]);
        let prune = PruneRequest::unused("default".parse().unwrap());
        for (what, is_refused) in [(InhibitScope::Policies, false), (InhibitScope::All, true)] {
            let inhibition = engine.inhibit(request(what)).await.unwrap();
            let policy = engine.check_inhibitors(InhibitScope::Policies).await;
            assert!(matches!(policy, Err(RunError::Inhibited(_))));
            let options = crate::RunOptions::default();
            let controls = crate::Controls {
                options: &options,
                progress: &crate::no_progress,
                cancel: &crate::CancellationToken::new(),
            };
            let pruned = engine.prune(&prune, None, controls).await;
            assert_eq!(matches!(pruned, Err(RunError::Inhibited(_))), is_refused);
            let preview = engine.preview(&prune, &crate::no_progress).await;
            assert!(preview.is_ok());
            inhibition.end().await;
        }
    }

    #[test]
    fn text_of_labels_is_one_line_of_limited_length() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(printable(&"ä".repeat(900)).len(), InhibitRequest::MAX_TEXT);
    }
}
