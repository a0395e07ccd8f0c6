//! Image records: names of any kind, several of one target, and some of missing targets.

use super::draft::Draft;
use super::registry::{Artifact, Registry};
use super::{FUTURE, PAST};
use crate::labels::{GC_EXPIRE, Labels, labels};
use crate::random::store::ObjectKind;

/// Adds records of most pulled images. The others are garbage unless another object holds them.
pub(super) fn name(draft: &mut Draft, pulled: &[Artifact]) {
    for artifact in pulled {
        if draft.dice.percent(10) {
            name_as_cri(draft, artifact);
        } else if draft.dice.percent(80) {
            for _ in 0..draft.dice.between(1, 3) {
                let name = random_name(draft, artifact);
                let labels = record_labels(draft);
                record(draft, name, artifact, labels);
            }
        }
    }
}

/// Adds a record of an image that this namespace did not pull. Another namespace may have pulled it.
pub(super) fn name_missing_content(draft: &mut Draft, registry: &Registry) {
    if draft.dice.percent(25) {
        let artifact = draft.dice.pick(&registry.artifacts).clone();
        let name = random_name(draft, &artifact);
        let labels = record_labels(draft);
        record(draft, name, &artifact, labels);
    }
}

/// Adds the three records that the CRI plugin keeps for an image.
fn name_as_cri(draft: &mut Draft, artifact: &Artifact) {
    let mut managed = labels([("io.cri-containerd.image", "managed")]);
    if draft.dice.percent(20) {
        managed.extend(labels([("io.cri-containerd.pinned", "pinned")]));
    }
    let stem = &artifact.stem;
    let mut names = vec![
        format!("docker.io/library/{stem}:cri"),
        format!("docker.io/library/{stem}@{}", artifact.target.digest),
    ];
    let first = artifact.manifests.first();
    names.extend(first.map(|manifest| manifest.config.digest.to_string()));
    for name in names {
        record(draft, name, artifact, managed.clone());
    }
}

fn record(draft: &mut Draft, name: String, artifact: &Artifact, labels: Labels) {
    let is_old = draft.dice.percent(40);
    let object = ObjectKind::Image {
        name,
        target: artifact.target.clone(),
        created: is_old.then(|| PAST.to_owned()),
    };
    draft.add(object, labels);
}

fn random_name(draft: &mut Draft, artifact: &Artifact) -> String {
    let number = draft.number();
    let stem = &artifact.stem;
    let digest = &artifact.target.digest;
    match draft.dice.below(14) {
        0 => format!("moby-dangling@{digest}"),
        1 => ":".to_owned(),
        2 => format!("<none>@{digest}"),
        3 => format!("docker.io/library/{stem}@{digest}"),
        4 => digest.to_string(),
        5 => digest.hex(),
        6 => stem.clone(),
        7 => format!("Weird Name/{stem} #{number}"),
        8 => format!("registry.example:5000/team/{stem}:v{number}"),
        9 => format!("docker.io/library/{stem}:latest"),
        _ => format!("docker.io/library/{stem}:{number}"),
    }
}

fn record_labels(draft: &mut Draft) -> Labels {
    match draft.dice.below(20) {
        0 => labels([("io.cri-containerd.pinned", "pinned")]),
        1 => labels([("io.cri-containerd.image", "managed")]),
        2 | 3 => labels([(GC_EXPIRE, PAST)]),
        4 => labels([(GC_EXPIRE, FUTURE)]),
        5 => labels([(GC_EXPIRE, "soon")]),
        _ => Labels::new(),
    }
}
