//! Certificates from an ACME server (RFC 8555): ordered, proved, kept, renewed.
//!
//! One [`Issuer`] is one task. It shows what it has at once, be it signed by itself, asks for the first certificate when it runs, and
//! for the next one after two thirds of the life, or when the server suggests it. Whatever the server does, what is shown stays until
//! there is something better. It does *not* serve TLS to mail, and decides nothing but when to ask.

mod chain;
mod folder;
mod order;
mod proofs;
mod schedule;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use envelope::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use chain::Own;
use folder::Folder;
use order::Fault;
use web::Web;

/// What is asked for, of whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where key, account and certificates are kept.
    pub folder: PathBuf,
    /// The server: the URL of its directory.
    pub directory: String,
    /// Whom the server may write to.
    pub contact: Option<String>,
    /// The names, in lower case.
    pub domains: Vec<String>,
    /// Where HTTP-01 is answered.
    pub http: Option<SocketAddr>,
    /// Where TLS-ALPN-01 is answered, if HTTP-01 is not.
    pub tls_alpn: Option<SocketAddr>,
    /// Who may vouch for the server, besides those that the system believes.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Takes what comes of it.
pub trait Shows: Send + Sync {
    /// Shows this chain with its key to clients from now on, both PEM; or says why it cannot.
    fn show(&self, chain: &str, key: &str) -> Result<(), String>;
    /// Takes news.
    fn tell(&self, news: News);
    /// The time.
    fn now(&self) -> Timestamp;
}

/// What has happened, and what is planned.
#[derive(Debug)]
pub struct News {
    /// What came of asking the server, or why nothing did; none if it was not asked.
    pub outcome: Option<Result<(), String>>,
    /// When it is asked for the next certificate.
    pub next: Timestamp,
    /// Until when what it has issued is valid; none if it has issued nothing.
    pub expires: Option<Timestamp>,
}

/// Keeps a certificate for some names.
pub struct Issuer {
    settings: Settings,
    folder: Folder,
    key: KeyPair,
    /// The key is that of the folder.
    is_kept: bool,
    shows: Box<dyn Shows>,
    own: Option<Own>,
    failures: u32,
    chance: f64,
    /// What was issued is not renewed before.
    rest: Timestamp,
    /// What the server suggests.
    window: Option<(Timestamp, Timestamp)>,
    /// When to order.
    next: Timestamp,
    /// When to ask what it suggests.
    look: Timestamp,
}

/// What is kept for these settings, chain and key, and until when it is valid; nothing if it cannot be used. Nothing is changed.
pub fn kept(settings: &Settings) -> Result<Option<(String, String, Timestamp)>, String> {
    let folder = Folder::of(settings);
    let (Some(chain), Some(key)) = (folder.chain()?, folder.key_text()?) else {
        return Ok(None);
    };
    let own = Own::read(&chain).ok();
    Ok(own.map(|own| (chain, key, own.life.end)))
}

impl Issuer {
    /// Shows what is kept, or a certificate signed by itself, whatever is wrong with the folder. The server is not asked before it runs.
    pub fn open(settings: Settings, shows: Box<dyn Shows>) -> Result<Self, String> {
        let folder = Folder::of(&settings);
        let now = shows.now();
        let mut issuer = Self {
            key: KeyPair::generate().map_err(|error| error.to_string())?,
            is_kept: false,
            folder,
            settings,
            shows,
            own: None,
            failures: 0,
            chance: rand::random(),
            rest: now,
            window: None,
            next: now,
            look: now,
        };
        if let Err(error) = issuer.recall() {
            tracing::error!("the certificate that was kept cannot be used: {error}");
        }
        if issuer.own.is_none() {
            let made = chain::self_signed(&issuer.settings.domains, &issuer.key);
            let made = made.map_err(|error| error.to_string())?;
            issuer.shows.show(&made, &issuer.key.serialize_pem())?;
        }
        let wait = issuer.folder.wait(&issuer.settings.domains);
        issuer.next = issuer.due().max(wait.unwrap_or_default());
        issuer.tell(None);
        Ok(issuer)
    }

    /// Takes key and certificate from the folder.
    fn recall(&mut self) -> Result<(), String> {
        (self.key, self.is_kept) = (self.folder.key()?, true);
        match self.folder.chain()? {
            Some(chain) => Own::read(&chain).and_then(|own| self.take(&chain, own)),
            None => Ok(()),
        }
    }

    /// Keeps the certificate fresh until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            loop {
                let now = self.shows.now();
                if self.next <= now {
                    self.renew().await;
                } else if self.look <= now {
                    self.ask().await;
                }
                let wake = self.next.min(self.look).since(self.shows.now());
                // In pieces: the clock may be set.
                sleep(wake.clamp(BREATH, HOUR)).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// When the certificate is to be renewed; at once if there is none for all names.
    fn due(&self) -> Timestamp {
        match &self.own {
            Some(own) if own.lacks(&self.settings.domains).is_none() => {
                own.life.renewal(self.window, self.chance).max(self.rest)
            }
            _ => self.shows.now(),
        }
    }

    async fn renew(&mut self) {
        let web = Web::new(&self.settings.roots);
        let result = match &web {
            Ok(web) => timeout(ORDER_WITHIN, self.order(web)).await,
            Err(error) => Ok(Err(error.clone().into())),
        };
        let late = || Err("the server is not done within 10 minutes".to_owned().into());
        let result = result.unwrap_or_else(|_| late());
        let now = self.shows.now();
        let outcome = match result {
            Ok(()) => {
                (self.failures, self.chance, self.window) = (0, rand::random(), None);
                self.rest = self.own.as_ref().map_or(now, |own| own.life.rest(now));
                (self.next, self.look) = (self.due(), now);
                Ok(())
            }
            Err(Fault { text, kind }) => {
                let told = web.ok().and_then(|web| web.told());
                self.leave_alone(kind.as_deref(), told, now);
                Err(text)
            }
        };
        self.tell(Some(outcome));
    }

    /// After a failure: the server is asked later, and no sooner than it says, also by the next process.
    fn leave_alone(&mut self, kind: Option<&str>, mut told: Option<Duration>, now: Timestamp) {
        match kind {
            Some("rateLimited") => told = told.or(Some(HOUR)),
            Some("accountDoesNotExist") => self.folder.forget_account(),
            _ => {}
        }
        self.failures = self.failures.saturating_add(1);
        self.next = now.plus(schedule::pause(self.failures, told, rand::random()));
        if told.is_some()
            && let Err(error) = self.folder.keep_wait(self.next, &self.settings.domains)
        {
            tracing::error!("{error}");
        }
    }

    fn tell(&self, outcome: Option<Result<(), String>>) {
        self.shows.tell(News {
            outcome,
            next: self.next,
            expires: self.own.as_ref().map(|own| own.life.end),
        });
    }

    /// Has a certificate made, and shows it.
    async fn order(&mut self, web: &Web) -> Result<(), Fault> {
        if !self.is_kept {
            // What cannot be kept is not asked for: each restart would ask again, and servers count.
            self.recall()?;
            if self.own.is_some() {
                return Ok(());
            }
        }
        let account = order::account(&self.settings, &self.folder, web).await?;
        // Only a server that has suggested something understands it; and none twice, if that was what it refused.
        let own = self
            .own
            .as_ref()
            .filter(|_| self.window.is_some() && self.failures == 0);
        let replaces = own.and_then(Own::identifier);
        let chain = order::chain(&self.settings, &account, &self.key, replaces).await?;
        let own = Own::read(&chain)?;
        if let Some(name) = own.lacks(&self.settings.domains) {
            return Err(format!("the certificate is not for {name}").into());
        }
        self.take(&chain, own)?;
        if let Err(error) = self.folder.keep_chain(&chain) {
            tracing::error!("the new certificate is used, but not kept over a restart: {error}");
        }
        Ok(())
    }

    /// Shows a chain, if it is what we want.
    fn take(&mut self, chain: &str, own: Own) -> Result<(), String> {
        if own.life.end <= self.shows.now() {
            return Err(format!("the certificate has expired at {}", own.life.end));
        }
        self.shows.show(chain, &self.key.serialize_pem())?;
        self.own = Some(own);
        Ok(())
    }

    /// Asks the server when it would like to be asked for the next one.
    async fn ask(&mut self) {
        let id = self.own.as_ref().and_then(Own::identifier);
        let mut again = LOOK_AGAIN;
        if let (Some(id), Ok(web)) = (id, Web::new(&self.settings.roots))
            && let Ok(account) = order::account(&self.settings, &self.folder, &web).await
            && let Some((window, told)) = order::window(&account, &id).await
        {
            again = told.clamp(HOUR, LOOK_AGAIN);
            self.window = Some(window);
            if self.failures == 0 {
                self.next = self.due();
                self.tell(None);
            }
        }
        self.look = self.shows.now().plus(again);
    }
}

const HOUR: Duration = Duration::from_hours(1);
const LOOK_AGAIN: Duration = Duration::from_hours(24);
const ORDER_WITHIN: Duration = Duration::from_mins(10);
const BREATH: Duration = Duration::from_millis(100);
