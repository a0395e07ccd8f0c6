//! TCP is served only with mutual TLS.

use crate::authority::{Authority, ask, free_port, ping, text};
use crate::daemon::{Daemon, serve};
use crate::rig::Rig;

#[tokio::test]
async fn refuses_clients_without_a_certificate_of_the_authority() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server");
    let client = authority.sign("client");
    let port = free_port();
    let listen = format!("tcp://127.0.0.1:{port}");
    let tls = authority.options(&(certificate, key));
    let tls = tls.iter().map(String::as_str);
    let args: Vec<&str> = ["--listen", &listen].into_iter().chain(tls).collect();
    let _daemon = Daemon::start(rig.containerd.address(), &args).await;
    assert_eq!(ping(port, &authority, Some(&client)).await, Some(200));
    assert_eq!(ping(port, &authority, None).await, None);
    // Without a list of roles, no certificate lifts a protection.
    let body = r#"{"request": {"selection": {"filters": {}}, "lift_protection": true}}"#;
    let prune = ["POST", "/reclaim/v1/prune", body];
    let refused = ask(port, &authority, Some(&client), prune).await.unwrap();
    assert_eq!(refused.status, 403, "{refused:#?}");
    assert_eq!(
        refused.json()["error"]["message"],
        "lift_protection: accepted only from root on the daemon's Unix socket, and from clients that \
         access.admin lists; this request is from a client at 127.0.0.1"
    );
    let others = Authority::new();
    let stranger = others.sign("stranger");
    assert_eq!(ping(port, &authority, Some(&stranger)).await, None);
}

#[tokio::test]
async fn tcp_without_tls_is_refused() {
    let rig = Rig::start().await;
    let authority = Authority::new();
    let (certificate, key) = authority.sign("server");
    let listen = format!("tcp://127.0.0.1:{}", free_port());
    let socket = authority.file("s");
    let refused = |args: &[&str]| {
        let mut command = serve(rig.containerd.address(), &socket);
        let output = command
            .args(["--listen", &listen])
            .args(args)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused(&[]);
    assert!(error.contains("needs mutual TLS"), "{error}");
    let error = refused(&["--tls-cert", text(&certificate), "--tls-key", text(&key)]);
    assert!(error.contains("--tls-ca"), "{error}");
    let args = [
        "--tls-cert",
        text(&certificate),
        "--tls-key",
        text(&key),
        "--tls-ca",
        text(&key),
    ];
    let error = refused(&args);
    assert!(error.contains("read the authority in"), "{error}");
    assert!(
        !socket.exists(),
        "no socket stays open if another cannot be opened"
    );
}
