//! One certificate: from the account to the chain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::cache::{Cache, SavedAccount};
use super::challenge::{Challenges, Shown};
use super::transport::{self, Transport};
use crate::config::LetsEncrypt;

/// Everything that an order needs.
pub(super) struct Order<'a> {
    settings: &'a LetsEncrypt,
    cache: &'a Cache,
    challenges: &'a Arc<Challenges>,
}

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failure {
    error: anyhow::Error,
    fix: Option<String>,
    /// How long the authority wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            error,
            fix: None,
            retry_after: None,
        }
    }
}

impl Failure {
    pub(super) fn new(error: anyhow::Error, fix: &str) -> Self {
        Self {
            error,
            fix: Some(fix.to_owned()),
            retry_after: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)?;
        match &self.fix {
            Some(fix) => write!(f, "; fix: {fix}"),
            None => Ok(()),
        }
    }
}

impl<'a> Order<'a> {
    pub(super) fn new(
        settings: &'a LetsEncrypt,
        cache: &'a Cache,
        challenges: &'a Arc<Challenges>,
    ) -> Self {
        Self {
            settings,
            cache,
            challenges,
        }
    }

    /// Obtains a certificate: itself, its chain and its key in PEM.
    pub(super) async fn obtain(&self) -> Result<String, Failure> {
        let trust = transport::trust(self.settings.directoryca.as_deref()).await?;
        let transport = Transport::new(&trust);
        let made = tokio::time::timeout(LONGEST, self.with(&transport)).await;
        let made = made.unwrap_or_else(|_| {
            Err(anyhow::anyhow!(
                "the authority had not finished after {LONGEST:?}"
            ))
        });
        made.map_err(|error| Failure {
            fix: self.fix(&error),
            error,
            retry_after: transport.retry_after(),
        })
    }

    async fn with(&self, transport: &Transport) -> anyhow::Result<String> {
        let mut order = self.place(transport).await?;
        // Shown until the order has ended, however it ends.
        let _shown = self.prove(&mut order).await?;
        let policy = RetryPolicy::new().timeout(VALIDATION);
        let status = order.poll_ready(&policy).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            if let Some(refused) = refusal(&mut order).await {
                return Err(refused);
            }
            status.context("the proof")?;
            anyhow::bail!("the authority found the order invalid and did not say why");
        }
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(self.settings.hosts.clone())?;
        parameters.distinguished_name = DistinguishedName::new();
        let request = parameters.serialize_request(&key)?;
        order
            .finalize_csr(request.der())
            .await
            .context("the request")?;
        let policy = RetryPolicy::new().timeout(ISSUE);
        let mut chain = order
            .poll_certificate(&policy)
            .await
            .context("the certificate")?;
        if !chain.ends_with('\n') {
            chain.push('\n');
        }
        chain.push_str(&key.serialize_pem());
        Ok(chain)
    }

    /// Shows the proofs, and says so.
    async fn prove(&self, order: &mut instant_acme::Order) -> anyhow::Result<Vec<Shown>> {
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.context("an authorization")?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                // From an order before.
                AuthorizationStatus::Valid => continue,
                status => anyhow::bail!("an authorization is {status:?} before it was asked for"),
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .context("the authority does not offer the proof by TLS (tls-alpn-01)")?;
            let Identifier::Dns(host) = challenge.identifier().identifier.clone() else {
                anyhow::bail!("the authority asks for a proof of something that is no host name");
            };
            let digest = challenge.key_authorization().digest();
            let digest = <[u8; 32]>::try_from(digest.as_ref())?;
            shown.push(self.challenges.show(&host, digest)?);
            match challenge.set_ready().await {
                Ok(()) => {}
                // It has looked already.
                Err(Error::Api(problem)) => return Err(rejected(&host, problem)),
                Err(error) => return Err(error).context("the proof"),
            }
        }
        Ok(shown)
    }

    /// Orders with the account of before, or with a new one.
    async fn place(&self, transport: &Transport) -> anyhow::Result<instant_acme::Order> {
        let names: Vec<_> = self
            .settings
            .hosts
            .iter()
            .map(|host| Identifier::Dns(host.clone()))
            .collect();
        let new = NewOrder::new(&names);
        if let Some(account) = self.saved_account(transport).await? {
            match account.new_order(&new).await {
                // Its database is gone, as happens with private authorities.
                Err(error) if is(&error, "accountDoesNotExist") => {
                    tracing::warn!("the authority does not know the ACME account any more");
                }
                placed => return placed.context("the order"),
            }
        }
        let account = self.new_account(transport).await?;
        account.new_order(&new).await.context("the order")
    }

    async fn saved_account(&self, transport: &Transport) -> anyhow::Result<Option<Account>> {
        let Some(mut saved) = self.cache.account().await? else {
            return Ok(None);
        };
        let credentials = serde_json::from_value(saved.credentials.clone())
            .context("the saved account; remove it, and a new one is made")?;
        let account = builder(transport)
            .from_credentials(credentials)
            .await
            .with_context(|| self.directory())?;
        if saved.email != self.settings.email {
            let contact = self.contact();
            let contact: Vec<_> = contact.iter().map(String::as_str).collect();
            match account.update_contacts(&contact).await {
                Ok(()) => {
                    saved.email.clone_from(&self.settings.email);
                    self.cache.keep_account(&saved).await?;
                }
                // The order will say so too.
                Err(error) if is(&error, "accountDoesNotExist") => {}
                Err(error) => return Err(error).context("the new address of the account"),
            }
        }
        Ok(Some(account))
    }

    async fn new_account(&self, transport: &Transport) -> anyhow::Result<Account> {
        let contact = self.contact();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            // Whoever configures `letsencrypt` agrees, as with Distribution.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder(transport)
            .create(&new, self.settings.directoryurl.clone(), None)
            .await
            .with_context(|| self.directory())?;
        let saved = SavedAccount {
            email: self.settings.email.clone(),
            credentials: serde_json::to_value(credentials)?,
        };
        self.cache
            .keep_account(&saved)
            .await
            .context("the account cannot be kept")?;
        tracing::info!(account = account.id(), "a new ACME account was made");
        Ok(account)
    }

    fn contact(&self) -> Option<String> {
        let email = self.settings.email.as_ref()?;
        Some(format!("mailto:{email}"))
    }

    fn directory(&self) -> String {
        format!("the ACME directory {}", self.settings.directoryurl)
    }

    /// What an operator can do about it.
    fn fix(&self, error: &anyhow::Error) -> Option<String> {
        let problem = error.chain().find_map(|cause| match cause.downcast_ref() {
            Some(Error::Api(problem)) => Some(problem),
            _ => cause.downcast_ref::<Problem>(),
        });
        let Some(problem) = problem else {
            let unreached = error.chain().any(|cause| match cause.downcast_ref() {
                Some(Error::Other(inner)) => inner.is::<hyper_util::client::legacy::Error>(),
                _ => false,
            });
            return unreached.then(|| {
                "check `http.tls.letsencrypt.directoryurl`, and that this machine may connect there; for a \
                 private authority, `directoryca` names the file with the certificate to trust"
                    .to_owned()
            });
        };
        let kind = problem.r#type.as_deref()?.rsplit(':').next()?;
        Some(match kind {
            "connection" | "dns" | "tls" | "unauthorized" | "incorrectResponse" | "malformed" => {
                format!(
                    "the authority connects to port 443 of {} and must arrive at this listener, with TLS from \
                     end to end: check DNS, the firewall and what forwards the port",
                    self.settings.hosts.join(", ")
                )
            }
            "caa" => "a CAA record in DNS forbids this authority: change it".to_owned(),
            "rejectedIdentifier" | "unsupportedIdentifier" => {
                "remove that host from `http.tls.letsencrypt.hosts`; names inside a network need a private \
                 authority, or `http.tls.local`"
                    .to_owned()
            }
            "invalidContact" | "unsupportedContact" => {
                "correct `http.tls.letsencrypt.email`".to_owned()
            }
            "externalAccountRequired" => {
                "use another authority: accounts that are made elsewhere are not supported; or obtain the \
                 certificate with another program, and let `http.tls.certificate` and `key` name its files"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

fn builder(transport: &Transport) -> AccountBuilder {
    Account::builder_with_http(Box::new(transport.clone()))
}

/// Whether the authority reports this type of problem.
fn is(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let found = problem.r#type.as_deref().unwrap_or_default();
    found.rsplit(':').next() == Some(kind)
}

/// Why the authority did not accept a proof, in its words.
async fn refusal(order: &mut instant_acme::Order) -> Option<anyhow::Error> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let state = authorization.refresh().await.ok()?;
        let host = state.identifier().to_string();
        let problem = state.challenges.iter().find_map(|one| one.error.clone());
        if let Some(problem) = problem {
            return Some(rejected(&host, problem));
        }
    }
    None
}

fn rejected(host: &str, problem: Problem) -> anyhow::Error {
    let text = format!("the authority does not accept the proof for {host}");
    anyhow::Error::new(Error::Api(problem)).context(text)
}

/// For all of an attempt.
const LONGEST: Duration = Duration::from_secs(900);
/// For looking whether the hosts are ours.
const VALIDATION: Duration = Duration::from_secs(180);
/// For signing.
const ISSUE: Duration = Duration::from_secs(300);
