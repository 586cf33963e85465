//! `onward spf check`, on the command line. No daemon need run, and no configuration be there.

use std::net::SocketAddr;
use std::path::Path;

use relay::sender_policy;
use serde::Serialize;
use spf::{Output, Verdict};

use crate::Failure;
use crate::cli::Claim;
use crate::config::Config;
use crate::print::Printer;
use crate::wire;

/// What is printed.
#[derive(Serialize)]
struct Report {
    result: &'static str,
    /// How it came to that.
    reason: String,
    /// Whose record decided, and the record.
    domain: String,
    record: Option<String>,
    /// Its owner's words about a fail.
    explanation: Option<String>,
}

/// Runs the command. False: the client may not send, or nobody knows.
pub(crate) async fn check(claim: &Claim, config: &Path, print: Printer) -> Result<bool, Failure> {
    let resolver = resolver(claim.server, config)?;
    let query = sender_policy::query(claim.ip, &claim.helo, &claim.from);
    let output = sender_policy::evaluate(&resolver, query).await;
    print.value(&Report::from(&output), |print, report| {
        print.line(report.result);
        print.line(&report.reason);
        if let Some(record) = &report.record {
            print.line(format_args!("record of {}: {record}", report.domain));
        }
        if let Some(explanation) = &report.explanation {
            print.line(format_args!("its owner says: \"{explanation}\""));
        }
    });
    Ok(matches!(
        output.verdict,
        Verdict::Pass | Verdict::Neutral | Verdict::None
    ))
}

/// The name server of the command line, of the configuration if there is one, or the system's.
pub(crate) fn resolver(server: Option<SocketAddr>, config: &Path) -> Result<dns::Backend, Failure> {
    let mut settings = dns::Settings::default();
    match server {
        Some(server) => settings.servers.push(server),
        None if config.exists() => settings.servers = Config::load(config)?.resolver.servers,
        None => {}
    }
    wire::resolver(&settings)
}

impl From<&Output> for Report {
    fn from(output: &Output) -> Self {
        Self {
            result: output.verdict.as_str(),
            reason: output.to_string(),
            domain: output.domain().to_owned(),
            record: output.record.clone(),
            explanation: output.explanation.clone(),
        }
    }
}
