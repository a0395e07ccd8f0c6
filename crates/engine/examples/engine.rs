//! A container engine that embeds Reclaim: it registers its containers, shows what a prune would
//! remove, prunes, and undoes the prune.
//!
//! ```console
//! $ cargo run -p reclaim-engine --example engine
//! $ cargo run -p reclaim-engine --example engine -- /run/containerd/containerd.sock default
//! ```
//!
//! The first command runs on a containerd in memory. The second removes the unused images of a real
//! one, and restores them.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::model::HumanSize;
use reclaim_engine::{
    CancellationToken, Container, Containerd, Engine, InMemoryContainers, Namespace, PruneRequest,
    Report, RunOptions, no_progress,
};
use reclaim_fake::{Fake, Image, Labels, Layer};

/// A container engine, without the part that runs containers.
pub(crate) struct ContainerEngine {
    reclaim: Arc<Engine>,
    containers: Arc<InMemoryContainers>,
    namespace: Namespace,
    /// Stops runs when the engine shuts down.
    shutdown: CancellationToken,
}

impl ContainerEngine {
    /// Starts on the images of a namespace.
    pub(crate) fn new(reclaim: Engine, namespace: Namespace) -> Self {
        let containers = Arc::new(InMemoryContainers::new());
        let reclaim = reclaim.with_containers(Arc::clone(&containers) as _);
        Self {
            reclaim: Arc::new(reclaim),
            containers,
            namespace,
            shutdown: CancellationToken::new(),
        }
    }

    /// Creates a container. It is registered first, so that no prune removes its image meanwhile.
    pub(crate) fn create(&self, id: &str, image: &str) {
        let container = Container {
            id: id.to_owned(),
            image: image.to_owned(),
            ..Container::default()
        };
        self.containers.upsert(&self.namespace, container);
        // Here an engine creates its snapshot and starts its process.
    }

    /// Shows what a prune would remove, and removes it. It can be undone for an hour.
    pub(crate) async fn prune(&self, output: &mut impl Write) -> Result<Report, Box<dyn Error>> {
        let request = PruneRequest::unused(self.namespace.clone());
        let preview = self.reclaim.preview(&request, &no_progress).await?;
        for step in &preview.plan.steps {
            writeln!(output, "would remove {}", step.image.name)?;
        }
        for kept in &preview.plan.kept {
            let holders: Vec<String> = kept.holders.iter().map(ToString::to_string).collect();
            let (reason, holders) = (kept.reason.text(), holders.join(", "));
            writeln!(output, "keeps {}: {reason}: {holders}", kept.name)?;
        }
        let options = RunOptions {
            undo_window: Duration::from_secs(3600),
            ..RunOptions::default()
        };
        // An engine asks for confirmation here. An image that comes into use now is not removed.
        let confirmed = Some(preview.plan);
        let mut run = self
            .reclaim
            .start(request, confirmed, options, &self.shutdown);
        while let Some(progress) = run.progress().await {
            writeln!(output, "{progress:?}")?;
        }
        let report = run.await?;
        for image in &report.removed {
            writeln!(output, "removed {}", image.name)?;
        }
        for image in &report.failed {
            writeln!(output, "failed to remove {}: {}", image.name, image.error)?;
        }
        let bytes = report.estimate.0.content_bytes + report.estimate.0.snapshot_bytes;
        writeln!(output, "frees {} in an hour", HumanSize(bytes))?;
        Ok(report)
    }

    /// Restores the images that a run removed.
    pub(crate) async fn undo(
        &self,
        report: &Report,
        output: &mut impl Write,
    ) -> Result<(), Box<dyn Error>> {
        let run = Some(report.run.0.as_str());
        let undone = self.reclaim.undo(&self.namespace, run, &[], false).await?;
        for name in undone.restored {
            writeln!(output, "restored {name}")?;
        }
        Ok(())
    }
}

/// Returns a containerd in memory that has pulled two images.
pub(crate) fn containerd_in_memory() -> Fake {
    let fake = Fake::new("2.1.9");
    let now = fake.now();
    fake.change(|state| {
        for name in ["docker.io/library/web:1", "docker.io/library/old:1"] {
            let image = Image::new(vec![Layer::of(name)], &Labels::new());
            image.store(state, "default", "overlayfs", None);
            state.put_image("default", image.record(name), now);
        }
    });
    fake
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (reclaim, namespace) = match arguments.as_slice() {
        [] => {
            let channel = containerd_in_memory().channel();
            (Engine::new(Containerd::from_channel(channel)), "default")
        }
        [containerd, namespace] => (Engine::connect(containerd).await?, namespace.as_str()),
        _ => return Err("usage: engine [CONTAINERD NAMESPACE]".into()),
    };
    let engine = ContainerEngine::new(reclaim, namespace.parse()?);
    engine.create("web", "web:1");
    let output = &mut std::io::stdout();
    let report = engine.prune(output).await?;
    if report.held_until.is_some() {
        engine.undo(&report, output).await?;
    }
    Ok(())
}
