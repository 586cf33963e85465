//! MX selection, connections, the client session driver, outcomes.
