#![doc = include_str!("../README.md")]
//!
//! # Input and output
//!
//! The planner takes what was seen ([`Inventory`]) and what is requested ([`ResolvedRequest`]) and
//! returns a [`Decision`]. The same arguments give the same decision, byte for byte, in whatever order
//! the store listed its objects.
//!
//! # How a record survives
//!
//! The planner looks for a reason to keep, never for a reason to remove. The rules of `select`
//! run in the order of [`KeepReason`]; the first that matches is reported. A record that nothing
//! keeps is a candidate.
//!
//! # What the plan may assume
//!
//! Nothing about now. The inventory was stale when it arrived: a pull may have begun, a tag
//! may have moved. So each [`Step`] carries the record as it was evaluated, and the execution
//! refuses it when the record has changed. What could not be seen keeps everything that it could
//! be hiding.
//!
//! # What this crate never does
//!
//! It names image records, and references that blobs lose. Blobs and snapshots are freed by
//! containerd's own collector; this crate computes which ones by the collector's own rules.
//!
//! # The modules, each of which uses those above it
//!
//! ```text
//! finder, parallel            lookups and threads for large hosts
//! graph, holdings, mark       what the collector follows, from where, and what it reaches
//! contents, targets, names    what images are
//! usage, facts                what uses them; all that is known of a namespace
//! things, uncertainty, cuts, freed
//!                             what removing them, and cutting references, frees
//! history, roles, leased      what build history and leases hold
//! last_copy                   whether they can be pulled again
//! protected, select, dependents, named, project, rule, selection
//!                             which images go, by the kind of request
//! slim                        which parts of images go
//! decision                    the plan, except the sizes of snapshots
//! limit, eviction             a plan cut down to what is needed
//! disk_usage, footprint, image_details, image_layers, project_usage, why, …
//!                             answers to questions without a plan
//! check                       the plan's linter, which uses none of the above
//! ```
//!
//! [`Inventory`]: reclaim_model::Inventory
//! [`KeepReason`]: reclaim_model::KeepReason
//! [`ResolvedRequest`]: reclaim_model::ResolvedRequest
//! [`Step`]: reclaim_model::Step

mod after;
mod check;
mod contents;
mod cuts;
mod decision;
mod dependents;
mod disk_usage;
mod eviction;
mod facts;
mod finder;
mod footprint;
mod freed;
mod graph;
mod history;
mod holdings;
mod image_details;
mod image_layers;
mod image_mounts;
mod in_use;
mod last_copy;
mod leased;
mod left;
mod limit;
mod mark;
mod named;
mod names;
mod parallel;
mod project;
mod project_usage;
mod protected;
mod restore;
mod roles;
mod rows;
mod rule;
mod select;
mod selection;
mod sizes;
mod slim;
mod targets;
mod things;
mod uncertainty;
mod usage;
mod weights;
mod why;

pub use after::after;
pub use check::{InvalidPlan, check};
pub use decision::{Decision, decide, decide_again, no_longer_cut};
pub use dependents::keep_steps_for_dependents;
pub use disk_usage::{UsageInput, disk_usage, shortfall, store_map};
pub use eviction::{EvictionCandidate, Limited, eviction_order, limit_by_use};
pub use footprint::{Footprint, footprints};
pub use image_details::{
    ConfigDetails, DetailedImages, ImageDetails, ManifestDetails, detailed_images,
};
pub use image_layers::image_layers;
pub use in_use::targets_in_use;
pub use left::left;
pub use limit::{TooLittle, limit};
pub use named::pin_group;
pub use project::{Chosen, Existence, Listed, choose};
pub use project_usage::projects;
pub use restore::{AbsentManifest, Lacking, PresentManifest, is_platform, lacking};
pub use rows::rows;
pub use sizes::{ImageObjects, image_objects};
pub use why::{NotFound, Question, why};
