//! The routes of the API, none of which is without a role.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::Method;

use super::Failure;
use crate::access::{self, Role};
use crate::service::Service;

/// Routes, each with the role that it needs.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) router: Router<Arc<Service>>,
    pub(super) methods: Vec<(Method, &'static str, Role)>,
}

impl Routes {
    /// Adds a route for GET.
    pub(super) fn get<H, T>(self, path: &'static str, role: Role, handler: H) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        self.with(Method::GET, path, role, get(handler))
    }

    /// Adds a route for POST.
    pub(super) fn post<H, T>(self, path: &'static str, role: Role, handler: H) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        self.with(Method::POST, path, role, post(handler))
    }

    fn with(
        mut self,
        method: Method,
        path: &'static str,
        role: Role,
        route: MethodRouter<Arc<Service>>,
    ) -> Self {
        let check = from_fn(move |request: Request, next: Next| check(role, request, next));
        self.router = self.router.route(path, route.route_layer(check));
        self.methods.push((method, path, role));
        self
    }
}

/// Refuses a request whose sender lacks the role.
async fn check(role: Role, request: Request, next: Next) -> Result<Response, Failure> {
    access::check(Some(role), request.extensions())?;
    Ok(next.run(request).await)
}
