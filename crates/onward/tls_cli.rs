//! `onward tls …`: asks the running daemon what TLS with other hosts was like.

use std::path::Path;

use control::{Client, TlsReport, ask};

use crate::cli::Tls;
use crate::print::Printer;
use crate::{Exit, Failure};

/// Runs one `tls` command.
pub(crate) async fn run(socket: &Path, command: &Tls, print: Printer) -> Result<Exit, Failure> {
    let Tls::Report { domain } = command;
    let domain = domain.clone();
    let report = Client::connect(socket)
        .await?
        .ask(ask::TlsReport { domain })
        .await?;
    print.value(&report, table);
    Ok(Exit::Fine)
}

/// A line for each policy, and one for each fault.
fn table(print: Printer, report: &TlsReport) {
    if report.policies.is_empty() {
        return print.line("no TLS session was tried today");
    }
    let mut rows = Vec::new();
    for row in &report.policies {
        let (policy, counts) = (&row.policy, &row.summary);
        let [well, failed] = [
            counts.total_successful_session_count,
            counts.total_failure_session_count,
        ];
        let kind = policy.policy_type.clone();
        rows.push([
            kind,
            policy.policy_domain.clone(),
            well.to_string(),
            failed.to_string(),
            String::new(),
        ]);
        for fault in &row.failure_details {
            let host = fault.receiving_mx_hostname.clone().unwrap_or_default();
            let why = format!("{}: {}", fault.result_type, fault.failure_reason_code);
            let failed = fault.failed_session_count.to_string();
            rows.push([String::new(), host, String::new(), failed, why]);
        }
    }
    print.table(["policy", "of", ">well", ">failed", "why"], rows);
}
