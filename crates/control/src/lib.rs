//! The operator's side: the control socket between command line and daemon.
