//! Where the daemon writes: what happens to the mail (the mail log), and trouble of the program itself (`tracing`).

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use journal::{Format, Journal, MailLog};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;
use crate::print;

/// Why there is no mail log.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write the mail log {}: {source}\n\nhint: `log.file` in the configuration names the file; its folder must be there, and belong to the user that runs onward", .path.display()
)]
pub(crate) struct Error {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Writes the mail log: into the file that the configuration names, else to standard output.
pub(crate) fn mail_log(journal: &Journal, log: &Log) -> Result<MailLog, Error> {
    let path = log.file.clone();
    let to_file = !path.as_os_str().is_empty();
    let format = match log.format {
        Format::Text if !to_file && is_journal(io::stdout()) => Format::Untimed,
        format => format,
    };
    let started = MailLog::start(journal, format, move || match to_file {
        // Not for everybody: addresses of customers are in it.
        true => File::options()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&path),
        // Not through the buffer of `io::stdout`: the log counts what could not be written.
        false => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
    });
    started.map_err(|source| Error {
        path: match to_file {
            true => log.file.clone(),
            false => "on standard output".into(),
        },
        source,
    })
}

/// Trouble of the program itself goes to journald if it reads our standard error, else there. `ONWARD_LOG` sets the level
/// (`debug`, or `delivery=trace` for one stage).
pub(crate) fn start_tracing() {
    let wanted = std::env::var("ONWARD_LOG").ok();
    let wanted = wanted.and_then(|wanted| wanted.parse().ok());
    let registry = tracing_subscriber::registry().with(wanted.unwrap_or_else(usual));
    let layer = is_journal(io::stderr()).then(tracing_journald::layer);
    match layer {
        Some(Ok(journald)) => registry.with(journald).init(),
        _ => {
            let colours = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let stderr = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .fmt_fields(print::escaped_fields());
            registry.with(stderr.with_ansi(colours)).init();
        }
    }
}

fn usual() -> Targets {
    // rustls warns of the odd names and broken handshakes of strangers, which nobody here can mend.
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("rustls", LevelFilter::ERROR)
}

/// Whether journald reads what is written there. The variable alone does not say so: what systemd starts hands it on to its
/// children, whose output may go elsewhere (systemd.exec(5)).
fn is_journal(output: impl AsFd) -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(&stream, output))
}

fn is_stream(stream: &str, output: impl AsFd) -> bool {
    let file = rustix::fs::fstat(output);
    file.is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tracing::Level;

    use super::*;

    #[test]
    fn a_journal_stream_is_told_from_one_that_was_handed_on() {
        let (stdout, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let file = stdout.metadata().unwrap();
        let stream = format!("{}:{}", file.dev(), file.ino());
        assert!(is_stream(&stream, &stdout));
        assert!(!is_stream(&stream, &other) && !is_stream("", &stdout));
    }

    #[test]
    fn complaints_of_rustls_about_strangers_are_no_warnings() {
        let usual = usual();
        assert!(!usual.would_enable("rustls::msgs::handshake", &Level::WARN));
        assert!(usual.would_enable("delivery::tls", &Level::WARN));
    }
}
