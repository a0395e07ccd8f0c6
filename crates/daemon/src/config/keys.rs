//! Every key of the file: what it takes, what it is without, and what it means. The schema, the
//! manual (`docs/configuration.md`) and the tests are made from this list.

use Kind::{Bool, Choice, Integer, List, Text};

/// What a key takes.
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
    /// As it would be written; empty if the key is not set unless it is.
    pub(crate) default: &'static str,
    /// What is accepted, in words.
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

/// All keys, section by section. Those of `policy` are of each `[[policy]]`.
pub(crate) const KEYS: &[Key] = keys! {
    "containerd": {
        "address" Text, "", "a path, or unix:// and a path",
            "Where containerd listens. --address and CONTAINERD_ADDRESS win.";
        "namespaces" List, r#"["default"]"#, "names of namespaces",
            "In which policies may remove images. All namespaces are read.";
        "config" Text, r#""/etc/containerd/config.toml""#, "a path",
            "containerd's own configuration, from which the sandbox image of pods is read. It may be missing.";
    }
    "kubernetes": {
        "kubelet_config" Text, r#""/var/lib/kubelet/config.yaml""#, "a path",
            "The kubelet's own configuration, for warnings where it and a policy get into each other's way. It may be missing.";
    }
    "state": {
        "directory" Text, r#""/var/lib/reclaim""#, "a path",
            "Where the daemon keeps what it must know after a restart.";
    }
    "metrics": {
        "listen" Text, "", "an IP address and a port",
            "Where /metrics, /ready and /live are served. Nowhere unless it is set.";
    }
    "headroom": {
        "size" SIZE_OR_AUTO, r#""auto""#, "auto or a size; 0 is none",
            "How large a file to keep for the day on which the filesystem is full: it is given up then, so that containerd can write what removing images takes. auto is 1% of what is left, from 4 MiB to 64 MiB, and none where that is less or the file would be on another filesystem than content and snapshots.";
        "file" Text, "headroom in the state directory", "a path",
            "Where that file is. It has to be on the filesystem of containerd's root.";
    }
    "protect": {
        "references" List, "[]", "globs, or ~ and a regular expression",
            "Images that no policy removes, by name: as containerd has it or as Docker shows it.";
        "digests" List, "[]", "digests",
            "Images that no policy removes, by their target.";
        "labels" List, "[]", "KEY or KEY=VALUE",
            "Images that no policy removes, by a label of the record or of the image's configuration.";
        "namespaces" List, "[]", "names of namespaces",
            "Namespaces in which no policy removes anything.";
        "infrastructure" Bool, "true", "true or false",
            "Whether what a node itself needs is protected: pause images, kube-proxy, coredns, Reclaim, and the sandbox image of containerd.config.";
    }
    "fleet": {
        "turns" Integer(0, 1_000), "0", "0 to 1000; 0 is no turns",
            "How many nodes of a Kubernetes cluster may remove images at once. The others wait for their turn, by coordination Leases. All nodes should have the same number.";
        "namespace" Text, "the pod's", "a name of a namespace of Kubernetes",
            "Where the Leases are.";
        "lease_name" Text, r#""reclaim-turn""#, "lower-case letters, digits and inner -, up to 200",
            "What the Leases are called: this, -, and a number.";
        "node" Text, "NODE_NAME, or the host's name", "a name",
            "What this node is called. No two may be called the same.";
        "lease_duration" DURATION, r#""1m""#, "15s to 1h",
            "For how long a node that died keeps its turn.";
    }
    "policy": {
        "name" Text, "", "1 to 63 letters, digits, - and _",
            "What the policy is called in reasons, metrics and on the command line. It has to be set.";
        "enabled" Bool, "true", "true or false",
            "Whether the policy is there at all.";
        "namespaces" List, "containerd.namespaces", "some of containerd.namespaces",
            "Where it removes, in this order.";
        "all" Bool, "false", "true or false",
            "Whether every unused image may go, or only dangling ones.";
        "filters" List, "[]", "label=, label!=, until=, reference=, digest=, larger-than=, unused-for=",
            "What an image must match to go. Those of one key `reference` or `digest` are alternatives, all others must hold together.";
        "cron" Text, "", "minute hour day-of-month month day-of-week",
            "When the policy is looked at. Missed times are not made up. Without cron and interval it runs only by `reclaim maintain`.";
        "time_zone" Text, r#""UTC""#, "a name of the time zone database",
            "The zone of cron.";
        "interval" DURATION, "", "1s to 720h",
            "How long after the last look the policy is looked at again.";
        "jitter" DURATION, r#""0s""#, "0s to interval",
            "By how much each look may be later, at random, so that nodes do not act in step.";
        "startup_delay" DURATION, r#""0s""#, "0s to 720h",
            "How long after the start of the daemon the policy is looked at for the first time.";
        "high" MARK, "", "1% to 99% used, or a size that must be left",
            "Begin only above this, on any filesystem that holds content or snapshots. Without a mark or max_used every run removes all that may go.";
        "low" MARK, "", "below high",
            "Stop as soon as this is reached. It has to be set with high.";
        "inodes_high" MARK, "", "1% to 99% used, or a number that must be left",
            "As high, for inodes.";
        "inodes_low" MARK, "", "below inodes_high",
            "As low, for inodes.";
        "max_used" SIZE, r#""0B""#, "a size; 0 is no limit",
            "Begin also when content and snapshots of all namespaces occupy more than this, and stop at it.";
        "reserved" SIZE, r#""0B""#, "a size below max_used",
            "What content and snapshots may keep occupying, whatever the pressure.";
        "min_age" DURATION, r#""2m""#, "0s to 87600h",
            "Only images that were pulled, and last used, longer ago than this.";
        "unused_for" DURATION, r#""0s""#, "0s to 87600h",
            "Only images that nobody has used for so long.";
        "max_unused" DURATION, r#""0s""#, "more than min_age, up to 87600h; 0 is never",
            "Images that nobody has used for so long go without any pressure.";
        "keep_newest" Integer(0, 1_000), "0", "0 to 1000",
            "So many images of each repository stay: those made last.";
        "last_copies" Bool, "false", "true or false",
            "Whether images may go that no registry is known to have: built here or imported, without a label that says where they are from.";
        "max_images" Integer(0, 1_000_000), "0", "0 to 1000000; 0 is no cap",
            "How many images one run removes at most.";
        "max_bytes" SIZE, r#""0B""#, "a size; 0 is no cap",
            "How many bytes one run frees at most.";
        "max_deletes_per_second" Integer(0, 10_000), "0", "0 to 10000; 0 is as fast as it goes",
            "How many records are removed in a second at most.";
        "max_io_pressure" Integer(0, 99), "0", "0 to 99; 0 is not looked at",
            "Put off, for ten minutes at most, while tasks have waited for I/O in more than so many hundredths of the last ten seconds.";
        "undo_window" DURATION, r#""0s""#, "0s to 720h",
            "How long what was removed is held, so that `reclaim undo` can restore it. Under pressure holds are released first.";
        "unpin_build_history" Bool, "false", "true or false",
            "Whether unpacked layers go that nothing but build history holds, as with `image prune --unpin-build-history`.";
        "dry_run" Bool, "false", "true or false",
            "Only say what would go.";
    }
};
