//! Listeners and their connections: Unix sockets, TCP with mutual TLS, and sockets from systemd.
//!
//! A client of the API can remove images, which otherwise takes root. So a Unix socket is closed to
//! all but its owner and group from the moment it exists, and TCP requires certificates on both
//! sides. Only metrics, which are read-only, are served without.

mod address;
mod certificate;
mod connections;
mod error;
mod expiry;
mod first_byte;
mod limits;
mod listener;
mod table;
mod takeover;
mod tls;
mod unix;

pub use address::{Address, AddressError};
pub use connections::serve;
pub use error::ListenError;
pub use expiry::TlsExpiry;
pub use limits::{Limits, limited};
pub use listener::{Listener, open, open_plain};
pub(crate) use table::Stream;
pub(crate) use takeover::Connection;
pub use tls::{Tls, TlsError, TlsFiles};
pub(crate) use unix::group;
pub use unix::{SocketAccess, UnixSocket};
