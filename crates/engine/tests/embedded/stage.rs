//! A containerd, an engine behind a fault proxy, and leases of other runs.

use std::collections::BTreeSet;
use std::time::Duration;

use reclaim_engine::{Controls, Engine, Grace, RunError, RunOptions, no_progress};
use reclaim_model::{Namespace, Plan, PruneRequest, Report, Selection};
use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{
    BuiltImage, Containerd, Labels, Layer, NamespaceClient, NewLease, image, labels,
};
use tokio_util::sync::CancellationToken;

/// The ID of the guard's lease.
pub(crate) const GUARD: &str = "reclaim.prune";
/// The call that releases it.
pub(crate) const RELEASE: &str = "leases.v1.Leases/Delete";

/// Options without a grace period.
pub(crate) const AT_ONCE: RunOptions = RunOptions {
    grace: Grace::Fixed(Duration::ZERO),
    undo_window: Duration::ZERO,
    max_deletes_per_second: None,
    wait: false,
};

pub(crate) struct Stage {
    pub(crate) containerd: Containerd,
    pub(crate) namespace: NamespaceClient,
}

/// An engine, and the proxy before its containerd.
pub(crate) struct Embedded {
    pub(crate) engine: Engine,
    pub(crate) proxy: FaultProxy,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::on(Containerd::start().await)
    }

    /// As [`Self::set`], with a containerd that collects only on request.
    pub(crate) async fn quiet() -> Self {
        let stage = Self::on(Containerd::quiet().start().await);
        // containerd's scheduler collects once after its start.
        stage.namespace.collect().await.unwrap();
        stage
    }

    fn on(containerd: Containerd) -> Self {
        let namespace = containerd.namespace("default");
        Self {
            containerd,
            namespace,
        }
    }

    /// Connects an engine through a proxy with these faults.
    pub(crate) async fn engine(&self, faults: impl IntoIterator<Item = Fault>) -> Embedded {
        let proxy = FaultProxy::start(self.containerd.socket(), faults);
        Embedded {
            engine: Engine::connect(proxy.address()).await.unwrap(),
            proxy,
        }
    }

    /// Runs an action of another client at the first call of a method.
    pub(crate) fn meanwhile<F>(
        &self,
        method: &str,
        moment: Moment,
        then: Then,
        run: impl Fn(NamespaceClient) -> F + Send + Sync + 'static,
    ) -> Fault
    where
        F: Future<Output = ()> + Send + 'static,
    {
        fault(method, moment, self.acting(then, run))
    }

    /// Returns the act that another client does something.
    pub(crate) fn acting<F>(
        &self,
        then: Then,
        run: impl Fn(NamespaceClient) -> F + Send + Sync + 'static,
    ) -> Act
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let namespace = self.namespace.clone();
        Act::Run(Hook::new(move || {
            let running = run(namespace.clone());
            async move {
                running.await;
                then
            }
        }))
    }

    pub(crate) async fn build(&self, name: &str) -> BuiltImage {
        let built = image(name)
            .layers([Layer::named("base", 2000), Layer::named(name, 500)])
            .unpack("native");
        built.build(&self.namespace).await.unwrap()
    }

    pub(crate) async fn leases(&self) -> BTreeSet<String> {
        self.namespace.leases().await.unwrap().into_keys().collect()
    }
}

/// A fault of the first call of a method.
pub(crate) fn fault(method: &str, moment: Moment, act: Act) -> Fault {
    nth_fault(method, 0, moment, act)
}

/// A fault of a later call of a method.
pub(crate) fn nth_fault(method: &str, nth: usize, moment: Moment, act: Act) -> Fault {
    let method = method.to_owned();
    let call = Call { method, nth };
    Fault { call, moment, act }
}

impl Embedded {
    pub(crate) async fn prune(&self, request: &PruneRequest) -> Result<Report, RunError> {
        self.prune_confirmed(request, None).await
    }

    pub(crate) async fn prune_confirmed(
        &self,
        request: &PruneRequest,
        confirmed: Option<&Plan>,
    ) -> Result<Report, RunError> {
        self.prune_with(request, confirmed, &AT_ONCE).await
    }

    pub(crate) async fn prune_with(
        &self,
        request: &PruneRequest,
        confirmed: Option<&Plan>,
        options: &RunOptions,
    ) -> Result<Report, RunError> {
        let controls = Controls {
            options,
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        self.engine.prune(request, confirmed, controls).await
    }

    /// Collects garbage.
    pub(crate) async fn collect(&self) -> Result<(), RunError> {
        self.engine.collect_garbage(&namespace()).await
    }

    /// The methods that were called, in the order of the calls.
    pub(crate) fn called(&self) -> Vec<String> {
        let calls = self.proxy.calls().into_iter();
        calls.map(|call| call.method).collect()
    }
}

/// The namespace of all tests.
pub(crate) fn namespace() -> Namespace {
    "default".parse().unwrap()
}

/// Writes a blob without a holder.
pub(crate) async fn litter(namespace: &NamespaceClient) {
    let none = Labels::new();
    namespace.write_blob(b"of nobody", &none).await.unwrap();
}

pub(crate) fn request(selection: impl Into<Selection>) -> PruneRequest {
    PruneRequest::new(namespace(), selection).may_empty_namespace(true)
}

/// All images that nothing uses.
pub(crate) fn all_unused() -> PruneRequest {
    PruneRequest::unused(namespace()).may_empty_namespace(true)
}

/// The creator of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A running process: the parent of this one.
    Alive,
    /// An earlier process with the same PID.
    Dead,
    /// This process, with a run that is over.
    Over,
}

/// A lease of a run that has not expired.
pub(crate) fn lease_of(maker: Maker, run: &str, id: &str) -> NewLease {
    let owner = owner(maker);
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let labels = labels([("reclaim/run", run), ("reclaim/owner", &owner)]);
    NewLease::new(id).labels(labels).expires(expires)
}

fn owner(maker: Maker) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let pid = match maker {
        Maker::Alive | Maker::Dead => std::os::unix::process::parent_id(),
        Maker::Over => std::process::id(),
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let started = match maker {
        Maker::Alive | Maker::Over => after_name.split_whitespace().nth(19).unwrap(),
        Maker::Dead => "1",
    };
    let boot = boot.trim();
    let namespace = namespace.to_str().unwrap();
    format!("{boot}/{namespace}/{pid}/{started}")
}
