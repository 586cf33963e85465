//! A report of TLS with the hosts of a domain: the JSON of RFC 8460 §4.4, as it is sent, and as the daemon keeps it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One day's report for one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsReport {
    /// Who reports: our name.
    pub organization_name: String,
    /// The day, in UTC.
    pub date_range: DateRange,
    /// Whom to ask.
    pub contact_info: String,
    /// The same for the same day and domain, however often it is sent.
    pub report_id: String,
    /// What was found, by the policy that was to be kept.
    pub policies: Vec<TlsPolicyRow>,
}

/// From its first second to its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub struct DateRange {
    pub start_datetime: String,
    pub end_datetime: String,
}

/// What was found under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsPolicyRow {
    /// The policy.
    pub policy: PolicyShown,
    /// How many sessions.
    pub summary: SessionCounts,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure_details: Vec<FailureRow>,
}

/// A policy of DANE or MTA-STS, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyShown {
    /// `tlsa`, `sts`, `no-policy-found`.
    pub policy_type: String,
    /// TLSA records, or the lines of the MTA-STS policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// The domain that it is defined for.
    pub policy_domain: String,
    /// The MX patterns of the MTA-STS policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// Sessions that TLS went well with, and others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub struct SessionCounts {
    pub total_successful_session_count: u64,
    pub total_failure_session_count: u64,
}

/// What was wrong with one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailureRow {
    /// The result type of RFC 8460 §4.3.
    pub result_type: String,
    /// Our address, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<IpAddr>,
    /// The host by its MX name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<IpAddr>,
    /// How often.
    pub failed_session_count: u64,
    /// In words.
    pub failure_reason_code: String,
}
