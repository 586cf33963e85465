//! The daily reports of TLS (RFC 8460), to those domains that ask for them, by mail and over HTTPS.
//!
//! A report goes out some hours after its day. Whatever hinders it, it is tried again for two days; failures of the mail come
//! back to nobody, since its sender is null. After a crash one may go out twice, under the same `report-id`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use control::{DateRange, TlsPolicyRow, TlsReport};
use dns::Resolver;
use envelope::{Domain, Mailbox, Timestamp};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, StreamExt as _};
use rand::seq::SliceRandom as _;
use reqwest::Url;
use spool::Spool;
use tokio_util::sync::CancellationToken;

use super::Outbound;
use super::alerts::post;
use crate::on_disk::on_disk;
use crate::sts;
use crate::tls_reports::{DAY, Of, begin, day, is_worth_telling};

/// Who reports.
#[derive(Debug, Clone)]
pub struct TlsReporter {
    /// Reports are from this address.
    pub from: Mailbox,
    /// Whom the hosts' operators may ask.
    pub contact: String,
    /// Whether any are sent.
    pub sends: bool,
}

impl<S: Spool> Outbound<S> {
    /// Reports each day when it is over, and keeps what is not reported yet on disk, until `shutdown`.
    pub async fn keep_reporting(&self, shutdown: CancellationToken) {
        // Random: the whole world reports after midnight.
        let delay = DELAY_MIN + rand::random_range(Duration::ZERO..DELAY_RANGE);
        let report = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                self.report_tls(delay).await;
            }
        };
        // Apart: hosts that reports go to may be slow.
        let keep = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                self.keep_tls_reports().await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = report => {}
            () = keep => {}
        }
    }

    /// Has them on disk.
    pub(crate) async fn keep_tls_reports(&self) {
        let reports = Arc::clone(&self.tls_reports);
        if let Err(error) = on_disk(move || reports.write()).await {
            tracing::error!(%error, "cannot keep what was found of TLS over a restart\n\nhint: see to the disk of the spool");
        }
    }

    /// Reports the days that were over this long ago.
    pub(crate) async fn report_tls(&self, delay: Duration) {
        let now = self.clock.now();
        let mut over = self.tls_reports.until(now.minus(delay));
        // Who makes up names cannot be before all others.
        over.shuffle(&mut rand::rng());
        let reported = stream::iter(over).map(async |of| match self.reporter.sends {
            true => (self.report_day(&of).await, of),
            false => (Ok(()), of),
        });
        let mut reported = std::pin::pin!(reported.buffer_unordered(AT_ONCE));
        while let Some((reported, of)) = reported.next().await {
            let is_over = now >= begin(of.0 + 1).plus(TRIED_FOR);
            match reported {
                Err(reason) if !is_over => {
                    tracing::info!(domain = %of.1, reason, "the TLS report is tried again");
                    continue;
                }
                Err(reason) => {
                    tracing::warn!(domain = %of.1, reason, "the TLS report was given up")
                }
                Ok(()) => {}
            }
            self.tls_reports.forget(&of);
        }
    }

    /// Sends it to all who are named, and is content if one has it.
    async fn report_day(&self, of: &Of) -> Result<(), String> {
        let policies = self.tls_reports.of(of);
        if !is_worth_telling(&policies) {
            return Ok(());
        }
        let records = match self.resolver.txt(&format!("_smtp._tls.{}", of.1)).await {
            Ok(records) => records,
            Err(dns::Error::Trouble(reason)) => return Err(reason),
            Err(_) => return Ok(()),
        };
        let report = self.tls_report(of, policies);
        let gzip = gzipped(&report).map_err(|error| error.to_string())?;
        let mut results = Vec::new();
        for url in wanted(&records) {
            results.push(match mailbox(&url) {
                Some(to) => self.mail_report(&to, of, &report, &gzip).await,
                None => self.post_report(&url, gzip.clone()).await,
            });
        }
        match results.iter().any(Result::is_ok) {
            true => Ok(()),
            false => results.pop().unwrap_or(Ok(())),
        }
    }

    /// Today's, as it would be sent if the day was over.
    pub(crate) fn tls_report_today(&self, domain: Domain) -> TlsReport {
        let of = (day(self.clock.now()), domain);
        self.tls_report(&of, self.tls_reports.of(&of))
    }

    fn tls_report(&self, (day, domain): &Of, policies: Vec<TlsPolicyRow>) -> TlsReport {
        let second = |time: Timestamp| time.to_string().replace(".000Z", "Z");
        let begun = begin(*day);
        let date = &begun.to_string()[..DATE_OCTETS];
        TlsReport {
            organization_name: self.hostname.to_string(),
            date_range: DateRange {
                start_datetime: second(begun),
                end_datetime: second(begun.plus(DAY - Duration::from_secs(1))),
            },
            contact_info: self.reporter.contact.clone(),
            report_id: format!("{date}.{domain}@{}", self.hostname),
            policies,
        }
    }

    async fn mail_report(
        &self,
        to: &Mailbox,
        of: &Of,
        report: &TlsReport,
        gzip: &[u8],
    ) -> Result<(), String> {
        if !self.tls_reports.may_mail(to, self.clock.now()) {
            tracing::info!(domain = %of.1, %to, "the TLS report is not sent: this mailbox has got enough today");
            return Ok(());
        }
        let begun = begin(of.0).unix_secs();
        let (host, end) = (&self.hostname, begun + DAY.as_secs() - 1);
        let mail = bounce::TlsReport {
            from: &self.reporter.from,
            domain: &of.1,
            id: &report.report_id,
            file: &format!("{host}!{}!{begun}!{end}.json.gz", of.1),
            gzip,
        };
        let id = self.ids.next(self.clock.now());
        let about = ("tls-report", report.policies.len());
        let routing = self.routing.load_full();
        let compose = |alert: &bounce::Alert<'_>| Some(bounce::tls_report(alert, &mail));
        let queued = self.queue_alert(id, to, about, compose, &routing).await;
        self.send_alert(queued.map_err(|error| error.to_string())?)
            .await;
        Ok(())
    }

    /// To a URL that a stranger has published: the client goes to no private network.
    async fn post_report(&self, url: &Url, gzip: Vec<u8>) -> Result<(), String> {
        let client = sts::make(Arc::clone(&self.delivery_settings), self.resolver.clone());
        let client = client.map_err(|fault| fault.text)?;
        let posted = post(client.post(url.clone()), "application/tlsrpt+gzip", gzip).await;
        posted.map_err(|error| error.text)
    }
}

fn gzipped(report: &TlsReport) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&serde_json::to_vec(report)?)?;
    gzip.finish()
}

/// What the record asks for (RFC 8460 §3); if there are several, none counts.
fn wanted(records: &[Vec<u8>]) -> Vec<Url> {
    let of_ours = |record: &&Vec<u8>| record.starts_with(b"v=TLSRPTv1");
    let mut records = records.iter().filter(of_ours);
    let (Some(record), None) = (records.next(), records.next()) else {
        return Vec::new();
    };
    let record = String::from_utf8_lossy(record);
    let fields = record
        .split(';')
        .skip(1)
        .filter_map(|field| field.split_once('='));
    let uris = fields.filter(|(name, _)| name.trim() == "rua");
    let uris = uris.flat_map(|(_, uris)| uris.split(','));
    let urls = uris.filter_map(|uri| uri.trim().parse().ok());
    // No address in place of a domain: that would not be looked up, and so lead anywhere.
    let is_web = |url: &Url| url.scheme() == "https" && url.domain().is_some();
    urls.filter(|url| is_web(url) || mailbox(url).is_some())
        .take(WANTED_MAX)
        .collect()
}

fn mailbox(url: &Url) -> Option<Mailbox> {
    let is_mail = url.scheme() == "mailto";
    is_mail.then(|| url.path().parse().ok()).flatten()
}

/// What a day's last attempts have found is counted by then.
const DELAY_MIN: Duration = Duration::from_mins(10);
const DELAY_RANGE: Duration = Duration::from_hours(4);
/// Also the pause before a report is tried again, and what a crash may cost.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// After the end of its day.
const TRIED_FOR: Duration = Duration::from_hours(48);
const WANTED_MAX: usize = 4;
const AT_ONCE: usize = 8;
/// `2026-11-29`.
const DATE_OCTETS: usize = 10;

#[cfg(test)]
mod tests;
