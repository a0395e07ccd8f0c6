//! `[events]`: where the daemon sends an event after each policy run.

use http::Uri;
use reclaim_maintenance::settings;

use super::InvalidSetting;

settings! {
    pub(super) struct EventsSection in "events" {
        /// URL to which a CloudEvent is sent after each recorded policy run, by POST. Not sent unless set.
        url: Option<String>, accepts "an http or https URL";
    }
}

/// Checks the section. Returns the URL, if it is set.
pub(super) fn url(section: EventsSection) -> Result<Option<Uri>, InvalidSetting> {
    let Some(text) = section.url else {
        return Ok(None);
    };
    let url = text.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
            && !url.authority().is_some_and(|it| it.as_str().contains('@'))
    });
    match url {
        Some(url) => Ok(Some(url)),
        // Without the text, which may have a secret.
        None => Err(InvalidSetting::new(
            "events.url",
            "not an http or https URL; accepted is http://HOST[:PORT]/PATH or https://…, without a \
             user"
                .to_owned(),
        )),
    }
}
