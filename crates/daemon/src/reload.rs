//! Reloads the configuration on SIGHUP, and the TLS files on SIGHUP and when they change.

use std::sync::Arc;

use reclaim_api::access::Access;
use reclaim_api::listen::Tls;
use reclaim_api::metrics::Metrics;
use reclaim_engine::blocking;
use reclaim_maintenance::PolicySet;
use reclaim_model::{PolicyName, chain};
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config;
use crate::error::DaemonError;
use crate::host::Host;
use crate::systemd::notify;

/// Reloads the configuration on SIGHUP.
pub(crate) struct Reloader {
    pub(crate) host: Arc<Host>,
    pub(crate) names: Vec<PolicyName>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) new: mpsc::Sender<PolicySet>,
    pub(crate) access: Option<Access>,
    pub(crate) tls: Option<TlsReloader>,
}

impl Reloader {
    /// Reloads at each SIGHUP until it is cancelled.
    pub(crate) async fn follow(self: Arc<Self>, mut hangup: Signal, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                received = hangup.recv() => if received.is_none() {
                    return;
                },
            }
            match NotifyState::monotonic_usec_now() {
                Ok(since) => notify(&[NotifyState::Reloading, since]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
            if let Some(tls) = &self.tls {
                match tls.reload().await {
                    Ok(()) => info!("TLS files reloaded"),
                    Err(error) => error!(%error, "{TLS_NOT_RELOADED}"),
                }
            }
            let reloader = Arc::clone(&self);
            let is_accepted = match blocking(move || reloader.read()).await {
                Ok(policies) => {
                    let sending = self.new.send(policies);
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        sent = sending => sent.is_ok(),
                    }
                }
                Err(error) => {
                    let error = chain(&error);
                    error!(%error, "cannot reload the configuration; keeping the old one");
                    false
                }
            };
            self.metrics.reloaded(is_accepted);
            notify(&[NotifyState::Ready]);
        }
    }

    fn read(&self) -> Result<PolicySet, DaemonError> {
        let config = config::read(&self.host.file)?;
        let old = &self.host.config;
        for (key, is_changed) in [
            ("containerd.address", config.address != old.address),
            ("state.directory", config.state != old.state),
            ("metrics.listen", config.metrics != old.metrics),
            ("metrics.page", config.metrics_page != old.metrics_page),
            ("events.url", config.events != old.events),
            ("forward", config.forward != old.forward),
        ] {
            if is_changed {
                warn!(key, "this change takes effect after a restart");
            }
        }
        let set = self.host.policy_set(&config, &self.names)?;
        // Last of what can fail, so that a configuration is in force as a whole or not at all.
        if let Some(access) = &self.access {
            access.replace(config.access.clone())?;
        }
        self.host.protect(&config);
        info!(policies = set.policies.len(), "configuration reloaded");
        Ok(set)
    }
}

/// The event of TLS files that cannot be used.
const TLS_NOT_RELOADED: &str = "cannot reload the TLS files; keeping the old ones";

/// Reloads the TLS files. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TlsReloader {
    pub(crate) tls: Tls,
    pub(crate) metrics: Arc<Metrics>,
}

impl TlsReloader {
    /// Reads the files again. On an error, returns its text.
    async fn reload(&self) -> Result<(), String> {
        let tls = self.tls.clone();
        let reloaded = blocking(move || tls.reload()).await;
        self.metrics.tls_reloaded(reloaded.is_ok());
        self.record_expiry();
        reloaded.map_err(|error| chain(&error))
    }

    /// Records when the files in force expire.
    pub(crate) fn record_expiry(&self) {
        self.metrics.tls_expires(&self.tls.expiry());
    }

    /// Reads the files again whenever they differ from those in force, until it is cancelled.
    pub(crate) async fn follow(self, cancel: &CancellationToken) {
        // Files that cannot be used are tried at each check, and logged once.
        let mut logged = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.tls.changed() => {}
            }
            match self.reload().await {
                Ok(()) => {
                    info!("TLS files changed and are in force");
                    logged = None;
                }
                Err(error) if logged.as_ref() != Some(&error) => {
                    error!(%error, "{TLS_NOT_RELOADED}");
                    logged = Some(error);
                }
                Err(_) => {}
            }
        }
    }
}
