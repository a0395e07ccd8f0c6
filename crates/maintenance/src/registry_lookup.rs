//! Asks registries for images that a policy would remove, if they were not last copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use reclaim_engine::{RunError, blocking, no_progress};
use reclaim_model::{
    KeepReason, Namespace, Plan, PolicyPart, Reference, RegistryAnswer, RegistryAnswers,
    RegistryImage, RuleImages,
};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::policy::Policy;
use crate::progress::request;
use crate::run::Maintenance;

/// How many images registries are asked for in one run.
pub(crate) const MAX_IMAGES: usize = 32;

/// How long one run asks.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(60);

/// How many images registries are asked for at once.
const AT_ONCE: usize = 4;

/// How many plans are made for a namespace: each answer that proves nothing may put other images
/// in place of that one.
const MAX_PLANS: usize = 3;

/// What registries answered in one run of a policy.
#[derive(Debug, Default)]
pub(super) struct RegistryLookup {
    answers: RegistryAnswers,
    /// When it stops asking; `None` before the first question.
    deadline: Option<Instant>,
}

impl Maintenance {
    /// Adds to the images of a policy what registries answer about those that it would remove next
    /// if they were not last copies. Each image is asked for once in a run, the least recently used
    /// first.
    pub(super) async fn ask_registries(
        &self,
        policy: &Policy,
        namespace: &Namespace,
        images: &mut RuleImages,
        lookup: &mut RegistryLookup,
    ) -> Result<(), RunError> {
        // What is freed of these needs no registry to have it again.
        let needs_none = matches!(
            images.part,
            PolicyPart::Snapshots | PolicyPart::BuildHistory
        );
        if !policy.ask_registry || policy.rule.last_copies || needs_none {
            return Ok(());
        }
        images.registries = Arc::new(lookup.answers.clone());
        let plan = self.plan(namespace, images).await?;
        let last_copies = last_copies(&plan);
        for _ in 0..MAX_PLANS {
            let unanswered: BTreeSet<&RegistryImage> = last_copies
                .values()
                .filter(|image| !lookup.answers.contains_key(image))
                .collect();
            if unanswered.is_empty() {
                break;
            }
            // Only what goes with the best answers is asked for.
            let mut hoped = lookup.answers.clone();
            let best = |image: &RegistryImage| (image.clone(), RegistryAnswer::Has);
            hoped.extend(unanswered.iter().map(|image| best(image)));
            images.registries = Arc::new(hoped);
            let plan = self.plan(namespace, images).await?;
            let steps = plan.steps.iter().map(|step| &step.image.name);
            let names = steps.chain(plan.slimmed.iter().map(|slimmed| &slimmed.name));
            let going = names.filter_map(|name| last_copies.get(name));
            let going: BTreeSet<&RegistryImage> =
                going.filter(|image| unanswered.contains(image)).collect();
            if going.is_empty() {
                break;
            }
            let mut questions: Vec<RegistryImage> = going.into_iter().cloned().collect();
            questions.sort_by_key(|image| (last_used(images, image), image.clone()));
            let asking = self.ask(questions, lookup);
            self.engine.heartbeat().while_waiting(asking).await;
        }
        images.registries = Arc::new(lookup.answers.clone());
        Ok(())
    }

    /// Asks for images, within the limits of the run. What is not asked for gets an answer, too.
    async fn ask(&self, mut questions: Vec<RegistryImage>, lookup: &mut RegistryLookup) {
        let deadline = *lookup
            .deadline
            .get_or_insert_with(|| Instant::now() + MAX_TIME);
        let left = MAX_IMAGES.saturating_sub(lookup.answers.len());
        let beyond = questions.split_off(left.min(questions.len()));
        let asking = questions.into_iter().map(|image| async move {
            let asked = timeout_at(deadline, self.registries.ask(&image)).await;
            let answer = asked.unwrap_or_else(|_| {
                RegistryAnswer::Unknown(format!("not asked: a run asks for {MAX_TIME:?} at most"))
            });
            debug!(?image, ?answer, "asked a registry");
            (image, answer)
        });
        let answers: Vec<_> = stream::iter(asking)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        lookup.answers.extend(answers);
        let why = format!("not asked: a run asks for {MAX_IMAGES} images at most");
        let unasked = |image| (image, RegistryAnswer::Unknown(why.clone()));
        lookup.answers.extend(beyond.into_iter().map(unasked));
    }

    async fn plan(&self, namespace: &Namespace, images: &RuleImages) -> Result<Plan, RunError> {
        let request = request(namespace, images.clone());
        let preview = Box::pin(self.engine.preview(&request, &no_progress)).await?;
        // An inventory takes long to drop.
        Ok(blocking(move || preview.plan).await)
    }
}

/// Returns the last copies that a plan keeps, by the names of their records.
fn last_copies(plan: &Plan) -> BTreeMap<String, RegistryImage> {
    let kept = plan.kept.iter();
    let kept = kept.filter(|image| image.reason == KeepReason::LastCopy);
    let named = kept.filter_map(|image| {
        let name = Reference::parse_normalized(&image.name).ok()?;
        Some((image.name.clone(), RegistryImage::new(&name, &image.target)))
    });
    named.collect()
}

/// When an image was last used; `None`, which is first, if that is unknown.
fn last_used(images: &RuleImages, image: &RegistryImage) -> Option<Timestamp> {
    let known = images.uses.targets.get(&image.digest);
    known.map(|known| known.last_used)
}
