//! `[forward]`: which requests of Docker's API `reclaim serve` forwards.

use reclaim_api::docker::forward::Answered;
use reclaim_maintenance::settings;
use reclaim_maintenance::settings::Text;

settings! {
    pub(super) struct ForwardSection in "forward" {
        /// Whether `serve` forwards other requests to the Docker Engine of --docker, like --forward.
        enabled: bool = false;
        /// Requests that are answered here instead, in addition to prunes of images. --forward-except takes precedence.
        except: Vec<Text<Answered>> = vec![Text(Answered::Prune)],
            accepts "prune, remove, list, inspect, history, df";
    }
}

/// The checked section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Whether requests are forwarded.
    pub enabled: bool,
    /// What is answered here, in addition to prunes.
    pub except: Vec<Answered>,
}

impl From<ForwardSection> for ForwardConfig {
    fn from(section: ForwardSection) -> Self {
        let ForwardSection { enabled, except } = section;
        let except = except.into_iter().map(|kind| kind.0).collect();
        Self { enabled, except }
    }
}
