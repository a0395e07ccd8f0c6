//! `reclaim ui`: the page is for the browser that opens the address first, and for no other client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use reclaim_testkit::{Browser, Layer, Signal, image, signal};

use crate::rig::Rig;

/// `reclaim ui`, which ends with this value.
struct Ui {
    child: Child,
    address: String,
}

impl Ui {
    fn start(rig: &Rig) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .args(["--address", rig.containerd.address(), "ui"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        Self {
            child,
            address: address.trim().to_owned(),
        }
    }

    fn host(&self) -> &str {
        let rest = self.address.strip_prefix("http://").unwrap();
        rest.split_once('/').unwrap().0
    }

    /// Sends a request as any program on the machine can, and returns the status line and the rest.
    fn get(&self, path: &str, headers: &[(&str, &str)]) -> (String, String) {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n").unwrap();
        for (name, value) in headers {
            write!(stream, "{name}: {value}\r\n").unwrap();
        }
        write!(stream, "\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (status, rest) = answer.split_once("\r\n").unwrap();
        (status.to_owned(), rest.to_owned())
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_browser_opens_the_address_once_and_reloads() {
    let rig = Rig::quiet().await;
    let build = |name: &'static str, seed| {
        image(name)
            .layers([Layer::random(seed, 9_000)])
            .build(&rig.namespace)
    };
    build("docker.io/library/app:1", 1).await.unwrap();
    let mut ui = Ui::start(&rig);
    let mut browser = Browser::start(800, 600);
    browser.open(&ui.address);
    let names =
        "[...document.querySelectorAll('#list tbody th')].map(it => it.textContent).sort().join()";
    assert_eq!(browser.evaluate(names), "app:1");
    // The token is gone from the address.
    let shown = browser.evaluate("location.href");
    assert_eq!(shown, format!("http://{}/", ui.host()));
    assert_eq!(browser.complaints, Vec::<String>::new());

    build("docker.io/library/later:1", 2).await.unwrap();
    browser.open(&format!("http://{}/", ui.host()));
    assert_eq!(browser.evaluate(names), "app:1,later:1");

    // Any other client is refused, also with the token, which was used.
    let host = ui.host().to_owned();
    let token = ui.address.split_once(&host).unwrap().1.to_owned();
    for path in ["/", &token, "/?token=", "/?token=0123"] {
        let (status, rest) = ui.get(path, &[("Host", &host)]);
        assert_eq!(status, "HTTP/1.1 403 Forbidden", "{path}");
        assert!(!rest.contains("app:1"), "{rest}");
    }

    // SIGTERM ends it.
    signal(&ui.child, Signal::TERM);
    assert!(ui.child.wait().unwrap().code().is_some());
}

/// A foreign page can make its own name resolve to this machine, but not change the name.
#[tokio::test]
async fn another_host_name_is_refused_and_uses_no_token() {
    let rig = Rig::quiet().await;
    let ui = Ui::start(&rig);
    let host = ui.host().to_owned();
    let token = ui.address.split_once(&host).unwrap().1.to_owned();
    for foreign in ["attacker.example", "attacker.example:80", "127.0.0.1"] {
        let (status, _) = ui.get(&token, &[("Host", foreign)]);
        assert_eq!(status, "HTTP/1.1 403 Forbidden", "{foreign}");
    }
    let (status, rest) = ui.get(&token, &[("Host", &host)]);
    assert_eq!(status, "HTTP/1.1 303 See Other");
    let rest = rest.to_lowercase();
    let cookie = rest
        .split_once("set-cookie: ")
        .unwrap()
        .1
        .split(';')
        .next()
        .unwrap();
    assert!(rest.contains("httponly"), "{rest}");
    let (status, page) = ui.get("/", &[("Host", &host), ("Cookie", cookie)]);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let page = page.to_lowercase();
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    assert!(page.contains("frame-ancestors 'none'"));
    let wrong = format!("{cookie}0");
    let (status, _) = ui.get("/", &[("Host", &host), ("Cookie", &wrong)]);
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
}
