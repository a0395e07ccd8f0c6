//! The hosts of a registry, by containerd's hosts configuration.
//!
//! Client certificates, headers and `skip_verify` are not used: the first two are credentials, and
//! the answer of a host that is not verified proves nothing.
//!
//! Source: containerd `core/remotes/docker/config/hosts.go` and `docs/hosts.md`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use http::Uri;
use serde::Deserialize;

/// The maximum size of a file.
const MAX_FILE: u64 = 1 << 20;

const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// A host that serves pulls of a registry's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// `https` or `http`.
    pub(crate) scheme: String,
    /// Its name, with its port if it has one.
    pub(crate) authority: String,
    /// How all paths begin, such as `/v2`.
    pub(crate) path: String,
    /// Files with certificates that verify it, in addition to those of the machine.
    pub(crate) certificates: Vec<PathBuf>,
    /// Whether it is the registry itself rather than a mirror.
    pub(crate) is_server: bool,
    /// Whether a file names it.
    pub(crate) is_configured: bool,
}

/// Why the hosts of a registry are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostsError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {error}", file.display())]
    Read { file: PathBuf, error: io::Error },
    /// The file has another form.
    #[error("cannot use `{}`: {error}", file.display())]
    Form { file: PathBuf, error: String },
}

/// A `hosts.toml`, without what is not used.
#[derive(Debug, Default, Deserialize)]
struct HostsFile {
    server: Option<String>,
    #[serde(flatten)]
    of_server: HostSettings,
    #[serde(default)]
    host: BTreeMap<String, HostSettings>,
}

#[derive(Debug, Default, Deserialize)]
struct HostSettings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    #[serde(default)]
    override_path: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

/// Returns the hosts that serve pulls of a registry's images: mirrors, then the registry itself.
pub(crate) fn hosts(roots: &[PathBuf], registry: &str) -> Result<Vec<Host>, HostsError> {
    let Some(directory) = directory(roots, registry) else {
        return Ok(vec![Host::of_registry(registry)]);
    };
    let file = directory.join("hosts.toml");
    let text = match read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![Host {
                certificates: certificates(&directory),
                ..Host::of_registry(registry)
            }]);
        }
        Err(error) => return Err(HostsError::Read { file, error }),
    };
    let form = |error: String| HostsError::Form {
        file: file.clone(),
        error,
    };
    let parsed: HostsFile =
        toml::from_str(&text).map_err(|error: toml::de::Error| form(error.message().to_owned()))?;
    let mut hosts = Vec::new();
    for (address, settings) in &parsed.host {
        if settings.serves_pulls() {
            hosts.push(Host::at(address, settings, &directory).map_err(form)?);
        }
    }
    let settings = &parsed.of_server;
    match parsed.server {
        Some(server) if settings.serves_pulls() => {
            let server = Host::at(&server, settings, &directory).map_err(form)?;
            hosts.push(Host {
                is_server: true,
                ..server
            });
        }
        Some(_) => {}
        None => hosts.push(Host {
            certificates: settings.certificates(&directory),
            ..Host::of_registry(registry)
        }),
    }
    Ok(hosts)
}

/// Returns why a mirror on this machine may serve the images of a registry to other machines: a host in
/// its file is this machine, or the file cannot be read.
pub(crate) fn local_mirror(roots: &[PathBuf], registry: &str) -> Option<String> {
    let file = directory(roots, registry)?.join("hosts.toml");
    let configured = match hosts(roots, registry) {
        Ok(configured) => configured,
        Err(error) => return Some(error.to_string()),
    };
    let mut configured = configured.into_iter().filter(|host| host.is_configured);
    let local = configured.find(|host| is_this_machine(host.host()))?;
    let (authority, file) = (local.authority, file.display());
    Some(format!("mirror {authority} of {registry} in `{file}`"))
}

/// Whether the name of a host is this machine's, as far as that can be seen without asking others.
fn is_this_machine(host: &str) -> bool {
    if is_loopback(host) || host.ends_with(".localhost") {
        return true;
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = ip.parse::<IpAddr>() {
        // Only an address of this machine can be bound.
        return ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok();
    }
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim();
    !own.is_empty() && host.eq_ignore_ascii_case(own)
}

/// Returns the directory of a registry, in the first of the directories that has one.
fn directory(roots: &[PathBuf], registry: &str) -> Option<PathBuf> {
    let with_port = registry
        .rsplit_once(':')
        .map(|(host, port)| format!("{host}_{port}_"));
    let names = with_port
        .iter()
        .map(String::as_str)
        .chain([registry, "_default"]);
    let names: Vec<&str> = names.collect();
    let mut places = roots
        .iter()
        .flat_map(|root| names.iter().map(|name| root.join(name)));
    places.find(|place| place.is_dir())
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the files with certificates in a directory without `hosts.toml`.
fn certificates(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|it| it == "crt"))
        .collect();
    files.sort();
    files
}

/// Whether the name of a host is that of this machine to itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || ip.is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl HostSettings {
    fn serves_pulls(&self) -> bool {
        let capabilities = self.capabilities.as_ref();
        capabilities.is_none_or(|all| all.iter().any(|capability| capability == "pull"))
    }

    /// Returns the files with certificates. A relative path begins at the file's directory.
    fn certificates(&self, directory: &Path) -> Vec<PathBuf> {
        let files = match &self.ca {
            None => &[],
            Some(OneOrMore::One(file)) => std::slice::from_ref(file),
            Some(OneOrMore::More(files)) => files.as_slice(),
        };
        files.iter().map(|file| directory.join(file)).collect()
    }
}

impl Host {
    /// Returns the host of a registry without a configuration. Loopback addresses with a port
    /// speak plain HTTP, unless it is that of HTTPS.
    fn of_registry(registry: &str) -> Self {
        let authority = if registry == HUB { HUB_HOST } else { registry };
        let mut host = Self {
            scheme: "https".to_owned(),
            authority: authority.to_owned(),
            path: "/v2".to_owned(),
            certificates: Vec::new(),
            is_server: true,
            is_configured: false,
        };
        let name = host.host();
        let port = &authority[name.len()..];
        if is_loopback(name) && !["", ":443"].contains(&port) {
            "http".clone_into(&mut host.scheme);
        }
        host
    }

    /// Reads the address of a host.
    fn at(address: &str, settings: &HostSettings, directory: &Path) -> Result<Self, String> {
        let full = if address.contains("://") {
            address.to_owned()
        } else {
            format!("https://{address}")
        };
        let wrong = || format!("`{address}` is not the address of a host");
        let uri: Uri = full.parse().map_err(|_| wrong())?;
        let scheme = uri.scheme_str().ok_or_else(wrong)?;
        let authority = uri.authority().ok_or_else(wrong)?.as_str();
        // Credentials are not sent.
        if !["http", "https"].contains(&scheme) || authority.contains('@') {
            return Err(wrong());
        }
        let path = uri.path().trim_end_matches('/');
        let path = if settings.override_path || path.ends_with("/v2") {
            path.to_owned()
        } else {
            format!("{path}/v2")
        };
        let authority = if authority == HUB {
            HUB_HOST
        } else {
            authority
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path,
            certificates: settings.certificates(directory),
            is_server: false,
            is_configured: true,
        })
    }

    /// Whether it is a mirror of a registry.
    pub(crate) fn is_mirror_of(&self, registry: &str) -> bool {
        self.authority != registry && (registry != HUB || self.authority != HUB_HOST)
    }

    /// Returns its name without a port.
    pub(crate) fn host(&self) -> &str {
        let authority = self.authority.as_str();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(root: &Path, registry: &str) -> Vec<String> {
        let hosts = hosts(&[root.to_owned()], registry).unwrap();
        let address = |host: &Host| format!("{}://{}{}", host.scheme, host.authority, host.path);
        hosts.iter().map(address).collect()
    }

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_registry_without_a_configuration_is_its_own_host() {
        let root = tempfile::tempdir().unwrap();
        for (registry, address) in [
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("registry.example", "https://registry.example/v2"),
            ("registry.example:5000", "https://registry.example:5000/v2"),
            ("localhost", "https://localhost/v2"),
            ("localhost:443", "https://localhost:443/v2"),
            ("localhost:5000", "http://localhost:5000/v2"),
            ("127.0.0.9:5000", "http://127.0.0.9:5000/v2"),
            ("[::1]:5000", "http://[::1]:5000/v2"),
        ] {
            assert_eq!(addresses(root.path(), registry), [address]);
            assert!(!hosts(&[], registry).unwrap()[0].is_mirror_of(registry));
        }
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let root = tempfile::tempdir().unwrap();
        let text = "[host.\"https://mirror.example\"]\n\
                    [host.\"http://[::1]:5000/cache\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
                    [host.\"exact.example/all/here\"]\noverride_path = true\n\
                    [host.\"https://push.example\"]\ncapabilities = [\"push\"]\n";
        write(root.path(), "docker.io/hosts.toml", text);
        let found = addresses(root.path(), "docker.io");
        let expected = [
            "https://exact.example/all/here",
            "http://[::1]:5000/cache/v2",
            "https://mirror.example/v2",
            "https://registry-1.docker.io/v2",
        ];
        assert_eq!(found, expected);
        write(root.path(), "_default/hosts.toml", text);
        let found = addresses(root.path(), "registry.example:5000");
        assert_eq!(found[..3], expected[..3]);
        assert_eq!(found[3], "https://registry.example:5000/v2");
        write(
            root.path(),
            "registry.example_5000_/hosts.toml",
            "server = \"http://other.example/v2\"\ncapabilities = [\"resolve\", \"pull\"]\n",
        );
        assert_eq!(
            addresses(root.path(), "registry.example:5000"),
            ["http://other.example/v2"]
        );
        write(
            root.path(),
            "registry.example/hosts.toml",
            "server = \"docker.io\"\ncapabilities = [\"push\"]\n",
        );
        assert_eq!(
            addresses(root.path(), "registry.example"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn certificates_are_relative_to_the_file() {
        let root = tempfile::tempdir().unwrap();
        let certificates = |registry: &str| {
            let hosts = hosts(&[root.path().to_owned()], registry).unwrap();
            hosts[0].certificates.clone()
        };
        let directory = root.path().join("a.example");
        write(root.path(), "a.example/ca.crt", "");
        write(root.path(), "a.example/client.key", "");
        assert_eq!(certificates("a.example"), [directory.join("ca.crt")]);
        write(root.path(), "a.example/hosts.toml", "ca = \"own.pem\"\n");
        assert_eq!(certificates("a.example"), [directory.join("own.pem")]);
        write(
            root.path(),
            "a.example/hosts.toml",
            "[host.\"b.example\"]\nca = [\"/etc/ca.pem\", \"own.pem\"]\n",
        );
        assert_eq!(
            certificates("a.example"),
            [PathBuf::from("/etc/ca.pem"), directory.join("own.pem")]
        );
    }

    #[test]
    fn what_cannot_be_used_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        for text in [
            "server = [",
            "server = 1",
            "server = \"ftp://a.example\"",
            "server = \"https://user:password@a.example\"",
            "[host.\"https://a b\"]",
            "[host.\"https://a\"]\ncapabilities = \"pull\"",
        ] {
            write(root.path(), "a.example/hosts.toml", text);
            let error = hosts(&[root.path().to_owned()], "a.example").unwrap_err();
            assert!(
                error.to_string().contains("a.example/hosts.toml"),
                "{error}"
            );
        }
        fs::remove_file(root.path().join("a.example/hosts.toml")).unwrap();
        fs::create_dir(root.path().join("a.example/hosts.toml")).unwrap();
        assert!(hosts(&[root.path().to_owned()], "a.example").is_err());
    }

    #[test]
    fn a_mirror_on_this_machine_is_one_that_a_file_names() {
        let root = tempfile::tempdir().unwrap();
        let roots = [root.path().to_owned()];
        let local = |registry: &str| local_mirror(&roots, registry);
        assert_eq!(local("localhost:5000"), None, "no file names it");
        let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        for host in [
            "127.0.0.1:30020",
            "[::1]:5000",
            "localhost",
            "0.0.0.0:1",
            own.trim(),
        ] {
            let text = format!("server = \"https://a.example\"\n[host.\"http://{host}\"]\n");
            write(root.path(), "a.example/hosts.toml", &text);
            let why = local("a.example").unwrap();
            assert!(
                why.contains(host) && why.contains("a.example/hosts.toml"),
                "{why}"
            );
        }
        assert_eq!(local("b.example"), None);
        write(
            root.path(),
            "_default/hosts.toml",
            "[host.\"http://127.0.0.1:1\"]\n",
        );
        assert!(local("b.example").is_some());
        // Its own file comes before that for all others. No machine has 192.0.2.1.
        write(
            root.path(),
            "b.example/hosts.toml",
            "[host.\"http://192.0.2.1:1\"]\n",
        );
        assert_eq!(local("b.example"), None);
        write(root.path(), "b.example/hosts.toml", "host = [");
        assert!(local("b.example").unwrap().contains("b.example/hosts.toml"));
    }

    #[test]
    fn the_first_directory_that_has_the_registry_counts() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(
            first.path(),
            "_default/hosts.toml",
            "server = \"first.example\"",
        );
        write(
            second.path(),
            "a.example/hosts.toml",
            "server = \"second.example\"",
        );
        let roots = [first.path().to_owned(), second.path().to_owned()];
        assert_eq!(
            hosts(&roots, "a.example").unwrap()[0].authority,
            "first.example"
        );
    }
}
