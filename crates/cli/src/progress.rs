//! A progress bar, if standard error is a terminal.

use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use reclaim_engine::{FetchProgress, Progress};

/// Whether something else draws on the terminal.
static ARE_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Shows no bar from now on: the screen of `browse` shows progress itself.
pub(crate) fn hide_bars() {
    ARE_HIDDEN.store(true, Ordering::Release);
}

/// A progress bar on standard error. indicatif draws it only on a terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new() -> Self {
        if ARE_HIDDEN.load(Ordering::Acquire) {
            let bar = ProgressBar::hidden();
            return Self { bar };
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Self { bar }
    }

    /// Shows one event.
    pub(crate) fn show(&self, progress: Progress) {
        if let Progress::Step { done, steps } = progress {
            if done == 1
                && let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")
            {
                self.bar.set_style(style);
                self.bar.set_length(steps as u64);
                self.bar.set_message("removing images");
            }
            self.bar.set_position(done as u64);
        } else {
            self.bar.set_message(progress_text(progress));
        }
    }

    /// Shows how much of an image was fetched.
    pub(crate) fn fetched(&self, progress: FetchProgress) {
        if self.bar.length() != Some(progress.total)
            && let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg}")
        {
            self.bar.set_style(style);
            self.bar.set_length(progress.total);
            self.bar.set_message("fetching layers");
        }
        self.bar.set_position(progress.done);
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

/// Returns what a run does, for a person.
pub(crate) fn progress_text(progress: Progress) -> String {
    match progress {
        Progress::Observing => "listing images, content and snapshots".to_owned(),
        Progress::Planned { .. } => "planned".to_owned(),
        Progress::Step { done, steps } => format!("removing images: {done} of {steps}"),
        Progress::LookingAgain => "checking for new users".to_owned(),
        Progress::Collecting => "waiting for containerd's collection".to_owned(),
        Progress::Measuring => "measuring".to_owned(),
    }
}
