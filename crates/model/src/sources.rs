//! The repositories that containerd's labels name as the sources of a blob.

use crate::Reference;

/// The prefix of content labels that name a registry. Their value is a list of its repositories,
/// separated by commas.
const SOURCE: &str = "containerd.io/distribution.source.";

/// The repositories that a blob was pulled from or pushed to, in the labels that pulls and pushes
/// write.
///
/// Content that was built or imported has no such label. containerd does not add a repository to a
/// label that would outgrow 4,096 bytes, so a source may be missing, but is never invented.
///
/// Source: containerd `core/remotes/docker/handler.go`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources(Box<[Box<str>]>);

impl Sources {
    /// Reads the sources out of a blob's labels.
    pub fn parse<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let hosts = labels
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(SOURCE)?, value)))
            .filter(|(host, _)| !host.is_empty());
        let repositories = hosts.flat_map(|(host, value)| {
            let paths = value.split(',').filter(|path| !path.is_empty());
            paths.map(move |path| format!("{host}/{path}").into_boxed_str())
        });
        let mut repositories: Vec<Box<str>> = repositories.collect();
        repositories.sort_unstable();
        Self(repositories.into())
    }

    /// Returns the label, key and value, of a blob that was pulled from the repository of a name.
    pub fn label(name: &Reference) -> (String, String) {
        let key = format!("{SOURCE}{}", host(name.domain()));
        (key, name.path().to_owned())
    }

    /// Returns the repositories, each with the host of its registry in front.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|repository| &**repository)
    }

    /// Makes the sources of repositories as [`Self::repositories`] returns them.
    pub fn of_repositories<'a>(repositories: impl IntoIterator<Item = &'a str>) -> Self {
        let repositories = repositories.into_iter().map(Box::from);
        let mut repositories: Vec<Box<str>> = repositories.collect();
        repositories.sort_unstable();
        Self(repositories.into())
    }

    /// Whether the blob has no source.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the repository of a name is a source. The label has the host of a registry without
    /// its port, so two registries on one host are the same here.
    pub fn has_repository_of(&self, name: &Reference) -> bool {
        let repository = format!("{}/{}", host(name.domain()), name.path());
        self.0.iter().any(|source| **source == *repository)
    }
}

/// Returns the host of a registry, without its port and without the brackets of an IPv6 address.
fn host(domain: &str) -> &str {
    match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => domain.split(':').next().unwrap_or(domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(labels: &[(&str, &str)], name: &str) -> bool {
        let labels = labels
            .iter()
            .map(|(host, paths)| (format!("{SOURCE}{host}"), *paths));
        let labels: Vec<(String, &str)> = labels.collect();
        let sources = Sources::parse(labels.iter().map(|(key, value)| (&**key, *value)));
        sources.has_repository_of(&Reference::parse_normalized(name).unwrap())
    }

    #[test]
    fn finds_the_repository_whatever_the_tag_digest_and_port() {
        let hub = [("docker.io", "library/app,team/app")];
        let digest = format!("team/app@sha256:{}", "a".repeat(64));
        for name in ["app", "app:1", "docker.io/team/app:2", &digest] {
            assert!(has(&hub, name), "{name}");
        }
        let local = [("localhost", "app")];
        assert!(has(&local, "localhost/app:1"));
        assert!(has(&local, "localhost:5000/app:1"));
        assert!(has(&[("::1", "app")], "[::1]:5000/app:1"));
        assert!(has(
            &[("a.example", "x"), ("b.example", "y")],
            "b.example/y"
        ));
    }

    #[test]
    fn another_repository_and_another_registry_are_no_source() {
        let hub = [("docker.io", "library/app,team/app")];
        for name in [
            "registry.internal/library/app:1",
            "library/app/more",
            "ap",
            "other/app",
            "library/app2",
            "docker.io.example/library/app",
        ] {
            assert!(!has(&hub, name), "{name}");
        }
        assert!(!has(&[("example", "com/app")], "example.com/app"));
        assert!(!has(&[("", "my_host.local/app")], "my_host.local/app"));
    }

    #[test]
    fn other_labels_and_empty_ones_name_no_source() {
        for labels in [
            ("team", "shop"),
            ("containerd.io/distribution.source.docker.io", ""),
            ("containerd.io/distribution.source.docker.io", ",,"),
            ("containerd.io/distribution.source", "library/app"),
            ("containerd.io/distribution.source.", "library/app"),
        ] {
            assert!(Sources::parse([labels]).is_empty(), "{labels:?}");
        }
    }
}
