//! `[access]`: the roles of clients of `reclaim serve`.

use reclaim_api::access::{AccessLists, Grantee, Role};
use reclaim_maintenance::settings;
use reclaim_maintenance::settings::Text;

settings! {
    pub(super) struct AccessSection in "access" {
        /// Clients that may see everything and make plans, and change nothing.
        read: Vec<Text<Grantee>> = Vec::new(),
            accepts "CN:, DNS:, URI: or email: and a name in a certificate; group: and a group";
        /// Clients that may also prune and remove images, run policies, and register containers.
        prune: Vec<Text<Grantee>> = Vec::new(), accepts "the same";
        /// Clients that may also undo, release, pin, lift `[protect]`, and use a Docker Engine through --forward.
        admin: Vec<Text<Grantee>> = Vec::new(), accepts "the same";
    }
}

impl From<AccessSection> for AccessLists {
    fn from(section: AccessSection) -> Self {
        let AccessSection { read, prune, admin } = section;
        let lists = [
            (Role::Read, read),
            (Role::Prune, prune),
            (Role::Admin, admin),
        ];
        let entries = lists
            .into_iter()
            .flat_map(|(role, list)| list.into_iter().map(move |grantee| (grantee.0, role)));
        Self {
            entries: entries.collect(),
        }
    }
}
