//! Requests to fetch layers, and their results.

use std::fmt;

use reclaim_model::{
    FetchedContent, Namespace, Platform, RegistryCredentials, RestoreCall, RestoreOutcome,
    RestoreRequest,
};

use crate::grpc::proto;

impl proto::RestoreRequest {
    /// Reads the message.
    pub(in crate::grpc) fn read(self, namespace: Namespace) -> RestoreCall {
        let platforms = self.platforms.into_iter().map(|it| Platform {
            os: it.os,
            architecture: it.architecture,
            variant: it.variant,
        });
        let credentials = self.credentials.into_iter().map(|(registry, it)| {
            let credentials = RegistryCredentials {
                user: it.user,
                password: it.password,
            };
            (registry, credentials)
        });
        RestoreCall {
            request: RestoreRequest {
                namespace,
                names: self.images,
                platforms: platforms.collect(),
                may_lack_namespace: self.may_lack_namespace,
                dry_run: self.dry_run,
            },
            credentials: credentials.collect(),
        }
    }
}

impl From<&RestoreOutcome> for proto::RestoreOutcome {
    fn from(outcome: &RestoreOutcome) -> Self {
        let target = outcome.target.as_ref().map(ToString::to_string);
        let error = outcome.error.as_ref();
        Self {
            name: outcome.name.clone(),
            target: target.unwrap_or_default(),
            registry: outcome.registry.clone().unwrap_or_default(),
            fetched: outcome.fetched.iter().map(Into::into).collect(),
            labels: outcome.labels as u64,
            problem: error
                .map(|error| error.word().to_owned())
                .unwrap_or_default(),
            message: error.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl From<&FetchedContent> for proto::FetchedContent {
    fn from(content: &FetchedContent) -> Self {
        Self {
            digest: content.digest.to_string(),
            bytes: content.bytes,
        }
    }
}

impl fmt::Debug for proto::RegistryCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RegistryCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
