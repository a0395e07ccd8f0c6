//! Checks the alert rules and the queries of the dashboard with promtool.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::debian::{self, Daemon, PROMTOOL, Refresh, SID};
use crate::failure::Failure;
use crate::shell;
use crate::workspace::Workspace;

const RULES: &str = "deploy/prometheus/reclaim.rules.yaml";
const TESTS: [&str; 2] = [
    "deploy/prometheus/daemon.rules.test.yaml",
    "deploy/prometheus/reclaim.rules.test.yaml",
];
const DASHBOARD: &str = "deploy/grafana/reclaim.json";

/// Fetches `promtool`. It is not installed, because in Debian 12 it is part of the server's package.
pub(super) fn provide(workspace: &Workspace) -> Result<Daemon, Failure> {
    debian::fetch(workspace, &SID, PROMTOOL, Refresh::Never)
}

/// Checks the rules, runs their tests, and parses every query of the dashboard.
pub(super) fn check(workspace: &Workspace, promtool: &Path) -> Result<(), Failure> {
    let promtool = || {
        let mut command = Command::new(promtool);
        command.current_dir(&workspace.root);
        command
    };
    shell::show_and_run(promtool().args(["check", "rules", "--lint-fatal", RULES]))?;
    shell::show_and_run(promtool().args(["test", "rules"]).args(TESTS))?;
    let queries = queries(&workspace.root.join(DASHBOARD))?;
    let directory = workspace.empty_directory("deploy/grafana")?;
    let file = directory.join("queries.json");
    let check = |queries: &[String]| {
        fs::write(&file, as_rules(queries).to_string())
            .map_err(|error| Failure::file("write", &file, &error))?;
        shell::read(promtool().args(["check", "rules"]).arg(&file))
    };
    check(&queries)?;
    println!("queries of the dashboard: {}", queries.len());
    // The check must find a mistake.
    if check(&["sum by (policy (reclaim_held_bytes)".to_owned()]).is_ok() {
        return Err(Failure::new("promtool did not find a mistake in a query"));
    }
    Ok(())
}

/// Returns every query of the dashboard, with values of Grafana's variables.
fn queries(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let dashboard: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("read `{}`: {error}", path.display())))?;
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    if found.is_empty() {
        return Err(Failure::new(format!("`{}` has no queries", path.display())));
    }
    Ok(found)
}

fn collect(value: &Value, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(query) if name == "expr" => found.push(without_variables(query)),
            _ => collect(value, found),
        }
    }
    for value in value.as_array().into_iter().flatten() {
        collect(value, found);
    }
}

fn without_variables(query: &str) -> String {
    query
        .replace("$__rate_interval", "5m")
        .replace("$__range", "1d")
        .replace("$instance", ".*")
        .replace("$policy", ".*")
}

/// Returns a file of rules with the queries, which promtool parses. JSON is valid YAML.
fn as_rules(queries: &[String]) -> Value {
    let rules = queries.iter().enumerate().map(|(number, query)| {
        let name = format!("panel:query:{number}");
        json!({ "record": name, "expr": query })
    });
    json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<Value>>() }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_queries() {
        let dashboard = json!({
            "panels": [{ "targets": [{ "expr": "rate(a{i=~\"$instance\"}[$__rate_interval])" }] }],
            "annotations": { "expr": "b" },
        });
        let mut found = Vec::new();
        collect(&dashboard, &mut found);
        found.sort();
        assert_eq!(found, ["b", "rate(a{i=~\".*\"}[5m])"]);
    }
}
