//! A page that shows what occupies a containerd: one HTML file that loads nothing.
//!
//! The page is complete without its script, which only adds ways to find images in it. All text of
//! others is escaped when it is written ([`html`]), and a content security policy allows no script and
//! no style except the two in this crate, by their hash.

mod cells;
mod document;
mod html;
mod images;
mod plot;
mod removals;
mod runs;
mod treemap;
mod trial;
mod usage;
mod verdict;

use reclaim_model::{AuditRecord, StoreMap};

pub use plot::{FillLine, FillPlot, PlotMark};
pub use removals::{PlannedImage, PlannedRemoval};
pub use trial::TrialPage;

/// What the page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// The store.
    pub map: &'a StoreMap,
    /// The name of the machine.
    pub host: &'a str,
    /// The changes that are on record, oldest first; `None` if they cannot be read.
    pub records: Option<&'a [AuditRecord]>,
    /// What each policy would remove now, or why that is unknown.
    pub policies: Result<&'a [PlannedRemoval], &'a str>,
    /// How full each filesystem was and will be.
    pub filling: &'a [FillPlot],
}

impl Page<'_> {
    /// Returns the page.
    pub fn html(&self) -> String {
        document::document(self)
    }
}

/// The content security policy of the page, for a server's header.
pub fn security_policy() -> String {
    document::security_policy()
}

#[cfg(test)]
mod tests;
