//! The lists of clients and their roles, as configured.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use reclaim_model::PeerCertificate;

use super::{Rights, Role};
use crate::listen;

/// Who is given a role: the owner of a certificate with this name, or a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// `CN:` and the common name of the subject.
    CommonName(String),
    /// `DNS:` and an alternative name.
    Dns(String),
    /// `URI:` and an alternative name, such as a SPIFFE ID.
    Uri(String),
    /// `email:` and an alternative name.
    Email(String),
    /// `group:` and a group of this machine, by name or number.
    Group(String),
}

/// A text that is not a [`Grantee`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no client; accepted are CN:, DNS:, URI: or email: and a name in a certificate, and \
     group: and the name or number of a group"
)]
pub struct InvalidGrantee(String);

impl Grantee {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::CommonName(name) => ("CN", name),
            Self::Dns(name) => ("DNS", name),
            Self::Uri(name) => ("URI", name),
            Self::Email(name) => ("email", name),
            Self::Group(name) => ("group", name),
        }
    }

    /// Whether a certificate has this name. Only names of hosts are the same in other letters.
    fn is_in(&self, certificate: &PeerCertificate) -> bool {
        let has = |text: &str| {
            certificate
                .alternative_names
                .iter()
                .any(|name| name == text)
        };
        match self {
            Self::CommonName(name) => certificate.common_name.as_ref() == Some(name),
            Self::Dns(_) => {
                let text = self.to_string();
                let mut names = certificate.alternative_names.iter();
                names.any(|name| name.eq_ignore_ascii_case(&text))
            }
            Self::Uri(_) | Self::Email(_) => has(&self.to_string()),
            Self::Group(_) => false,
        }
    }
}

impl FromStr for Grantee {
    type Err = InvalidGrantee;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').filter(|(_, name)| {
            let has_edge = name.trim() != *name;
            !name.is_empty() && !has_edge && !name.contains(char::is_control)
        });
        let Some((kind, name)) = parts else {
            return Err(InvalidGrantee(text.to_owned()));
        };
        let new = match kind {
            "CN" => Self::CommonName,
            "DNS" => Self::Dns,
            "URI" => Self::Uri,
            "email" => Self::Email,
            "group" => Self::Group,
            _ => return Err(InvalidGrantee(text.to_owned())),
        };
        Ok(new(name.to_owned()))
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.parts();
        write!(formatter, "{kind}:{name}")
    }
}

/// The clients that have been given a role. A client with several roles has the highest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLists {
    /// Who has which role.
    pub entries: Vec<(Grantee, Role)>,
}

/// A listed group that this machine does not have, or that cannot be looked up.
#[derive(Debug, thiserror::Error)]
#[error("access.{role} has a group that cannot be used")]
pub struct UnknownGroup {
    role: Role,
    #[source]
    source: listen::ListenError,
}

/// The lists with the numbers of groups.
#[derive(Debug, Default)]
pub(super) struct Rules {
    certificates: Vec<(Grantee, Role)>,
    groups: Vec<(u32, Role)>,
}

/// The groups of a process. `None` if they could not be looked up.
pub(super) type Members = Option<BTreeSet<u32>>;

/// The owner and the group of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketOwner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl AccessLists {
    /// Looks up the groups.
    fn resolved(self) -> Result<Rules, UnknownGroup> {
        let mut rules = Rules::default();
        for (grantee, role) in self.entries {
            if let Grantee::Group(name) = &grantee {
                let group = listen::group(name);
                let group = group.map_err(|source| UnknownGroup { role, source })?;
                rules.groups.push((group, role));
            } else {
                rules.certificates.push((grantee, role));
            }
        }
        Ok(rules)
    }
}

impl Rules {
    /// Whether the groups of processes matter.
    pub(super) fn have_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Returns the rights of a client over TLS.
    pub(super) fn of_certificate(&self, certificate: Option<&PeerCertificate>) -> Rights {
        if self.certificates.is_empty() {
            return Rights::UNLISTED;
        }
        let names = certificate.into_iter().flat_map(|certificate| {
            let listed = self.certificates.iter();
            listed.filter(move |(grantee, _)| grantee.is_in(certificate))
        });
        names
            .map(|(_, role)| *role)
            .max()
            .map_or(Rights::NONE, Rights::given)
    }

    /// Returns the rights of a process on a Unix socket. Root is an administrator. The owner and the
    /// group of the socket have the rights of unlisted clients, unless that group is listed.
    pub(super) fn of_process(
        &self,
        uid: u32,
        groups: &Members,
        socket: Option<SocketOwner>,
    ) -> Rights {
        if uid == 0 {
            return Rights::given(Role::Admin);
        }
        if self.groups.is_empty() {
            return Rights::UNLISTED;
        }
        let is_member = |gid: u32| groups.as_ref().is_some_and(|groups| groups.contains(&gid));
        let listed = self.groups.iter().filter(|(gid, _)| is_member(*gid));
        let given = listed.map(|(_, role)| *role).max();
        let given = given.map_or(Rights::NONE, Rights::given);
        let by_socket = socket.is_some_and(|socket| {
            let is_listed = self.groups.iter().any(|(gid, _)| *gid == socket.gid);
            socket.uid == uid || (is_member(socket.gid) && !is_listed)
        });
        if by_socket {
            given.max(Rights::UNLISTED)
        } else {
            given
        }
    }

    /// Returns the rights of a client about which nothing is known.
    pub(super) fn of_unknown(&self) -> Rights {
        if self.certificates.is_empty() && self.groups.is_empty() {
            Rights::UNLISTED
        } else {
            Rights::NONE
        }
    }
}

/// The lists in force. Cheap to clone: all clones see a replacement.
#[derive(Debug, Clone, Default)]
pub struct Access {
    rules: Arc<RwLock<Arc<Rules>>>,
}

impl Access {
    /// Puts lists in force.
    ///
    /// # Errors
    ///
    /// [`UnknownGroup`] if a group does not exist.
    pub fn new(lists: AccessLists) -> Result<Self, UnknownGroup> {
        let access = Self::default();
        access.replace(lists)?;
        Ok(access)
    }

    /// Puts other lists in force, also for connections that are open. After an error the earlier ones
    /// stay.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn replace(&self, lists: AccessLists) -> Result<(), UnknownGroup> {
        let rules = Arc::new(lists.resolved()?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(entries: &[(&str, Role)]) -> Rules {
        let entries = entries.iter();
        let entries = entries.map(|(text, role)| (text.parse().unwrap(), *role));
        let lists = AccessLists {
            entries: entries.collect(),
        };
        lists.resolved().unwrap()
    }

    #[test]
    fn parses_what_it_prints_and_names_what_it_accepts() {
        for text in [
            "CN:operator",
            "DNS:ci.example",
            "URI:spiffe://example/ci",
            "email:a@example",
            "group:999",
        ] {
            assert_eq!(text.parse::<Grantee>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "operator",
            "CN:",
            "cn:operator",
            "IP:10.0.0.1",
            "group: a",
            "CN:a\n",
        ] {
            let error = text.parse::<Grantee>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` names no")), "{error}");
        }
        let unknown = AccessLists {
            entries: vec![("group:no-such-group".parse().unwrap(), Role::Read)],
        };
        let error = reclaim_model::chain(&unknown.resolved().unwrap_err());
        assert!(
            error.contains("access.read") && error.contains("`no-such-group`"),
            "{error}"
        );
    }

    #[test]
    fn a_name_counts_only_in_the_place_that_the_list_says() {
        let certificate = PeerCertificate {
            subject: "CN=ci.example,O=Example".to_owned(),
            common_name: Some("ci.example".to_owned()),
            alternative_names: vec![
                "DNS:Build.example".to_owned(),
                "URI:spiffe://example/CI".to_owned(),
                "email:ci@example".to_owned(),
                "IP:10.0.0.1".to_owned(),
            ],
        };
        for (listed, has_role) in [
            ("CN:ci.example", true),
            ("DNS:ci.example", false),
            ("DNS:build.example", true),
            ("CN:Build.example", false),
            ("DNS:*.example", false),
            ("URI:spiffe://example/CI", true),
            ("URI:spiffe://example/ci", false),
            ("URI:spiffe://example", false),
            ("email:ci@example", true),
            ("CN:CN=ci.example,O=Example", false),
            ("group:0", false),
        ] {
            // Another entry, so that the list is not empty.
            let rules = rules(&[(listed, Role::Prune), ("CN:other", Role::Admin)]);
            let rights = rules.of_certificate(Some(&certificate));
            let expected = if has_role {
                Rights::given(Role::Prune)
            } else {
                Rights::NONE
            };
            assert_eq!(rights, expected, "{listed}");
        }
        let both = rules(&[
            ("CN:ci.example", Role::Admin),
            ("DNS:build.example", Role::Read),
        ]);
        assert_eq!(
            both.of_certificate(Some(&certificate)),
            Rights::given(Role::Admin)
        );
        assert_eq!(both.of_certificate(None), Rights::NONE);
        assert_eq!(both.of_unknown(), Rights::NONE);
    }

    #[test]
    fn without_a_list_all_but_lifting_is_allowed_and_only_root_lifts() {
        for rules in [rules(&[]), rules(&[("group:7", Role::Read)])] {
            assert_eq!(rules.of_certificate(None), Rights::UNLISTED);
        }
        for rules in [rules(&[]), rules(&[("CN:a", Role::Read)])] {
            assert_eq!(rules.of_process(1000, &None, None), Rights::UNLISTED);
            assert_eq!(rules.of_process(0, &None, None), Rights::given(Role::Admin));
        }
    }

    #[test]
    fn a_process_has_the_highest_role_of_its_groups() {
        const SOCKET: u32 = 50;
        let socket = Some(SocketOwner {
            uid: 2000,
            gid: SOCKET,
        });
        let listed = rules(&[("group:7", Role::Read), ("group:8", Role::Admin)]);
        let limited = rules(&[("group:50", Role::Read), ("group:8", Role::Admin)]);
        let read = Rights::given(Role::Read);
        let admin = Rights::given(Role::Admin);
        for (rules, uid, groups, expected) in [
            (&listed, 1000, &[7][..], read),
            (&listed, 1000, &[7, 8], admin),
            (&listed, 1000, &[9], Rights::NONE),
            (&listed, 1000, &[SOCKET], Rights::UNLISTED),
            (&listed, 1000, &[SOCKET, 7], Rights::UNLISTED),
            (&listed, 1000, &[SOCKET, 8], admin),
            (&limited, 1000, &[SOCKET], read),
            (&limited, 1000, &[SOCKET, 8], admin),
            (&limited, 2000, &[9], Rights::UNLISTED),
            (&limited, 0, &[9], admin),
        ] {
            let groups = Some(groups.iter().copied().collect());
            assert_eq!(
                rules.of_process(uid, &groups, socket),
                expected,
                "{uid} {groups:?}"
            );
        }
        assert_eq!(listed.of_process(1000, &None, socket), Rights::NONE);
    }

    #[test]
    fn lists_that_are_not_accepted_change_nothing() {
        let list = |text: &str| AccessLists {
            entries: vec![(text.parse().unwrap(), Role::Read)],
        };
        let access = Access::new(list("CN:a")).unwrap();
        assert!(access.replace(list("group:no-such-group")).is_err());
        assert_eq!(access.rules().of_certificate(None), Rights::NONE);
        access.replace(AccessLists::default()).unwrap();
        assert_eq!(access.rules().of_certificate(None), Rights::UNLISTED);
    }
}
