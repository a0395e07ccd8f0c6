//! Waits until a daemon answers: a level, reached once its Version call returns.

use std::path::Path;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use tonic::transport::Channel;

use super::daemon::Daemon;
use super::version::Version;
use crate::cri::Cri;

/// Time between two looks at a starting daemon. Short: this is most of what a start costs.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks before giving up: 30 s. containerd needs a tenth of a second on an idle machine.
const LOOKS: u32 = 6000;

/// How much of the log a panic shows: enough for the error and what led to it.
const LOG_TAIL_LINES: usize = 30;

/// Returns a connected channel once `daemon` answers.
///
/// # Panics
///
/// When the process ends or the deadline passes, with the end of its log.
pub(super) async fn wait(daemon: &mut Daemon) -> (Channel, Version) {
    let socket = daemon.socket().to_owned();
    let mut answer = pin!(first_answer(&socket));
    for _ in 0..LOOKS {
        tokio::select! {
            biased;
            (channel, text) = &mut answer => {
                let version = Version::parse(&text);
                let version = version.unwrap_or_else(|| panic!("containerd calls itself `{text}`"));
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

/// Waits until the CRI plugin answers: it says that it is not initialized until it is.
///
/// # Panics
///
/// When the deadline passes, with what it says.
pub(super) async fn wait_for_cri(cri: &Cri) {
    let mut said = cri.images().await;
    for _ in 0..LOOKS {
        if said.is_ok() {
            return;
        }
        pause().await;
        said = cri.images().await;
    }
    panic!("the CRI plugin does not answer: {said:?}");
}

/// Asks until there is an answer.
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

/// Waits [`PAUSE`] of real time, also in a test that has paused tokio's clock: the daemon's
/// clock cannot be paused.
async fn pause() {
    let slept = tokio::task::spawn_blocking(|| thread::sleep(PAUSE)).await;
    slept.expect("sleeping does not panic");
}

fn log_tail(daemon: &Daemon) -> String {
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
