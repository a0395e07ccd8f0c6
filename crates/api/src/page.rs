//! The page that shows what occupies the disk, as one HTML file.

use std::{env, fs, io};

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use reclaim_engine::{Engine, ProgressSink, RunError, blocking};
use reclaim_page::{Page, security_policy};

mod parts;
mod port;

pub use parts::{PageParts, fill_plots, planned};
pub use port::router;
pub use reclaim_page::{FillLine, FillPlot, PlannedRemoval, PlotMark, TrialPage};

/// Reads containerd and returns the page.
///
/// Cancellation safe: it only reads.
///
/// # Errors
///
/// As [`Engine::store_map`].
pub async fn page(
    engine: &Engine,
    parts: PageParts,
    progress: &ProgressSink<'_>,
) -> Result<String, RunError> {
    let map = engine.store_map(progress).await?;
    let writing = blocking(move || {
        let host = node_name().unwrap_or_else(|_| "this machine".to_owned());
        let page = Page {
            map: &map,
            host: &host,
            records: parts.records.as_deref(),
            policies: parts.policies.as_deref().map_err(String::as_str),
            filling: &parts.filling,
        };
        page.html()
    });
    Ok(writing.await)
}

/// Adds the headers with which a server sends the page: it may load nothing, and nothing may frame it
/// or keep it.
pub(crate) fn page_headers(headers: &mut HeaderMap) {
    let policy = format!("{}; frame-ancestors 'none'", security_policy());
    let policy = HeaderValue::from_str(&policy).expect("the policy is plain text");
    let fixed = HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, fixed("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(CACHE_CONTROL, fixed("no-store"));
}

/// Returns the node's name: `NODE_NAME`, or the host name.
///
/// # Errors
///
/// If the host name cannot be read.
pub fn node_name() -> io::Result<String> {
    if let Some(name) = env::var_os("NODE_NAME").filter(|it| !it.is_empty()) {
        return Ok(name.to_string_lossy().into_owned());
    }
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(hostname.trim().to_owned())
}
