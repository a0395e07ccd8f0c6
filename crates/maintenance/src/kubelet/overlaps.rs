//! Warnings where a policy and the kubelet interfere.
//!
//! Both may remove the same images at any time, and neither breaks a pod by that. But the kubelet
//! goes by its own rules, and the one that begins later may find nothing left to remove.

use reclaim_engine::KUBELET_NAMESPACE;
use reclaim_model::{Watermark, Watermarks};

use super::{Available, KubeletThresholds};
use crate::policy::Policy;

/// Returns warnings about settings of a policy that interfere with the kubelet's.
pub fn kubelet_overlaps(policy: &Policy, kubelet: &KubeletThresholds) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(marks) = policy.pressure.bytes {
        warnings.extend(collection(marks, kubelet));
        warnings.extend(eviction(marks, kubelet));
    }
    let mut namespaces = policy.namespaces.iter();
    if namespaces.any(|it| it.as_str() == KUBELET_NAMESPACE) {
        warnings.extend(ages(policy, kubelet));
    }
    warnings
}

/// Compares with the kubelet's image collection, which begins at a used percentage.
fn collection(marks: Watermarks, kubelet: &KubeletThresholds) -> Option<String> {
    let at = kubelet.high;
    if at >= 100 {
        // The kubelet never collects under pressure.
        return None;
    }
    let key = "imageGCHighThresholdPercent";
    match marks.high() {
        Watermark::Used(high) if high > at => Some(format!(
            "high `{high}%` is above the kubelet's {key}, {at}: the kubelet removes images first, \
             without this policy's rules; set high below {at}%"
        )),
        Watermark::Used(high) if high == at => Some(format!(
            "high `{high}%` is the kubelet's {key}: both begin at once, and the kubelet ignores \
             this policy's rules; set high below {at}%"
        )),
        Watermark::Used(_) => None,
        Watermark::Left(_) => Some(format!(
            "high `{}` is free space, and the kubelet's {key}, {at}, a used percentage: which comes \
             first depends on the size of the filesystem",
            marks.high()
        )),
    }
}

/// Compares with the kubelet's eviction of pods, which begins at what is available.
fn eviction(marks: Watermarks, kubelet: &KubeletThresholds) -> Option<String> {
    let signals = [
        ("imagefs.available", kubelet.imagefs),
        ("nodefs.available", kubelet.nodefs),
    ];
    signals.into_iter().find_map(|(signal, threshold)| {
        let threshold = threshold?;
        let is_late = match (marks.high(), threshold) {
            (Watermark::Used(high), Available::Part(part)) => u32::from(100 - high) * 100 <= part,
            (Watermark::Left(left), Available::Bytes(bytes)) => left <= bytes,
            // They cannot be compared without the size of the filesystem.
            (Watermark::Used(_), Available::Bytes(_))
            | (Watermark::Left(_), Available::Part(_)) => false,
        };
        is_late.then(|| {
            format!(
                "high `{}` leaves no more than the kubelet's evictionHard {signal}, {threshold}: \
                 pods are evicted before this policy begins, or as it does",
                marks.high()
            )
        })
    })
}

/// Compares with the kubelet's ages of images, which begin when it first saw or last used them.
fn ages(policy: &Policy, kubelet: &KubeletThresholds) -> Vec<String> {
    let mut warnings = Vec::new();
    if policy.rule.min_age < kubelet.min_age {
        warnings.push(format!(
            "min_age `{:?}` is below the kubelet's imageMinimumGCAge, {:?}: an image may go that \
             was pulled for a pod which has not begun yet",
            policy.rule.min_age, kubelet.min_age
        ));
    }
    let Some(max_age) = kubelet.max_age else {
        return warnings;
    };
    let idle = policy
        .rule
        .unused_for
        .max(policy.rule.filters.images.unused_for);
    let waits = [
        ("unused_for", Some(idle)),
        ("max_unused", policy.max_unused),
    ];
    for (key, wait) in waits {
        if let Some(wait) = wait.filter(|it| *it >= max_age) {
            warnings.push(format!(
                "{key} `{wait:?}` is not below the kubelet's imageMaximumGCAge, {max_age:?}: the \
                 kubelet removes images of k8s.io before this policy may"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reclaim_model::RuleFilters;

    use super::*;

    fn policy(high: &str, low: &str) -> Policy {
        let marks = Watermarks::new(high.parse().unwrap(), low.parse().unwrap());
        let mut policy = Policy::of_name("p".parse().unwrap());
        policy.rule.filters = RuleFilters::parse(&[], true).unwrap();
        policy.namespaces = vec!["k8s.io".parse().unwrap()];
        policy.pressure.bytes = Some(marks.unwrap());
        policy
    }

    /// Expects exactly these warnings, each by a part of its text.
    #[track_caller]
    fn warns(policy: &Policy, kubelet: &KubeletThresholds, texts: &[&str]) {
        let warnings = kubelet_overlaps(policy, kubelet);
        assert_eq!(warnings.len(), texts.len(), "{warnings:#?}");
        for (warning, text) in warnings.iter().zip(texts) {
            assert!(warning.contains(text), "{warning}: {text}");
        }
    }

    #[test]
    fn below_the_kubelets_thresholds_there_is_no_warning() {
        let kubelet = KubeletThresholds::default();
        warns(&policy("84%", "75%"), &kubelet, &[]);
        warns(&policy("80%", "70%"), &kubelet, &[]);
    }

    #[test]
    fn at_and_above_the_kubelets_thresholds_there_are_warnings() {
        let kubelet = KubeletThresholds::default();
        let race = ["both begin at once", "pods are evicted"];
        warns(&policy("85%", "80%"), &kubelet, &race);
        let late = ["set high below 85%", "imagefs.available, 15%"];
        warns(&policy("90%", "80%"), &kubelet, &late);
    }

    #[test]
    fn a_kubelet_that_never_collects_still_evicts() {
        let kubelet = KubeletThresholds {
            high: 100,
            ..KubeletThresholds::default()
        };
        warns(&policy("84%", "75%"), &kubelet, &[]);
        warns(&policy("86%", "75%"), &kubelet, &["imagefs.available"]);
        let other = KubeletThresholds {
            imagefs: None,
            ..kubelet
        };
        warns(&policy("89%", "75%"), &other, &[]);
        warns(&policy("90%", "75%"), &other, &["nodefs.available, 10%"]);
    }

    #[test]
    fn sizes_are_compared_with_sizes_only() {
        let kubelet = KubeletThresholds {
            imagefs: Some(Available::Bytes(10_000_000_000)),
            nodefs: None,
            ..KubeletThresholds::default()
        };
        let depends = "depends on the size";
        warns(&policy("11GB", "20GB"), &kubelet, &[depends]);
        warns(
            &policy("10GB", "20GB"),
            &kubelet,
            &[depends, "10000000000 bytes"],
        );
        warns(&policy("84%", "75%"), &kubelet, &[]);
    }

    #[test]
    fn ages_are_compared_only_in_the_kubelets_namespace() {
        let kubelet = KubeletThresholds {
            max_age: Some(Duration::from_secs(7200)),
            ..KubeletThresholds::default()
        };
        let mut policy = policy("84%", "75%");
        warns(&policy, &kubelet, &[]);
        policy.rule.min_age = Duration::from_secs(119);
        policy.rule.unused_for = Duration::from_secs(7200);
        policy.max_unused = Some(Duration::from_secs(7201));
        let texts = ["min_age `119s`", "unused_for `7200s`", "max_unused `7201s`"];
        warns(&policy, &kubelet, &texts);
        policy.namespaces = vec!["moby".parse().unwrap()];
        warns(&policy, &kubelet, &[]);
    }
}
