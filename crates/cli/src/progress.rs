//! A progress bar on a terminal; nothing anywhere else.

use indicatif::{ProgressBar, ProgressStyle};
use reclaim_engine::Progress;

/// Shows progress on standard error, which indicatif leaves alone unless it is a terminal.
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
            Progress::LookingAgain => self.bar.set_message("looking for new users"),
            Progress::Collecting => self.bar.set_message("waiting for containerd's collection"),
            Progress::Measuring => self.bar.set_message("measuring"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows progress while `work` goes on.
pub(crate) async fn with_bar<T>(work: impl AsyncFnOnce(&Bar) -> T) -> T {
    let bar = Bar::new();
    let done = work(&bar).await;
    bar.clear();
    done
}
