//! `onward spool export`: every queued message as `ID.eml` and `ID.json`, while no daemon runs.
//!
//! Nothing in the spool is changed, and nothing in the folder is overwritten. A message with a damaged body is written as it
//! is to `ID.damaged.eml`; its JSON says what is wrong with it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use control::{LegState, QueueAction};
use queue::StartError;
use queue::verify::{Exported, export};
use relay::operator;
use serde::Serialize;
use spool::{Clock, Entry};

use crate::print::Printer;
use crate::spool_cli::{Finding, print_findings, progress};

/// Why the export ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Spool(#[from] StartError),
    #[error(
        "cannot write {path}: {source}\n\nhint: `spool export` overwrites nothing; name a folder that is empty or not there yet"
    )]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {text}")]
    Json { path: PathBuf, text: String },
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    folder: PathBuf,
    messages: u64,
    damaged: u64,
    damage: Vec<Finding>,
}

/// `ID.json`: what is known of a message beside its bytes.
#[derive(Debug, Serialize)]
struct Envelope {
    id: String,
    arrived: String,
    reverse_path: String,
    origin: &'static str,
    /// The client, while nobody has looked whether it proves the sender.
    client: Option<String>,
    hello: Option<String>,
    size: u64,
    eight_bit: bool,
    smtputf8: bool,
    ret: Option<String>,
    envid: Option<String>,
    legs: Vec<Leg>,
    /// What is wrong with the body; the file is then called `ID.damaged.eml`.
    damage: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Leg {
    leg: String,
    state: LegState,
    reverse_path: String,
    recipient: String,
    /// Further recipients that share the leg, and how many are not named.
    merged: Vec<String>,
    merged_more: u32,
    target: String,
    original_recipient: Option<String>,
    notify: Option<String>,
    trace: String,
    next_try: String,
    attempts: u32,
    last: String,
    diagnosis: Option<control::Diagnosis>,
    /// What an operator asked for that is still to be done.
    pending: Option<QueueAction>,
}

/// Writes every message; false when anything in the spool is damaged.
pub(crate) fn run(spool: &Path, folder: &Path, print: Printer) -> Result<bool, Error> {
    let mut summary = Summary {
        folder: folder.to_owned(),
        ..Summary::default()
    };
    let failed = |source| Error::Write {
        path: folder.to_owned(),
        source,
    };
    // Other people's mail: only the operator may read it.
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let visit = |found: &Exported<'_>| {
        summary.messages += 1;
        summary.damaged += u64::from(!write_message(folder, found)?);
        Ok::<_, Error>(())
    };
    let report = export(spool, Clock::real().now(), &mut progress(), visit)?;
    summary.damage = report.damage.iter().map(Finding::from).collect();
    print.value(&summary, |print, summary| {
        let Summary {
            messages, damaged, ..
        } = summary;
        print.line(format_args!(
            "{messages} messages written to {}, {damaged} of them damaged",
            summary.folder.display()
        ));
        print_findings(print, &summary.damage);
    });
    Ok(summary.damage.is_empty())
}

/// Writes one message as two files; false when its body is damaged.
fn write_message(folder: &Path, found: &Exported<'_>) -> Result<bool, Error> {
    let id = found.message.id.to_string();
    let partial = folder.join(format!("{id}.partial"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let envelope_path = folder.join(format!("{id}.json"));
    let mut envelope_file = create(&envelope_path).map_err(failed(&envelope_path))?;
    let mut damage = Vec::new();
    let mut body = create(&partial).map_err(failed(&partial))?;
    for piece in found.body() {
        damage.extend(piece.damage.as_ref().map(Finding::from));
        body.write_all(&piece.octets).map_err(failed(&partial))?;
    }
    let name = match damage.is_empty() {
        true => format!("{id}.eml"),
        false => format!("{id}.damaged.eml"),
    };
    let intact = damage.is_empty();
    let path = folder.join(name);
    if path.exists() {
        return Err(failed(&path)(io::ErrorKind::AlreadyExists.into()));
    }
    fs::rename(&partial, &path).map_err(failed(&path))?;
    let envelope = Envelope::new(found, damage);
    let text = serde_json::to_string_pretty(&envelope).map_err(|error| Error::Json {
        path: envelope_path.clone(),
        text: error.to_string(),
    })?;
    writeln!(envelope_file, "{text}").map_err(failed(&envelope_path))?;
    Ok(intact)
}

fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

impl Envelope {
    fn new(found: &Exported<'_>, damage: Vec<Finding>) -> Self {
        let message = &found.message;
        Self {
            id: message.id.to_string(),
            arrived: message.arrived.to_string(),
            reverse_path: message.reverse_path.to_string(),
            origin: message.origin.name(),
            client: message.peer.as_ref().map(|peer| peer.address.to_string()),
            hello: message.peer.as_ref().map(|peer| peer.hello.to_string()),
            size: message.size,
            eight_bit: message.body == envelope::BodyKind::EightBitMime,
            smtputf8: message.smtputf8,
            ret: message.ret.map(|ret| match ret {
                envelope::Return::Full => "FULL".to_owned(),
                envelope::Return::Headers => "HDRS".to_owned(),
            }),
            envid: message.envid.as_deref().map(str::to_owned),
            legs: found.legs.iter().map(Leg::from).collect(),
            damage,
        }
    }
}

impl From<&Entry> for Leg {
    fn from(entry: &Entry) -> Self {
        let leg = &entry.leg;
        Self {
            leg: entry.id.to_string(),
            state: operator::leg_state(entry.state),
            reverse_path: leg.reverse_path.to_string(),
            recipient: leg.recipient.to_string(),
            merged: leg.merged.named.iter().map(ToString::to_string).collect(),
            merged_more: leg.merged.more,
            target: leg.target.to_string(),
            original_recipient: leg
                .original
                .as_ref()
                .map(|original| format!("{};{}", original.kind, original.address)),
            notify: leg.notify.map(|notify| notify.to_string()),
            trace: leg.trace.to_string(),
            next_try: entry.due.to_string(),
            attempts: entry.attempts,
            last: entry.last_words(),
            diagnosis: entry.last.as_ref().map(Into::into),
            pending: entry.pending.and_then(operator::pending),
        }
    }
}
