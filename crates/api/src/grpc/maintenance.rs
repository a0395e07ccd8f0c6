//! The service of maintenance: the policies of the daemon.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::Stream;
use reclaim_maintenance::{RequestError, SchedulerHandle};
use reclaim_model::{Mode, PolicyName};
use tonic::{Request, Response, Status};

use super::error::{invalid, status};
use super::proto;
use super::prune::sender;
use crate::service::Service;

/// How many names a request may have: more than anybody has policies.
const MAX_NAMES: usize = 1000;

/// The service.
#[derive(Debug)]
pub(super) struct Maintenance {
    scheduler: SchedulerHandle,
}

type Runs = Pin<Box<dyn Stream<Item = Result<proto::RunPoliciesResponse, Status>> + Send>>;

impl Maintenance {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            scheduler: service.parts.scheduler.clone(),
        }
    }
}

#[tonic::async_trait]
impl proto::maintenance_service_server::MaintenanceService for Maintenance {
    type RunPoliciesStream = Runs;

    async fn run_policies(
        &self,
        request: Request<proto::RunPoliciesRequest>,
    ) -> Result<Response<Runs>, Status> {
        let caller = sender(&request).caller;
        let proto::RunPoliciesRequest {
            names: texts,
            dry_run,
        } = request.into_inner();
        let mode = if dry_run { Mode::DryRun } else { Mode::Apply };
        let started = self.scheduler.run(names(&texts)?, mode, caller).await;
        let runs = futures::stream::try_unfold(started.map_err(failed)?, |mut started| async {
            let run = started.next().await.map_err(failed)?;
            let answer = run.map(|run| proto::RunPoliciesResponse {
                run: Some((&run).into()),
            });
            Ok(answer.map(|answer| (answer, started)))
        });
        Ok(Response::new(Box::pin(runs)))
    }

    async fn explain_policies(
        &self,
        request: Request<proto::ExplainPoliciesRequest>,
    ) -> Result<Response<proto::ExplainPoliciesResponse>, Status> {
        let names = names(&request.into_inner().names)?;
        let explained = self.scheduler.explain(&names).await.map_err(failed)?;
        let policies = explained.iter();
        let policies = policies.map(|(policy, forecast)| proto::ExplainedPolicy {
            policy: Some(policy.into()),
            forecast: Some(forecast.into()),
        });
        Ok(Response::new(proto::ExplainPoliciesResponse {
            policies: policies.collect(),
        }))
    }

    async fn policy_history(
        &self,
        request: Request<proto::PolicyHistoryRequest>,
    ) -> Result<Response<proto::PolicyHistoryResponse>, Status> {
        let names = names(&request.into_inner().names)?;
        let names: BTreeSet<&str> = names.iter().map(PolicyName::as_str).collect();
        let runs = self.scheduler.history();
        let runs = runs.iter();
        let runs = runs.filter(|run| names.is_empty() || names.contains(run.policy.as_str()));
        Ok(Response::new(proto::PolicyHistoryResponse {
            runs: runs.map(Into::into).collect(),
        }))
    }
}

/// Reads the names of policies. A name that is none is not repeated: it may be of any length.
fn names(texts: &[String]) -> Result<Vec<PolicyName>, Status> {
    if texts.len() > MAX_NAMES {
        return Err(invalid("names", format!("accepted are up to {MAX_NAMES}")));
    }
    let max = PolicyName::MAX_LENGTH;
    let names = texts.iter().enumerate().map(|(index, text)| {
        let problem = || format!("it is not 1 to {max} letters, digits, `-` and `_`");
        text.parse()
            .map_err(|_| invalid(&format!("names[{index}]"), problem()))
    });
    names.collect()
}

fn failed(error: RequestError) -> Status {
    status(&error.into())
}
