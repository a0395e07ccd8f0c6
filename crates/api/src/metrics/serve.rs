//! `/metrics`, and with it `/ready` and `/live`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::Metrics;
use crate::health;

/// The form that the metrics are written in.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the routes.
pub fn router(metrics: Arc<Metrics>) -> Router {
    let health = health::router(Arc::clone(&metrics.health));
    let router = Router::new().route("/metrics", get(metrics_text));
    router.with_state(metrics).merge(health)
}

async fn metrics_text(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.render())
}
