//! What `reclaim image restore` fetched.

use reclaim_model::{HumanSize, Mode, Restores};

use super::{Text, Truncation, count};

/// Renders the images that have layers again, or in a dry run what would be fetched.
pub(crate) fn restores(results: &Restores, trunc: Truncation) -> Text {
    let (restored, fetched) = match results.mode {
        Mode::DryRun => ("Would restore", "Would fetch"),
        Mode::Apply => ("Restored", "Fetched"),
    };
    let mut text = Text::default();
    let mut total = 0_u64;
    for image in results.images.iter().filter(|image| image.is_change()) {
        let blobs = count(image.fetched.len(), "blob");
        let bytes = HumanSize(image.fetched_bytes);
        text.line(format_args!(
            "{restored}: {} ({blobs}, {bytes})",
            image.name
        ));
        for content in &image.fetched {
            let digest = content.digest.to_string();
            let (digest, bytes) = (trunc.text(&digest), HumanSize(content.bytes));
            text.line(format_args!("{fetched}: {digest} {bytes}"));
        }
        total = total.saturating_add(image.fetched_bytes);
    }
    text.line(format_args!("{fetched} in total: {}", HumanSize(total)));
    if results.mode == Mode::DryRun {
        text.line("nothing was fetched (dry run)");
    }
    text
}
