//! What measures name: the files of `[[list]]`, and the definitions of `[[dnsbl]]` and `[[filter]]`.

use std::collections::BTreeMap;

use filter::{Definition, Filter, NoSuchFilter};
use forwarder::table::TableErrors;
use policy::Name;
use policy::measures::{self, Wrong};
use relay::dnsbl::{Dnsbl, Dnsbls};
use relay::filters::{Defined, Filters};
use relay::lists::{List, Lists};

use crate::config::Config;
use crate::files::{self, FileError};

/// Why one cannot be used. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("[[{of}]]: `name`: {wrong}\n\nhint: {}", wrong.hint())]
    Name { of: &'static str, wrong: Wrong },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Lines(#[from] TableErrors),
    #[error("[[dnsbl]] `{name}`: `{key}`: {text}")]
    Dnsbl {
        name: String,
        key: &'static str,
        text: String,
    },
    #[error(
        "[[filter]] `{name}`: {wrong}\n\nhint: `http://HOST:PORT` for rspamd; `inet:HOST:PORT` or `unix:PATH` for all kinds"
    )]
    Filter { name: String, wrong: NoSuchFilter },
}

/// Reads every list.
pub(crate) fn read(config: &Config) -> Result<Lists, Error> {
    let read = config.lists.iter().map(|typed| {
        let path = &typed.file;
        let name = &typed.name;
        let hint = format!("`file` of [[list]] `{name}` in the configuration names it");
        let content = files::read("the list ", path, &hint)?;
        let list = List::parse(&path.display().to_string(), content)?;
        Ok((&**name, list))
    });
    by_name(read, |wrong| Error::Name { of: "list", wrong })
}

/// The blocklists.
pub(crate) fn dnsbls(config: &Config) -> Result<Dnsbls, Error> {
    let defined = config.dnsbls.iter().map(|typed| {
        let (answers, reply) = (&typed.answers, &typed.reply);
        let dnsbl = Dnsbl::new(&typed.zone, typed.kind, answers, reply, &typed.first_reply);
        let dnsbl = dnsbl.map_err(|(key, text)| Error::Dnsbl {
            name: typed.name.clone(),
            key,
            text,
        })?;
        Ok((&*typed.name, dnsbl))
    });
    by_name(defined, |wrong| Error::Name { of: "dnsbl", wrong })
}

/// The content filters.
pub(crate) fn filters(config: &Config) -> Result<Filters, Error> {
    let defined = config.filters.iter().map(|typed| {
        let filter = Filter::new(Definition {
            name: (*typed.name).into(),
            kind: typed.kind,
            address: typed.address.clone(),
            password: typed.password.clone(),
            timeout: typed.timeout.0,
            size_max: typed.max_size.0,
        });
        let filter = filter.map_err(|wrong| Error::Filter {
            name: typed.name.clone(),
            wrong,
        })?;
        let on_failure = typed.on_failure;
        Ok((&*typed.name, Defined { filter, on_failure }))
    });
    by_name(defined, |wrong| Error::Name {
        of: "filter",
        wrong,
    })
}

/// All of a kind, each with a name of its own.
pub(crate) fn by_name<'a, T, E>(
    defined: impl Iterator<Item = Result<(&'a str, T), E>>,
    error: impl Fn(Wrong) -> E,
) -> Result<BTreeMap<Name, T>, E> {
    let mut all = BTreeMap::new();
    for one in defined {
        let (name, value) = one?;
        let name = measures::name(name).map_err(&error)?;
        if all.insert(Name::clone(&name), value).is_some() {
            return Err(error(Wrong::Twice(name.to_string())));
        }
    }
    Ok(all)
}
