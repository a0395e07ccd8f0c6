//! The role that each method needs.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::error::status;
use crate::access::Role;
use crate::service::ServiceError;

/// The methods and the roles that they need; `None` if everyone may call it. A test compares the list
/// with the proto files. A method that is not on it is refused.
pub(crate) const ROLES: [(&str, Option<Role>); 26] = [
    ("/reclaim.v1.PruneService/Plan", Some(Role::Read)),
    ("/reclaim.v1.PruneService/Prune", Some(Role::Prune)),
    ("/reclaim.v1.PruneService/PruneProject", Some(Role::Prune)),
    ("/reclaim.v1.PruneService/Apply", Some(Role::Prune)),
    ("/reclaim.v1.PruneService/Explain", Some(Role::Read)),
    ("/reclaim.v1.PruneService/ListImages", Some(Role::Read)),
    ("/reclaim.v1.PruneService/ListProjects", Some(Role::Read)),
    ("/reclaim.v1.PruneService/DiskUsage", Some(Role::Read)),
    ("/reclaim.v1.PruneService/History", Some(Role::Read)),
    ("/reclaim.v1.PruneService/Audit", Some(Role::Read)),
    ("/reclaim.v1.PruneService/Undo", Some(Role::Admin)),
    ("/reclaim.v1.PruneService/Release", Some(Role::Admin)),
    ("/reclaim.v1.PruneService/Restore", Some(Role::Admin)),
    ("/reclaim.v1.PruneService/Pin", Some(Role::Admin)),
    ("/reclaim.v1.PruneService/Unpin", Some(Role::Admin)),
    ("/reclaim.v1.ContainerService/Replace", Some(Role::Prune)),
    ("/reclaim.v1.ContainerService/Upsert", Some(Role::Prune)),
    ("/reclaim.v1.ContainerService/Remove", Some(Role::Prune)),
    ("/reclaim.v1.ContainerService/Forget", Some(Role::Prune)),
    ("/reclaim.v1.ContainerService/List", Some(Role::Read)),
    (
        "/reclaim.v1.MaintenanceService/RunPolicies",
        Some(Role::Prune),
    ),
    (
        "/reclaim.v1.MaintenanceService/ExplainPolicies",
        Some(Role::Read),
    ),
    (
        "/reclaim.v1.MaintenanceService/PolicyHistory",
        Some(Role::Read),
    ),
    ("/grpc.health.v1.Health/Check", None),
    ("/grpc.health.v1.Health/Watch", None),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Some(Role::Read),
    ),
];

/// Refuses a call whose sender lacks the role.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let declared = ROLES.iter().find(|(method, _)| *method == path);
    let Some((_, needed)) = declared else {
        let unknown = Status::unimplemented(format!("there is no method `{path}`"));
        return unknown.into_http::<axum::body::Body>().into_response();
    };
    match crate::access::check(*needed, request.extensions()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let refused = status(&ServiceError::from(refusal));
            refused.into_http::<axum::body::Body>().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::super::proto::DESCRIPTORS;
    use super::*;

    /// Returns the paths of all methods in encoded descriptors.
    fn methods(descriptors: &[u8]) -> Vec<String> {
        let set = FileDescriptorSet::decode(descriptors).unwrap();
        let mut found = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    found.push(format!(
                        "/{}.{}/{}",
                        file.package(),
                        service.name(),
                        method.name()
                    ));
                }
            }
        }
        found
    }

    #[test]
    fn every_method_of_every_service_has_a_role() {
        let declared: BTreeSet<String> = ROLES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(declared.len(), ROLES.len());
        let served = [
            methods(DESCRIPTORS),
            methods(tonic_health::pb::FILE_DESCRIPTOR_SET),
            methods(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET),
        ];
        assert_eq!(
            served.concat().into_iter().collect::<BTreeSet<_>>(),
            declared
        );
    }
}
