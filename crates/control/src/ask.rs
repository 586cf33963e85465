//! What can be asked of the daemon: a type for each question, and the type of its answer.
//!
//! A new one is a type here, a line in the table at the end, and an `impl` of [`Answers`] where the daemon knows the answer.

use std::collections::BTreeMap;
use std::future::Future;

use envelope::{Actor, Domain, IdPart, MessageId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::data::{Count, FreezePage, Lifted, MessageDetails, Page, Reloaded, SrsAnswer};
use crate::doctor::Finding;
use crate::explanation::{Explanation, Mail};
use crate::operator::Operator;
use crate::protocol::{Fault, Part, QueueAction};
use crate::queue::Summary;
use crate::schema;
use crate::selector::{Selector, is_false};
use crate::sites::{DrainState, Ordered, SiteDetails, Sites};
use crate::status;
use crate::text;

use crate::forwards::{Changed, DomainDetails, DomainPage, ForwardDetails, ForwardPage};
pub use crate::forwards::{
    DomainDelete, DomainDns, DomainList, DomainPut, DomainShow, ForwardDelete, ForwardList,
    ForwardPut, ForwardShow, ForwardsExport, ForwardsPut,
};
use crate::history::{Change, Traced};
pub use crate::history::{Changes, Trace};
pub use crate::queue::QueueSummary;
use crate::stats::{FailingForwards, HourRow, StatsPage};
pub use crate::stats::{ForwardsFailing, Stats, StatsHours};

/// A question of one line; so is its answer.
pub trait Ask: Into<Request> + Send + 'static {
    /// What the daemon says.
    type Answer: Serialize + DeserializeOwned + Send;
}

/// The daemon, as far as it answers one kind of question.
pub trait Answers<A: Ask> {
    /// Answers whoever asks.
    fn answer(&self, ask: A, by: Actor) -> impl Future<Output = Result<A::Answer, Fault>> + Send;
}

/// Are you there? The answer is the program's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {}

/// The daemon at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {}

/// The results of all sites, as far as they are counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {}

/// Read configuration, tables, certificates and secrets again. On an error everything stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Take a table that has lost much of what it had.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// One page of legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueList {
    /// Which legs; empty = all.
    #[serde(default)]
    pub filter: Selector,
    /// [`Page::next`] of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueShow {
    /// Which.
    #[serde(with = "text")]
    pub id: IdPart,
}

/// The bytes of one message: any number of chunks, then the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueCat {
    /// Which.
    #[serde(with = "text")]
    pub id: MessageId,
    /// How much of it.
    pub part: Part,
}

/// Do something to legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueAct {
    /// What.
    pub action: QueueAction,
    /// To which; never empty.
    pub selector: Selector,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for the journal; may be empty.
    #[serde(default)]
    pub reason: String,
    /// Legs at most that the answer names.
    #[serde(default)]
    pub limit: u32,
    /// A dry run may stop once it has so many: [`Count::more`](crate::Count::more).
    #[serde(default)]
    pub glance: bool,
}

/// One page of what is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeList {
    /// [`FreezePage::next`] of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// Which freezes end. As with legs, everything has to be asked for with `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreezeLift {
    /// This key, as a listing shows it, with or without its kind before it: `user:ann@x.test`. A client's is any address of its
    /// network, however it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Every key.
    #[serde(skip_serializing_if = "is_false")]
    pub all: bool,
    /// What was put on hold of it goes out.
    #[serde(skip_serializing_if = "is_false")]
    pub release: bool,
}

/// All sites that delivery knows, and what is ordered of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteList {
    /// Of several nodes that share a spool, only what this one knows.
    pub own: bool,
}

/// The sites that a name, a domain, an end of MX names or a part of them means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteShow {
    /// As typed: `mx.example.net`, `example.net`, `example`.
    pub site: String,
}

/// Send nothing to these sites, now and when more of them are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePause {
    /// As in [`SiteShow::site`].
    pub site: String,
    /// For so long; without: until it is resumed.
    #[serde(default)]
    pub for_secs: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// End a pause: the site as it was named for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteResume {
    /// Which.
    pub site: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Send less to these sites than they would take; with neither number, end that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteLimit {
    /// As in [`SiteShow::site`].
    pub site: String,
    /// Connections at once; not 0.
    #[serde(default)]
    pub connections: Option<u32>,
    /// Messages a minute; not 0.
    #[serde(default)]
    pub per_minute: Option<u32>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Take no more mail, and deliver on; or take mail again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Whether from now on.
    pub on: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {}

/// The address that a reverse path would be rewritten to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrsEncode {
    /// The sender's address.
    pub address: String,
}

/// The address that an SRS address stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrsDecode {
    /// The SRS address.
    pub address: String,
}

/// Does the world agree with the configuration: DNS, blocklists, certificate?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Doctor {
    /// Try to connect to mail servers elsewhere, too.
    pub connect: bool,
}

/// Today's report of TLS with the hosts of a domain, as it is so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsReport {
    /// Of which.
    #[serde(with = "text")]
    pub domain: Domain,
}

/// What would be decided on a mail. Nothing is sent, kept or counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Who writes to whom.
    pub mail: Mail,
    /// Whether the message follows, as any number of chunks and the end.
    #[serde(default)]
    pub has_message: bool,
}

/// The table: a question, and its answer. As JSON, a question says its name in `do`.
macro_rules! asks {
    ($($ask:ident => $answer:ty,)*) => {
        /// Any question.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "do", rename_all = "snake_case")]
        #[expect(missing_docs, reason = "the types say it")]
        pub enum Request {
            $($ask($ask),)*
            QueueCat(QueueCat),
            Explain(Explain),
        }

        $(
            impl From<$ask> for Request {
                fn from(ask: $ask) -> Self {
                    Self::$ask(ask)
                }
            }

            impl Ask for $ask {
                type Answer = $answer;
            }
        )*

        /// Answers every question of the table.
        pub trait AnswersAll: $(Answers<$ask> +)* {}
        impl<O: $(Answers<$ask> +)*> AnswersAll for O {}

        /// What each question and its answer look like (JSON Schema), by the question's name, in lower case and without underscores.
        pub fn schemas() -> BTreeMap<String, (Value, Value)> {
            let name = |name: &str| name.to_lowercase();
            BTreeMap::from([
                $((name(stringify!($ask)), (schema::of::<$ask>(), schema::of::<$answer>())),)*
                (name("QueueCat"), (schema::of::<QueueCat>(), Value::Null)),
                (name("Explain"), (schema::of::<Explain>(), schema::of::<Explanation>())),
            ])
        }

        pub(crate) async fn answer<O: Operator>(
            operator: &O,
            request: Request,
            by: Actor,
        ) -> Result<Box<RawValue>, Fault> {
            match request {
                $(Request::$ask(ask) => value(&Answers::answer(operator, ask, by).await?),)*
                Request::QueueCat(_) | Request::Explain(_) => {
                    unreachable!("a message goes with these")
                }
            }
        }
    };
}

asks! {
    Ping => String,
    Status => status::Status,
    Results => Vec<status::ResultCount>,
    Reload => Reloaded,
    QueueList => Page,
    QueueSummary => Summary,
    QueueShow => MessageDetails,
    QueueAct => Count,
    FreezeList => FreezePage,
    FreezeLift => Lifted,
    SiteList => Sites,
    SiteShow => Vec<SiteDetails>,
    SitePause => Ordered,
    SiteResume => Ordered,
    SiteLimit => Ordered,
    Drain => DrainState,
    Drained => DrainState,
    SrsEncode => SrsAnswer,
    SrsDecode => SrsAnswer,
    Trace => Traced,
    Stats => StatsPage,
    StatsHours => Vec<HourRow>,
    Changes => Vec<Change>,
    ForwardsFailing => FailingForwards,
    DomainList => DomainPage,
    DomainShow => DomainDetails,
    DomainPut => Changed,
    DomainDelete => Changed,
    DomainDns => Vec<Finding>,
    ForwardList => ForwardPage,
    ForwardShow => ForwardDetails,
    ForwardPut => Changed,
    ForwardDelete => Changed,
    ForwardsPut => Changed,
    ForwardsExport => String,
    Doctor => Vec<Finding>,
    TlsReport => crate::tls_report::TlsReport,
}

pub(crate) fn value(answer: &impl Serialize) -> Result<Box<RawValue>, Fault> {
    to_raw_value(answer).map_err(Fault::of)
}
