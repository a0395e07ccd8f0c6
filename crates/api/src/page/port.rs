//! The page on a port without roles, such as that of the metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use reclaim_engine::{AuditLog, Engine, blocking, no_progress};
use reclaim_maintenance::SchedulerHandle;
use reclaim_model::{AuditQuery, chain};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{PageParts, page, page_headers};

/// How long a page is sent again. Everyone may request it, and it reads the whole store.
const FRESH: Duration = Duration::from_secs(60);

struct Port {
    engine: Arc<Engine>,
    scheduler: SchedulerHandle,
    /// The last page, and when it was made. Locked while one is made, so that only one is.
    last: Mutex<Option<(Instant, String)>>,
}

/// Returns a router with `/page`, which reads the store at most once a minute.
pub fn router(engine: Arc<Engine>, scheduler: SchedulerHandle) -> Router {
    let port = Port {
        engine,
        scheduler,
        last: Mutex::default(),
    };
    let router = Router::new().route("/page", get(serve));
    router.with_state(Arc::new(port))
}

async fn serve(State(port): State<Arc<Port>>) -> Response {
    let mut last = port.last.lock().await;
    let fresh = last.as_ref().filter(|(made, _)| made.elapsed() < FRESH);
    let html = match fresh {
        Some((_, html)) => html.clone(),
        None => match port.page().await {
            Ok(html) => {
                *last = Some((Instant::now(), html.clone()));
                html
            }
            Err(error) => return (StatusCode::SERVICE_UNAVAILABLE, error + "\n").into_response(),
        },
    };
    let mut response = Response::new(Body::from(html));
    page_headers(response.headers_mut());
    response
}

impl Port {
    async fn page(&self) -> Result<String, String> {
        let records = match self.engine.audit() {
            Some(log) => {
                let directory = log.directory().to_owned();
                blocking(move || AuditLog::find(&directory, &AuditQuery::default()).ok()).await
            }
            None => None,
        };
        let records = records.map(|found| found.records);
        let now = self.engine.store().now();
        let parts = PageParts::of_daemon(&self.scheduler, records, now).await;
        let made = page(&self.engine, parts, &no_progress).await;
        made.map_err(|error| chain(&error))
    }
}
