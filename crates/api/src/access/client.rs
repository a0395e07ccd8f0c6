//! The client of a connection, and its rights.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, getgrouplist};
use reclaim_model::{Peer, PeerProcess};
use tokio::sync::OnceCell;
use tracing::warn;

use super::Rights;
use super::lists::{Access, Members, SocketOwner};

/// How long the system may take to look up the groups of a user.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// What a listener decides about the rights of its clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// Whether every request that changes something is refused.
    pub(crate) is_read_only: bool,
    /// The owner of a Unix socket.
    pub(crate) owner: Option<SocketOwner>,
}

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: Arc<Peer>,
    entrance: Entrance,
    access: Access,
    /// The groups of the process, looked up once when a list needs them.
    groups: OnceCell<Members>,
}

impl Client {
    pub(crate) fn new(peer: Peer, entrance: Entrance, access: Access) -> Self {
        Self {
            peer: Arc::new(peer),
            entrance,
            access,
            groups: OnceCell::new(),
        }
    }

    /// Returns what the client may request now.
    pub(crate) async fn rights(&self) -> Rights {
        let rules = self.access.rules();
        let Peer {
            process,
            certificate,
            host,
        } = &*self.peer;
        let rights = match (process, host) {
            (Some(process), _) => {
                let groups = if rules.have_groups() && process.uid != 0 {
                    self.groups.get_or_init(|| groups(process)).await
                } else {
                    &None
                };
                rules.of_process(process.uid, groups, self.entrance.owner)
            }
            (None, Some(_)) => rules.of_certificate(certificate.as_ref()),
            (None, None) => rules.of_unknown(),
        };
        if self.entrance.is_read_only {
            rights.read_only()
        } else {
            rights
        }
    }
}

/// Looks up the groups of a process: that of the process when it connected, and those of its user in
/// the system's database of groups.
///
/// The database and not `/proc`, where the process may be another by the time it is read.
async fn groups(process: &PeerProcess) -> Members {
    let (uid, gid) = (process.uid, process.gid?);
    let looking_up = tokio::task::spawn_blocking(move || groups_of_user(uid, gid));
    match tokio::time::timeout(LOOKUP_TIME, looking_up).await {
        Ok(Ok(Ok(groups))) => Some(groups),
        Ok(Ok(Err(error))) => {
            warn!(uid, %error, "cannot look up the groups of a user; it has no role by group");
            None
        }
        Ok(Err(_)) | Err(_) => {
            warn!(
                uid,
                "looking up the groups of a user did not end; it has no role by group"
            );
            None
        }
    }
}

fn groups_of_user(uid: u32, gid: u32) -> nix::Result<BTreeSet<u32>> {
    let own = BTreeSet::from([gid]);
    let user = User::from_uid(Uid::from_raw(uid))?;
    let Some(user) = user else {
        // A user without a name is a member of no other group.
        return Ok(own);
    };
    let name = CString::new(user.name).map_err(|_| nix::Error::EINVAL)?;
    let groups = getgrouplist(&name, user.gid)?;
    Ok(groups.into_iter().map(Gid::as_raw).chain(own).collect())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::access::{AccessLists, Role};

    fn process(uid: u32, gid: u32) -> Peer {
        Peer {
            process: Some(PeerProcess {
                uid,
                gid: Some(gid),
                pid: None,
                command: None,
            }),
            ..Peer::default()
        }
    }

    fn access(text: &str) -> Access {
        let entries = vec![(text.parse().unwrap(), Role::Prune)];
        Access::new(AccessLists { entries }).unwrap()
    }

    #[tokio::test]
    async fn a_read_only_listener_reduces_every_client() {
        let host = Peer {
            host: Some(IpAddr::from([10, 0, 0, 1])),
            ..Peer::default()
        };
        for peer in [process(0, 0), process(1000, 7), host, Peer::default()] {
            let entrance = Entrance {
                is_read_only: true,
                owner: None,
            };
            let client = Client::new(peer, entrance, Access::default());
            let rights = client.rights().await;
            assert_eq!(rights.role, Some(Role::Read));
            assert!(rights.is_read_only && !rights.may_lift);
        }
    }

    #[tokio::test]
    async fn changed_lists_apply_to_a_client_that_is_connected() {
        let access = access("group:7");
        let client = Client::new(process(4_000_000, 7), Entrance::default(), access.clone());
        assert_eq!(client.rights().await, Rights::given(Role::Prune));
        let entries = vec![("group:7".parse().unwrap(), Role::Read)];
        access.replace(AccessLists { entries }).unwrap();
        assert_eq!(client.rights().await, Rights::given(Role::Read));
        let entries = vec![("group:8".parse().unwrap(), Role::Read)];
        access.replace(AccessLists { entries }).unwrap();
        assert_eq!(client.rights().await, Rights::NONE);
    }

    #[tokio::test]
    async fn a_certificate_without_readable_names_is_on_no_list() {
        let host = Peer {
            host: Some(IpAddr::from([10, 0, 0, 1])),
            ..Peer::default()
        };
        let client = Client::new(host, Entrance::default(), access("CN:a"));
        assert_eq!(client.rights().await, Rights::NONE);
    }
}
