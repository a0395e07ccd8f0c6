//! Every key of the configuration file: accepted values, default and meaning. The schema is made
//! from this list, and tests compare the manual (`docs/configuration.md`) with it.

use Kind::{Bool, Choice, Integer, List, Text};

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    Integer(u32, u32),
    /// A list of texts.
    List,
    /// A text of one of these forms, as a regular expression.
    Choice(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it is written in the file; empty if the key has no default.
    pub(crate) default: &'static str,
    /// What is accepted, as text.
    pub(crate) accepts: &'static str,
    pub(crate) meaning: &'static str,
}

const DURATION: Kind = Choice(r"^([0-9.]+(ns|us|ms|s|m|h))+$|^0$");
const SIZE: Kind = Choice(r"^[0-9]+(\.[0-9]+)?([kKmMgGtTpP]?(i?[bB])?)$");
const SIZE_OR_AUTO: Kind = Choice(r"^(auto|[0-9]+(\.[0-9]+)?([kKmMgGtTpP]?(i?[bB])?))$");
const MARK: Kind = Choice(r"^([1-9][0-9]?%|[0-9]+(\.[0-9]+)?[kKmMgGtTpP]?(i?[bB])?)$");

macro_rules! keys {
    ($($section:literal: { $($name:literal $kind:expr, $default:literal, $accepts:literal, $meaning:literal;)+ })+) => {
        &[$($(Key {
            section: $section,
            name: $name,
            kind: $kind,
            default: $default,
            accepts: $accepts,
            meaning: $meaning,
        },)+)+]
    };
}

/// All keys, section by section. Those of `policy` belong to each `[[policy]]`.
pub(crate) const KEYS: &[Key] = keys! {
    "containerd": {
        "address" Text, "", "a path, or unix:// and a path",
            "Where containerd listens. --address and CONTAINERD_ADDRESS take precedence.";
        "namespaces" List, r#"["default"]"#, "names of namespaces",
            "Namespaces in which policies may remove images. All namespaces are read.";
        "config" Text, r#""/etc/containerd/config.toml""#, "a path",
            "containerd's own configuration, which names the sandbox image of pods. It may be missing.";
    }
    "kubernetes": {
        "kubelet_config" Text, r#""/var/lib/kubelet/config.yaml""#, "a path",
            "The kubelet's own configuration, read to warn where it and a policy conflict. It may be missing.";
    }
    "state": {
        "directory" Text, r#""/var/lib/reclaim""#, "a path",
            "Where the daemon keeps the state that it needs after a restart.";
    }
    "metrics": {
        "listen" Text, "", "an IP address and a port",
            "Where /metrics, /ready and /live are served. Not served unless set.";
    }
    "headroom": {
        "size" SIZE_OR_AUTO, r#""auto""#, "auto or a size; 0 is none",
            "Size of a reserve file, which a policy deletes on a full filesystem so that containerd has room for the writes that removing images takes. auto is 1% of the free space, from 4 MiB to 64 MiB; no file is made if that is less, or if the file would be on another filesystem than content and snapshots.";
        "file" Text, "headroom in the state directory", "a path",
            "Path of the reserve file. It must be on the filesystem of containerd's root.";
    }
    "protect": {
        "references" List, "[]", "globs, or ~ and a regular expression",
            "Images that no policy removes, by name as containerd stores it or as Docker shows it.";
        "digests" List, "[]", "digests",
            "Images that no policy removes, by target digest.";
        "labels" List, "[]", "KEY or KEY=VALUE",
            "Images that no policy removes, by a label of the record or of the image config.";
        "namespaces" List, "[]", "names of namespaces",
            "Namespaces in which no policy removes anything.";
        "infrastructure" Bool, "true", "true or false",
            "Whether to protect the images that a node needs: pause, kube-proxy, coredns, Reclaim, and the sandbox image of containerd.config.";
    }
    "fleet": {
        "turns" Integer(0, 1_000), "0", "0 to 1000; 0 is off",
            "How many nodes of a Kubernetes cluster may remove images at once. Other nodes wait for a coordination Lease. Use the same number on all nodes.";
        "namespace" Text, "the pod's", "a Kubernetes namespace",
            "Namespace of the Leases.";
        "lease_name" Text, r#""reclaim-turn""#, "lower-case letters, digits and inner -, up to 200",
            "Name of the Leases, to which - and a number are added.";
        "node" Text, "NODE_NAME, or the host's name", "a name",
            "Name of this node. Each node needs its own.";
        "lease_duration" DURATION, r#""1m""#, "15s to 1h",
            "How long a node that died keeps its Lease.";
    }
    "policy": {
        "name" Text, "", "1 to 63 letters, digits, - and _",
            "Name of the policy in reasons, metrics and commands. Required.";
        "enabled" Bool, "true", "true or false",
            "Whether the policy is active.";
        "namespaces" List, "containerd.namespaces", "some of containerd.namespaces",
            "Namespaces in which the policy removes images, in this order.";
        "all" Bool, "false", "true or false",
            "true removes all unused images, false only dangling ones.";
        "filters" List, "[]", "label=, label!=, until=, reference=, digest=, larger-than=, unused-for=",
            "What an image must match to be removed. Several `reference` or several `digest` filters are alternatives; all others must hold together.";
        "cron" Text, "", "minute hour day-of-month month day-of-week",
            "When the policy is checked. Times missed while the daemon is down are not made up. Without cron and interval the policy runs only on request, by `reclaim maintain --once`.";
        "time_zone" Text, r#""UTC""#, "a name of the time zone database",
            "Time zone of cron.";
        "interval" DURATION, "", "1s to 720h",
            "Time from one check of the policy to the next.";
        "jitter" DURATION, r#""0s""#, "0s to interval",
            "Longest random delay of a check, so that nodes do not act in step.";
        "startup_delay" DURATION, r#""0s""#, "0s to 720h",
            "Time from the start of the daemon to the first check.";
        "high" MARK, "", "1% to 99% used, or a size that must stay free",
            "Start only above this, on any filesystem that holds content or snapshots. Without a watermark or max_used every run removes all candidates.";
        "low" MARK, "", "below high",
            "Stop as soon as this is reached. Required with high.";
        "inodes_high" MARK, "", "1% to 99% used, or a number that must stay free",
            "As high, for inodes.";
        "inodes_low" MARK, "", "below inodes_high",
            "As low, for inodes.";
        "max_used" SIZE, r#""0B""#, "a size; 0 is no limit",
            "Also start when content and snapshots of all namespaces occupy more than this, and stop at it.";
        "reserved" SIZE, r#""0B""#, "a size below max_used",
            "Size that content and snapshots may keep occupying, whatever the pressure.";
        "min_age" DURATION, r#""2m""#, "0s to 87600h",
            "Remove only images that were pulled, and last used, longer ago than this.";
        "unused_for" DURATION, r#""0s""#, "0s to 87600h",
            "Remove only images that were not used for this long.";
        "max_unused" DURATION, r#""0s""#, "more than min_age, up to 87600h; 0 is never",
            "Remove images that were not used for this long even without pressure.";
        "keep_newest" Integer(0, 1_000), "0", "0 to 1000",
            "Number of images that stay in each repository: those pulled or built last.";
        "last_copies" Bool, "false", "true or false",
            "Whether to remove images that no registry is known to have: built here or imported, without a label that names their source.";
        "max_images" Integer(0, 1_000_000), "0", "0 to 1000000; 0 is no limit",
            "Most images that one run removes.";
        "max_bytes" SIZE, r#""0B""#, "a size; 0 is no limit",
            "Most bytes that one run frees.";
        "max_deletes_per_second" Integer(0, 10_000), "0", "0 to 10000; 0 is no limit",
            "Most records that are removed per second.";
        "max_io_pressure" Integer(0, 99), "0", "0 to 99; 0 is off",
            "Percentage of the last ten seconds. While tasks waited for I/O for longer, the run is delayed, by ten minutes at most.";
        "undo_window" DURATION, r#""0s""#, "0s to 720h",
            "How long removed images are held, so that `reclaim undo` can restore them. Under pressure holds are released first.";
        "unpin_build_history" Bool, "false", "true or false",
            "Whether to release unpacked layers that only build history holds, as `image prune --unpin-build-history` does.";
        "dry_run" Bool, "false", "true or false",
            "Only report what would be removed.";
    }
};
