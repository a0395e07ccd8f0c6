//! When TLS files expire.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

/// When the first certificate or list of each kind expires; `None` without one that expires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsExpiry {
    /// The certificate of the server, with the intermediate ones.
    pub server: Option<Timestamp>,
    /// The CAs that sign the certificates of clients.
    pub client_ca: Option<Timestamp>,
    /// The lists of revoked certificates. Without a newer list every client is refused.
    pub crl: Option<Timestamp>,
}

/// Returns when the first of these certificates expires. rustls has accepted them, so one that cannot
/// be parsed here is not an error.
pub(super) fn certificates_expire(certificates: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let parsed = certificates
        .iter()
        .filter_map(|bytes| X509Certificate::from_der(bytes).ok());
    parsed
        .filter_map(|(_, certificate)| time(certificate.validity().not_after))
        .min()
}

/// Returns when the first of these lists has to be replaced by a newer one.
pub(super) fn lists_expire(lists: &[CertificateRevocationListDer<'_>]) -> Option<Timestamp> {
    let parsed = lists
        .iter()
        .filter_map(|bytes| CertificateRevocationList::from_der(bytes).ok());
    parsed
        .filter_map(|(_, list)| time(list.next_update()?))
        .min()
}

fn time(time: ASN1Time) -> Option<Timestamp> {
    Timestamp::from_second(time.timestamp()).ok()
}
