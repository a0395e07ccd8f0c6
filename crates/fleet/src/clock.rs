//! The time of day, which goes into leases for people to read and is compared with nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

#[expect(
    clippy::disallowed_methods,
    reason = "for people; nothing depends on it"
)]
pub(crate) fn time_of_day() -> MicroTime {
    let now = std::time::SystemTime::now().try_into();
    MicroTime(now.unwrap_or(Timestamp::UNIX_EPOCH))
}
