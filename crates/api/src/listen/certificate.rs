//! The names in a client's certificate, which the TLS handshake has verified.

use std::fmt::Write;
use std::net::IpAddr;

use reclaim_model::PeerCertificate;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Error};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Reads the names in a certificate.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Result<PeerCertificate, X509Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| match error {
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
        x509_parser::nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
    })?;
    let subject = certificate.subject();
    let mut common_names = subject.iter_common_name();
    let common_name = common_names.next().and_then(|name| name.as_str().ok());
    let alternative = certificate.subject_alternative_name()?;
    let alternative = alternative.map(|extension| extension.value.general_names.as_slice());
    Ok(PeerCertificate {
        subject: subject_text(subject),
        common_name: common_name
            .filter(|_| common_names.next().is_none())
            .map(str::to_owned),
        alternative_names: alternative
            .into_iter()
            .flatten()
            .filter_map(alternative_name)
            .collect(),
    })
}

/// Writes an alternative name after its kind; `None` for the kinds that do not name clients.
fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => ip_address(bytes).map(|address| format!("IP:{address}")),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Writes a subject in the form of RFC 4514, so that no two subjects have the same text.
fn subject_text(subject: &X509Name<'_>) -> String {
    let parts: Vec<String> = subject
        .iter()
        .map(|part| {
            part.iter()
                .map(attribute)
                .collect::<Vec<String>>()
                .join("+")
        })
        .collect();
    let parts: Vec<&str> = parts.iter().rev().map(String::as_str).collect();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    match (oid2abbrev(kind, oid_registry()), attribute.as_str()) {
        (Ok(name), Ok(value)) => format!("{name}={}", escaped(value)),
        (Err(_), Ok(value)) => format!("{}={}", kind.to_id_string(), escaped(value)),
        // Not a text.
        (_, Err(_)) => {
            let mut text = format!("{}=#", kind.to_id_string());
            for byte in attribute.as_slice() {
                write!(text, "{byte:02x}").expect("a string takes any text");
            }
            text
        }
    }
}

/// Escapes a value.
///
/// Source: RFC 4514, section 2.4.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let is_special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (character == ' ' && (index == 0 || index == last))
            || (character == '#' && index == 0);
        match character {
            '\0' => text.push_str("\\00"),
            _ if is_special => text.extend(['\\', character]),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn read(names: &[(DnType, &str)], alternative: Vec<SanType>) -> PeerCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = alternative;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        super::names(certificate.der()).unwrap()
    }

    #[test]
    fn reads_the_subject_and_the_alternative_names() {
        let subject = [
            (DnType::OrganizationName, "Example"),
            (DnType::CommonName, "ci"),
        ];
        let alternative = vec![
            SanType::DnsName("ci.example".try_into().unwrap()),
            SanType::IpAddress(IpAddr::from([10, 0, 0, 1])),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::URI("spiffe://example/ci".try_into().unwrap()),
            SanType::Rfc822Name("ci@example".try_into().unwrap()),
        ];
        let expected = PeerCertificate {
            subject: "CN=ci,O=Example".to_owned(),
            common_name: Some("ci".to_owned()),
            alternative_names: [
                "DNS:ci.example",
                "IP:10.0.0.1",
                "IP:2001:db8::1",
                "URI:spiffe://example/ci",
                "email:ci@example",
            ]
            .map(str::to_owned)
            .into(),
        };
        assert_eq!(read(&subject, alternative), expected);
    }

    #[test]
    fn no_value_reads_as_two_parts() {
        for (value, text) in [
            ("ci,O=Example", r"CN=ci\,O\=Example".replace(r"\=", "=")),
            (" a ", r"CN=\ a\ ".to_owned()),
            ("#a+b", r"CN=\#a\+b".to_owned()),
            ("a\0b", r"CN=a\00b".to_owned()),
            ("", "CN=".to_owned()),
        ] {
            let read = read(&[(DnType::CommonName, value)], Vec::new());
            assert_eq!(read.subject, text);
            assert_eq!(read.common_name.as_deref(), Some(value));
        }
        assert_eq!(read(&[], Vec::new()).common_name, None);
    }
}
