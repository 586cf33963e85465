//! postsrsd's settings and secrets: `/etc/default/postsrsd` (1.x) or `postsrsd.conf` (2.x).
//!
//! ```text
//! SRS_DOMAIN=fwd.example.net          srs-domain = "fwd.example.net"
//! SRS_SEPARATOR==                     separator = "="
//! SRS_SECRET=/etc/postsrsd.secret     secrets-file = "/etc/postsrsd.secret"
//! ```

use std::path::Path;

use super::source::{Place, beside, parent, settings};
use super::targets::unquoted;
use super::{Imported, NOT_CARRIED, known};
use crate::init;

/// Reads one of the files, or the one that is in a folder.
pub(super) fn read(path: &Path, into: &mut Imported) {
    let names = ["postsrsd.conf", "default/postsrsd", "postsrsd"];
    let mut files = names.iter().map(|name| path.join(name));
    let file = match path.is_dir() {
        true => files.find(|file| file.is_file()),
        false => Some(path.to_owned()),
    };
    let Some(file) = file else {
        let hint = "name postsrsd's file of settings: `onward import postsrsd FILE`";
        let place = Place::whole(path);
        return into.leave(&place, "postsrsd", "has no settings there", hint);
    };
    let mut etc = parent(&file);
    if etc.ends_with("default") {
        etc = parent(&etc);
    }
    let settings = settings(&file, into);
    let value = |names: &[&str]| {
        let found = names.iter().filter_map(|name| settings.get(*name));
        found
            .map(|(value, _)| unquoted(value))
            .find(|value| !value.is_empty())
    };
    // 2.x takes the first of its domains.
    let domain = value(&["SRS_DOMAIN", "srs-domain", "domains"]).unwrap_or_default();
    let first = domain.trim_matches(['{', '}', ' ']).split(',').next();
    match unquoted(first.unwrap_or_default().trim()) {
        "" => {
            let hint = "set `domain` of [srs]";
            into.leave(&Place::whole(&file), "the SRS domain", "is not set", hint);
        }
        domain => into.set("srs", "domain", domain),
    }
    let separator = value(&["SRS_SEPARATOR", "separator"]);
    if let Some(separator) = separator.filter(|separator| *separator != "=") {
        into.set("srs", "separator", separator);
    }
    let secrets = value(&["SRS_SECRET", "secrets-file"]).unwrap_or("/etc/postsrsd.secret");
    let secrets = beside(&etc, secrets);
    match init::imported(&secrets) {
        Ok(content) => into.secrets = Some(content),
        Err(error) => {
            let why = error.to_string();
            let why = why.split("\n\n").next().unwrap_or_default();
            let hint = "without them, bounces to addresses that it made are refused: run the import as root";
            into.leave(&Place::whole(&secrets), "the secrets", why, hint);
        }
    }
    for (setting, hint) in known(BY_HAND) {
        let (name, usual) = setting.split_once(' ').unwrap_or((setting, ""));
        if let Some((value, place)) = settings
            .get(name)
            .filter(|(value, _)| unquoted(value) != usual)
        {
            into.leave(place, &format!("{name} = {value}"), NOT_CARRIED, hint);
        }
    }
}

/// What has no key here, its usual value, and what to know.
const BY_HAND: &str = "
SRS_HASHLENGTH 4: tags that we make have 4 characters; longer ones are understood
hash-length 4: tags that we make have 4 characters; longer ones are understood
SRS_HASHMIN 4: tags of 4 characters are accepted
hash-minimum 4: tags of 4 characters are accepted
SRS_EXTRA_OPTIONS: only senders of other domains are rewritten
always-rewrite off: only senders of other domains are rewritten
original-envelope embedded: addresses that stand for a row of its database are not understood: keep postsrsd for three weeks
SRS_EXCLUDE_DOMAINS: senders of all domains are rewritten; `srs=off` on a line is for its targets
";
