//! Keys of the configuration file, each defined once.
//!
//! [`settings!`](crate::settings!) defines a section as a struct that serde reads. Each key carries
//! its meaning as its doc comment, its type, which checks the value, and its default. The JSON
//! Schema and the tests of `docs/configuration.md` use the same definition, as a list of [`Key`]s.

mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use serde::de;

pub use values::{
    Age, Count, Lease, Period, Range, SizeOrAuto, Span, Text, TextForm, Wait, duration_text,
    duration_within,
};

/// The type of a key's value in a JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text that matches this regular expression.
    Pattern(&'static str),
    /// A boolean.
    Bool,
    /// A whole number within these bounds.
    Integer(u32, u32),
    /// A list of strings.
    List,
}

/// A key of the configuration file, for the schema and the manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The section that it is in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Its default as TOML, or what an unset key means; empty if that is nothing.
    pub default: String,
    /// The accepted values.
    pub accepts: String,
    /// What it means.
    pub meaning: String,
}

/// Texts of a key that its type does not imply.
#[derive(Debug, Clone, Copy)]
pub struct Texts {
    /// The accepted values, in place of those of the type.
    pub accepts: Option<&'static str>,
    /// What to add to the accepted values.
    pub note: Option<&'static str>,
    /// What an unset key means.
    pub unset: Option<&'static str>,
    /// The doc comment.
    pub meaning: &'static str,
}

impl Key {
    /// Describes a key by its type, default and texts.
    ///
    /// # Panics
    ///
    /// Never, with defaults that have a form in JSON.
    pub fn new<T: Setting + Serialize>(
        section: &'static str,
        name: &'static str,
        default: Option<&T>,
        texts: Texts,
    ) -> Self {
        let shown = |default| serde_json::to_string(default).expect("a default has a form in JSON");
        let accepts = texts.accepts.map_or_else(T::accepts, ToOwned::to_owned);
        Self {
            section,
            name,
            kind: T::KIND,
            default: default.map_or_else(|| texts.unset.unwrap_or_default().to_owned(), shown),
            accepts: match texts.note {
                Some(note) => format!("{accepts}; {note}"),
                None => accepts,
            },
            meaning: texts.meaning.trim().to_owned(),
        }
    }
}

/// A type of values of the configuration file.
pub trait Setting: Sized {
    /// The type in a JSON Schema.
    const KIND: Kind;

    /// Returns the accepted values, for the manual.
    fn accepts() -> String;

    /// Returns the value of a key that is not set and has no default; `None` if it has to be set.
    fn unset() -> Option<Self> {
        None
    }

    /// Whether the key is not set.
    fn is_unset(&self) -> bool {
        false
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;

    fn accepts() -> String {
        T::accepts()
    }

    fn unset() -> Option<Self> {
        Some(None)
    }

    fn is_unset(&self) -> bool {
        self.is_none()
    }
}

impl Setting for bool {
    const KIND: Kind = Kind::Bool;

    fn accepts() -> String {
        "true or false".to_owned()
    }
}

impl Setting for String {
    const KIND: Kind = Kind::Text;

    fn accepts() -> String {
        "a name".to_owned()
    }
}

impl Setting for PathBuf {
    const KIND: Kind = Kind::Text;

    fn accepts() -> String {
        "a path".to_owned()
    }
}

impl Setting for SocketAddr {
    const KIND: Kind = Kind::Text;

    fn accepts() -> String {
        "an IP address and a port".to_owned()
    }
}

impl<T> Setting for Vec<T> {
    const KIND: Kind = Kind::List;

    fn accepts() -> String {
        "a list".to_owned()
    }
}

/// Returns the only element, if there is one. For [`settings!`](crate::settings!).
#[doc(hidden)]
pub fn only<T, const N: usize>(values: [T; N]) -> Option<T> {
    values.into_iter().next()
}

/// Returns the value of a key that is not set. For [`settings!`](crate::settings!).
#[doc(hidden)]
pub fn missing<T: Setting, E: de::Error>(default: Option<T>, key: &'static str) -> Result<T, E> {
    let value = default.or_else(T::unset);
    value.ok_or_else(|| E::missing_field(key))
}

/// Defines a section of the configuration file as a struct that serde reads and writes.
///
/// ```text
/// /// The meaning.
/// key: Type = default, accepts "accepted values", note "addition to them", unset "what unset means";
/// ```
///
/// All but the type is optional. Without a default, a key is required unless its type is an
/// [`Option`]. Unknown keys are errors.
#[macro_export]
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident in $section:literal {
            $(
                $(#[doc = $meaning:literal])+
                $key:ident: $type:ty $(= $default:expr)?
                    $(, accepts $accepts:literal)?
                    $(, note $note:literal)?
                    $(, unset $unset:literal)?;
            )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, serde::Serialize)]
        $visibility struct $name {
            $(
                $(#[doc = $meaning])+
                #[serde(skip_serializing_if = "reclaim_maintenance::settings::Setting::is_unset")]
                pub $key: $type,
            )+
        }

        const _: () = {
            #[derive(serde::Deserialize)]
            #[serde(deny_unknown_fields, expecting = "a table")]
            struct Raw {
                $($key: Option<$type>,)+
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    let raw = Raw::deserialize(deserializer)?;
                    Ok(Self {
                        $($key: match raw.$key {
                            Some(value) => value,
                            None => $crate::settings::missing(
                                $crate::settings::only([$($default)?]),
                                stringify!($key),
                            )?,
                        },)+
                    })
                }
            }
        };

        impl $name {
            /// Returns the keys of the section.
            $visibility fn keys() -> Vec<$crate::settings::Key> {
                vec![$({
                    let default: Option<$type> = $crate::settings::only([$($default)?]);
                    let texts = $crate::settings::Texts {
                        accepts: $crate::settings::only([$($accepts)?]),
                        note: $crate::settings::only([$($note)?]),
                        unset: $crate::settings::only([$($unset)?]),
                        meaning: concat!($($meaning),+),
                    };
                    $crate::settings::Key::new($section, stringify!($key), default.as_ref(), texts)
                },)+]
            }
        }
    };
}
