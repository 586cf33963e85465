//! The HTTP client of a relay, for filters and for whoever else has something to ask or to tell.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Error};

/// It goes where it is sent and nowhere else: by no proxy of the environment, after no redirect.
pub fn client() -> ClientBuilder {
    Client::builder().no_proxy().redirect(Policy::none())
}

/// An error with its causes: `reqwest` itself says only at which step it was. Not with the URL, which may hold a secret.
pub fn causes(error: Error) -> String {
    let error = error.without_url();
    let first: &dyn std::error::Error = &error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
