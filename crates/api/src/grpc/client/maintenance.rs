//! What the command asks a daemon about its policies.

use reclaim_maintenance::{Policy, PolicyForecast, PolicyRun, RunRecord};
use reclaim_model::{Mode, PolicyName};
use tonic::Streaming;

use super::{HostClient, HostError};
use crate::grpc::WireError;
use crate::grpc::proto;

/// Runs of policies, each when it has ended.
#[derive(Debug)]
pub struct HostRuns {
    runs: Streaming<proto::RunPoliciesResponse>,
}

impl HostClient {
    /// Has policies run, those of these names or all. With [`Mode::DryRun`] nothing is changed;
    /// otherwise each is as its policy has it.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked, or a name is unknown to it.
    pub async fn run_policies(
        &self,
        names: &[PolicyName],
        mode: Mode,
    ) -> Result<HostRuns, HostError> {
        let message = proto::RunPoliciesRequest {
            names: texts(names),
            dry_run: mode == Mode::DryRun,
        };
        let answer = self.maintenance.clone().run_policies(message).await?;
        Ok(HostRuns {
            runs: answer.into_inner(),
        })
    }

    /// Says what policies are and would do, those of these names or all.
    ///
    /// # Errors
    ///
    /// As [`Self::run_policies`], or if the store cannot be read whole.
    pub async fn explain_policies(
        &self,
        names: &[PolicyName],
    ) -> Result<Vec<(Policy, PolicyForecast)>, HostError> {
        let message = proto::ExplainPoliciesRequest {
            names: texts(names),
        };
        let answer = self.maintenance.clone().explain_policies(message).await?;
        let policies = answer.into_inner().policies.into_iter().map(|it| {
            let policy = it.policy.ok_or_else(|| WireError::missing("policy"))?;
            let forecast = it.forecast;
            let forecast = forecast.ok_or_else(|| WireError::missing("forecast"))?;
            Ok((policy.try_into()?, forecast.try_into()?))
        });
        Ok(policies.collect::<Result<_, WireError>>()?)
    }

    /// Lists the runs of policies, oldest first: those of these names or all.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be asked.
    pub async fn policy_history(&self, names: &[PolicyName]) -> Result<Vec<RunRecord>, HostError> {
        let message = proto::PolicyHistoryRequest {
            names: texts(names),
        };
        let answer = self.maintenance.clone().policy_history(message).await?;
        let runs = answer.into_inner().runs.into_iter();
        Ok(runs
            .map(TryInto::try_into)
            .collect::<Result<_, WireError>>()?)
    }
}

impl HostRuns {
    /// Waits for the end of the next run; `None` when all have ended.
    ///
    /// # Errors
    ///
    /// If the daemon goes away, or stops before all have run.
    pub async fn next(&mut self) -> Result<Option<PolicyRun>, HostError> {
        let Some(message) = self.runs.message().await? else {
            return Ok(None);
        };
        let run = message.run.ok_or(HostError::CutShort)?;
        Ok(Some(run.try_into()?))
    }
}

fn texts(names: &[PolicyName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
