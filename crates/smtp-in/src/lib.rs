//! Listeners, TLS, PROXY, and the one loop that drives a server session.
