//! `onward spool move`: carries the queue from the folder of this machine to PostgreSQL, or back. How a message is carried is
//! `spool_carry.rs`'s; here is what must hold before, what goes beside, and what is told.
//!
//! It does *not* change the configuration.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::sync::Arc;

use envelope::{MessageId, Timestamp};
use queue::LogSpool;
use queue_pg::{Cluster, Settings};
use relay::together::{self, Beside};
use rustix::process::geteuid;
use serde::Serialize;
use spool::{Clock, Token};

use crate::config::Config;
use crate::print::{Printer, plural};
use crate::shared::{aside, nobody_works, open_aside};
use crate::spool_carry::{Carried, MARK, MARKS_LAST, Marks, carry_all};
use crate::spool_cli::{MOVING, give_to_owner};
use crate::{Exit, Failure};

#[derive(Debug, Serialize)]
struct Moved {
    #[serde(flatten)]
    carried: Carried,
    #[serde(flatten)]
    beside: Beside,
    /// Names of long senders that went along.
    tokens: u64,
    /// Those that could not, and until when they would have been known.
    tokens_left: u64,
    tokens_left_until: Option<String>,
    /// What to set now.
    then: String,
}

/// Moves the queue of the configuration to a URL or a folder.
pub(crate) async fn run(config: &Config, to: &str, print: Printer) -> Result<Exit, Failure> {
    let is_url = to.starts_with("postgres://") || to.starts_with("postgresql://");
    let moved = match (config.queue.is_shared(), is_url) {
        (false, true) => to_shared(config, to).await?,
        (true, false) => to_folder(config, Path::new(to)).await?,
        (false, false) => return Err(BOTH_FOLDERS.into()),
        (true, true) => return Err(BOTH_SHARED.into()),
    };
    print.value(&moved, print_moved);
    let carried = &moved.carried;
    Ok(Exit::problem_unless(
        carried.stay.is_empty() && carried.left == 0,
    ))
}

async fn to_shared(config: &Config, to: &str) -> Result<Moved, Failure> {
    if !config.spool.join("log").is_dir() {
        return Err(format!("no spool in {}", config.spool.display()).into());
    }
    let own = config.spool();
    let from = tokio::task::spawn_blocking(|| LogSpool::open(own)).await??;
    let from = Arc::new(from);
    let there = Settings {
        url: to.to_owned(),
        ..aside(config)
    };
    let begun = config.spool.join(MOVING);
    let moving = open_aside(&there, async |to| {
        let tokens = from.tokens().await?;
        to.keep_tokens(&tokens).await?;
        let marks = Some(marks(&begun)?);
        // Before the mail: nodes at work send that at once.
        let beside = together::put_up(&config.spool, &**to, from.clock().now()).await?;
        let carried = carry_all((&from, to), marks, None).await?;
        // What was once moved from there may be back now.
        to.cluster().set_moving(false).await?;
        fs::remove_file(&begun)?;
        Ok((carried, beside, tokens.len() as u64))
    });
    let result = moving.await;
    from.close();
    if geteuid().is_root() {
        give_to_owner(&config.spool)?;
    }
    let (carried, beside, tokens) = result?;
    Ok(Moved {
        carried,
        beside,
        tokens,
        tokens_left: 0,
        tokens_left_until: None,
        then: "`[queue] store = \"postgres://…\"`, the URL that the queue was moved to".to_owned(),
    })
}

async fn to_folder(config: &Config, to: &Path) -> Result<Moved, Failure> {
    let there = aside(config);
    let cluster = Cluster::new(&there)?;
    nobody_works(&cluster, &there).await?;
    let own = queue::Settings {
        dir: to.to_owned(),
        ..config.spool()
    };
    make(to, &config.spool)?;
    let folder = tokio::task::spawn_blocking(|| LogSpool::open(own)).await??;
    let folder = Arc::new(folder);
    let begun = to.join(MOVING);
    let moving = open_aside(&there, async |from| {
        cluster.set_moving(true).await?;
        note(&begun, "into this folder")?;
        let mut tokens = from.tokens().await?;
        tokens.retain(|token| &*token.value != MARK);
        let all = tokens.len();
        let left = folder.keep_tokens(tokens).await?;
        let carried = carry_all((from, &folder), None, Some((&cluster, &there))).await?;
        let beside = together::write_down(to, &**from, from.clock().now()).await?;
        cluster.set_moved().await?;
        fs::remove_file(&begun)?;
        Ok((carried, beside, all, left))
    });
    let result: Result<(_, _, _, Vec<Token>), Failure> = moving.await;
    folder.close();
    if geteuid().is_root() {
        give_to_owner(to)?;
    }
    let (carried, beside, all, left) = result?;
    let until = left.iter().map(|token| token.expires).max();
    let then = format!("`[queue] store = \"\"` and `spool = \"{}\"`", to.display());
    Ok(Moved {
        carried,
        beside,
        tokens: (all - left.len()) as u64,
        tokens_left: left.len() as u64,
        tokens_left_until: until.map(|until| until.to_string()),
        then,
    })
}

/// The marks of the move that was begun, or of a new one.
fn marks(begun: &Path) -> io::Result<Marks> {
    let until = Clock::real().now().plus(MARKS_LAST);
    let known = match fs::read_to_string(begun) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => text?.trim().parse().ok(),
    };
    if let Some(of) = known {
        let again = true;
        return Ok(Marks { of, again, until });
    }
    let of = MessageId::new(Timestamp::from_unix_millis(rand::random()), rand::random());
    note(begun, &of.to_string())?;
    let again = false;
    Ok(Marks { of, again, until })
}

/// Notes durably that a move was begun.
fn note(begun: &Path, what: &str) -> io::Result<()> {
    linefile::replace(begun, &[what.as_bytes(), b"\n"]).map(drop)
}

/// A folder for a spool, of the same user as another.
fn make(folder: &Path, like: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    match fs::metadata(like) {
        Ok(like) if geteuid().is_root() => chown(folder, Some(like.uid()), Some(like.gid())),
        _ => Ok(()),
    }
}

fn print_moved(print: Printer, moved: &Moved) {
    let carried = &moved.carried;
    let (messages, legs) = (
        plural(carried.messages, "message"),
        plural(carried.legs, "leg"),
    );
    let octets = carried.octets;
    print.line(format_args!(
        "{messages} with {legs} moved, {octets} octets read back and compared"
    ));
    print.any(
        carried.there_already,
        "of them were there already: a move before was cut off",
    );
    let Beside { orders, freezes } = moved.beside;
    if orders + freezes > 0 {
        let (orders, freezes) = (plural(orders, "order"), plural(freezes, "freeze"));
        print.line(format_args!("{orders} of sites and {freezes} went along"));
    }
    print.any(moved.tokens, "names of long senders went along");
    if let Some(until) = &moved.tokens_left_until {
        let left = plural(moved.tokens_left, "name");
        print.line(format_args!(
            "{left} of long senders cannot be kept in a folder: bounces to them are refused; the last was to be known until {until}"
        ));
    }
    print.any(carried.stay.len() as u64, "messages stay where they were:");
    let stay = carried.stay.iter();
    print.lines(stay.map(|it| format!("  {}: {}", it.message, it.text)));
    print.any(
        carried.left,
        "legs are left there: `onward spool verify` says what is wrong",
    );
    print.line(format_args!(
        "nothing else uses the new spool yet; set {}",
        moved.then
    ));
}

const BOTH_FOLDERS: &str = "both spools are folders\n\nhint: stop the relay and move the folder itself; `onward spool snapshot` copies one at work";
const BOTH_SHARED: &str =
    "both spools are in PostgreSQL\n\nhint: pg_dump, pg_restore or a replica move a database";
