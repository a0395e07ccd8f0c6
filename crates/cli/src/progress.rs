//! A progress bar, if standard error is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use reclaim_engine::Progress;

/// A progress bar on standard error. indicatif draws it only on a terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Self { bar }
    }

    /// Shows one event.
    pub(crate) fn show(&self, progress: Progress) {
        match progress {
            Progress::Observing => self
                .bar
                .set_message("listing images, content and snapshots"),
            Progress::Planned { steps: _, kept: _ } => self.bar.set_message("planned"),
            Progress::Step { done, steps } => {
                if done == 1
                    && let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")
                {
                    self.bar.set_style(style);
                    self.bar.set_length(steps as u64);
                    self.bar.set_message("removing images");
                }
                self.bar.set_position(done as u64);
            }
            Progress::LookingAgain => self.bar.set_message("checking for new users"),
            Progress::Collecting => self.bar.set_message("waiting for containerd's collection"),
            Progress::Measuring => self.bar.set_message("measuring"),
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows a progress bar during `work`.
pub(crate) async fn with_bar<T>(work: impl AsyncFnOnce(&Bar) -> T) -> T {
    let bar = Bar::new();
    let result = work(&bar).await;
    bar.clear();
    result
}
