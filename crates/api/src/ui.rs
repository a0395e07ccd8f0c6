//! The page for a browser on this machine: a loopback port, and an address that works once.
//!
//! Every user of the machine can connect to a loopback port, and every web page can make a browser do
//! so. So the page is only for the browser that opened the address with the token first: it gets a
//! cookie in exchange. Requests under another host name are refused, because a foreign page may have
//! made its own name resolve to this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderValue, LOCATION, SET_COOKIE};
use http::{StatusCode, Uri};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access::Access;
use crate::listen::{self, Limits, ListenError, Listener};
use crate::page::page_headers;

/// Returns the page as it is now, or why it cannot be had.
pub type Source = Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// A port that serves the page.
#[derive(Debug)]
pub struct Ui {
    listener: Listener,
    address: SocketAddr,
    token: String,
}

struct Served {
    source: Source,
    /// One reading of the store at a time.
    reading: Mutex<()>,
    hosts: [String; 2],
    token: String,
    is_used: AtomicBool,
    /// What the browser that used the token sends with each request.
    cookie: String,
}

impl Ui {
    /// Opens a port of the loopback interface; 0 is any that is free.
    ///
    /// # Errors
    ///
    /// If the port cannot be opened.
    pub async fn open(port: u16) -> Result<Self, ListenError> {
        let listener = listen::open_plain((Ipv4Addr::LOCALHOST, port).into()).await?;
        let address = listener.tcp_address()?;
        Ok(Self {
            listener,
            address,
            token: secret(),
        })
    }

    /// Returns the address for the browser. It works once.
    pub fn address(&self) -> String {
        format!("http://{}/?token={}", self.address, self.token)
    }

    /// Serves the page until `stop` is cancelled. Each load reads the store again.
    pub async fn serve(self, source: Source, stop: CancellationToken) {
        let port = self.address.port();
        let served = Served {
            source,
            reading: Mutex::new(()),
            hosts: ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}")),
            token: self.token,
            is_used: AtomicBool::new(false),
            // Cookies are those of all ports of a host.
            cookie: format!("reclaim-{port}={}", secret()),
        };
        let router = Router::new()
            .route("/", get(root))
            .with_state(Arc::new(served));
        let limits = Limits::default();
        let listener = vec![self.listener.read_only()];
        listen::serve(listener, router, limits, Access::default(), stop).await;
    }
}

/// Returns 122 random bits as text.
fn secret() -> String {
    Uuid::new_v4().simple().to_string()
}

async fn root(State(served): State<Arc<Served>>, request: Request) -> Response {
    let headers = request.headers();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| served.hosts.iter().any(|own| own == host)) {
        return refuse("This page is served as 127.0.0.1 and localhost only.");
    }
    if served.has_cookie(headers) {
        return served.page().await;
    }
    if !served.takes_token(request.uri()) {
        return refuse(
            "The address of this page works once, for the browser that opens it first. \
             Start `reclaim ui` again for another one.",
        );
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let cookie = format!("{}; HttpOnly; SameSite=Lax; Path=/", served.cookie);
    let cookie = HeaderValue::from_str(&cookie).expect("a cookie of letters and digits");
    let headers = response.headers_mut();
    headers.insert(SET_COOKIE, cookie);
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    response
}

impl Served {
    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter();
        let cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
        cookies
            .flat_map(|cookies| cookies.split("; "))
            .any(|cookie| same(cookie, &self.cookie))
    }

    /// Uses the token up, if the address has it and no request had it before.
    fn takes_token(&self, address: &Uri) -> bool {
        let token = address
            .query()
            .and_then(|query| query.strip_prefix("token="));
        token.is_some_and(|token| same(token, &self.token))
            && !self.is_used.swap(true, Ordering::AcqRel)
    }

    async fn page(&self) -> Response {
        let _one_at_a_time = self.reading.lock().await;
        match (self.source)().await {
            Ok(page) => {
                let mut response = Response::new(Body::from(page));
                page_headers(response.headers_mut());
                response
            }
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

/// Compares secrets in a time that does not depend on where they differ.
fn same(sent: &str, own: &str) -> bool {
    let differences = sent.bytes().zip(own.bytes()).map(|(a, b)| a ^ b);
    sent.len() == own.len() && differences.fold(0, |all, one| all | one) == 0
}

fn refuse(why: &'static str) -> Response {
    text(StatusCode::FORBIDDEN, why)
}

fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
