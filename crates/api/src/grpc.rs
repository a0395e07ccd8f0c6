//! Our own gRPC API: `proto/reclaim/v1`.
//!
//! [`router`] can be merged with the routers of the other APIs on one socket.

mod containers;
mod error;
mod maintenance;
mod prune;
mod roles;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::service::Service;

pub(crate) use roles::ROLES;
pub use tonic_reflection::server::Error as DescribeError;

/// The messages, clients and servers of `proto/reclaim/v1`.
pub mod proto {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::large_enum_variant,
        clippy::pedantic,
        reason = "generated; the proto files have the words"
    )]

    tonic::include_proto!("reclaim.v1");

    /// The proto files, for clients that ask.
    pub(super) const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/reclaim.v1.bin"));
}

/// The largest message that is taken, in bytes: some ten thousand containers.
const MAX_MESSAGE: usize = 16 << 20;

type PruneServer = proto::prune_service_server::PruneServiceServer<prune::Prune>;
type ContainerServer =
    proto::container_service_server::ContainerServiceServer<containers::Containers>;
type MaintenanceServer =
    proto::maintenance_service_server::MaintenanceServiceServer<maintenance::Maintenance>;

/// Returns a router with all services, health and reflection. Once runs are stopped, health says
/// that nothing is served any more.
///
/// # Errors
///
/// If the descriptors of the services cannot be read, which would be a fault of the build.
pub async fn router(service: &Arc<Service>) -> Result<Router, DescribeError> {
    let prune = PruneServer::new(prune::Prune::new(service));
    let prune = prune.max_decoding_message_size(MAX_MESSAGE);
    let containers = ContainerServer::new(containers::Containers::new(service));
    let containers = containers.max_decoding_message_size(MAX_MESSAGE);
    let maintenance = MaintenanceServer::new(maintenance::Maintenance::new(service));
    let maintenance = maintenance.max_decoding_message_size(MAX_MESSAGE);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<PruneServer>().await;
    reporter.set_serving::<ContainerServer>().await;
    reporter.set_serving::<MaintenanceServer>().await;
    tokio::spawn(stop_health(reporter, service.parts.cancel.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let routes = Routes::new(prune)
        .add_service(containers)
        .add_service(maintenance)
        .add_service(health)
        .add_service(reflection);
    let unchecked = routes.prepare().into_axum_router().reset_fallback();
    Ok(unchecked.route_layer(from_fn(roles::check)))
}

/// Sends "not serving" to the watchers of health and ends their streams, which would otherwise keep
/// the daemon from shutting down.
async fn stop_health(mut reporter: HealthReporter, cancel: CancellationToken) {
    cancel.cancelled().await;
    let overall = "";
    for service in [
        overall,
        PruneServer::NAME,
        ContainerServer::NAME,
        MaintenanceServer::NAME,
    ] {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
        reporter.clear_service_status(service).await;
    }
}
