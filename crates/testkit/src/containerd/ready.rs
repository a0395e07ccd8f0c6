//! Waits until a daemon answers.

use std::path::Path;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use tonic::transport::Channel;

use super::daemon::Daemon;
use super::version::Version;
use crate::cri::Cri;

/// The pause between two checks of a starting daemon. It is most of the time of a start.
const PAUSE: Duration = Duration::from_millis(5);

/// The number of checks: 30 s in all. containerd takes a tenth of a second on an idle machine.
const CHECKS: u32 = 6000;

/// The last lines of the log that a panic shows.
const LOG_TAIL_LINES: usize = 30;

/// Returns a connected channel once `daemon` answers.
///
/// # Panics
///
/// If the process ends or the deadline passes; the message has the end of the log.
pub(super) async fn wait(daemon: &mut Daemon) -> (Channel, Version) {
    let socket = daemon.socket().to_owned();
    let mut answer = pin!(first_answer(&socket));
    for _ in 0..CHECKS {
        tokio::select! {
            biased;
            (channel, text) = &mut answer => {
                let version = Version::parse(&text)
                    .unwrap_or_else(|| panic!("containerd reports the version `{text}`"));
                return (channel, version);
            }
            () = pause() => {
                if let Some(status) = daemon.exit_status() {
                    panic!("containerd ended while starting ({status})\n{}", log_tail(daemon));
                }
            }
        }
    }
    panic!("containerd does not answer\n{}", log_tail(daemon));
}

/// Waits until the CRI plugin answers. Before, it returns an error that it is not initialized.
///
/// # Panics
///
/// If the deadline passes; the message has the last response.
pub(super) async fn wait_for_cri(cri: &Cri) {
    let mut last = cri.images().await;
    for _ in 0..CHECKS {
        if last.is_ok() {
            return;
        }
        pause().await;
        last = cri.images().await;
    }
    panic!("the CRI plugin does not answer: {last:?}");
}

/// Requests the version until the daemon answers.
async fn first_answer(socket: &Path) -> (Channel, String) {
    loop {
        if let Ok(channel) = containerd_client::connect(socket).await
            && let Ok(answer) = VersionClient::new(channel.clone()).version(()).await
        {
            return (channel, answer.into_inner().version);
        }
        pause().await;
    }
}

/// Waits [`PAUSE`] of real time, even if the test has paused tokio's clock: the daemon's clock runs
/// on.
async fn pause() {
    let slept = tokio::task::spawn_blocking(|| thread::sleep(PAUSE)).await;
    slept.expect("sleeping does not panic");
}

fn log_tail(daemon: &Daemon) -> String {
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
