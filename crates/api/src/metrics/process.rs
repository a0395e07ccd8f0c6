//! The metrics about this process that programs for Prometheus have.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo, boot_time_secs, ticks_per_second};

use super::families::Families;
use super::signed;

impl Families {
    /// Sets when this process started. Called once, because the kernel derives the time from the wall
    /// clock, so that a later answer may differ without a restart.
    pub(super) fn set_start_time(&self) {
        let read = || -> ProcResult<u64> {
            let since_boot = Process::myself()?.stat()?.starttime / ticks_per_second();
            Ok(boot_time_secs()? + since_boot)
        };
        self.start_time.set(signed(read().unwrap_or_default()));
    }

    /// Sets what the process uses now. What cannot be read keeps its value.
    pub(super) fn set_process_usage(&self) {
        let Ok(process) = Process::myself() else {
            return;
        };
        if let Ok(stat) = process.stat() {
            let resident = stat.rss_bytes().get();
            self.resident_memory.set(signed(resident));
            self.virtual_memory.set(signed(stat.vsize));
            self.threads.set(stat.num_threads);
            #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are millennia")]
            let seconds = (stat.utime + stat.stime) as f64 / ticks_per_second() as f64;
            self.cpu_seconds.inc_by(seconds - self.cpu_seconds.get());
        }
        if let Ok(open) = process.fd_count() {
            self.open_fds.set(signed(open as u64));
        }
        if let Ok(limits) = process.limits() {
            let max = match limits.max_open_files.soft_limit {
                LimitValue::Value(max) => max,
                LimitValue::Unlimited => u64::MAX,
            };
            self.max_fds.set(signed(max));
        }
    }
}
