//! The real `reclaim` binary on a real containerd.
//!
//! Every test starts its own containerd: the one on `PATH`, or `RECLAIM_TEST_CONTAINERD=/path`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod broken;
mod browse;
mod census;
mod check;
mod colours;
mod conditions;
mod config_init;
mod cost;
mod credentials;
mod cri;
mod dependents;
mod df;
mod directories;
mod earlier_version;
mod failures;
mod filtered;
mod formats;
mod freeable;
mod history;
mod holds;
mod image_rm;
mod inhibit;
mod last_copies;
mod leased;
mod left;
mod lists;
mod manual;
mod namespaces;
mod ncdu;
mod node;
mod output;
mod page;
mod pin;
mod pods;
mod project;
mod protected;
mod protocol;
mod question;
mod rig;
mod same_layers;
mod sandbox;
mod slim;
mod sorted;
mod target;
mod transcript;
mod ui;
mod untrusted;
mod why;
