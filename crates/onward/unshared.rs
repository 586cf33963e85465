//! What stands in for the shared spool in a program that was built without it.

use control::Health::Bad;

use crate::cli;
use crate::config::Config;
use crate::print::Printer;
use crate::serve::Start;
use crate::{Exit, Failure};

pub(crate) async fn serve(_: Start<'_>) -> Result<(), Failure> {
    Err(NOT_BUILT.into())
}

pub(crate) async fn node(_: &Config, _: &cli::Node, _: Printer) -> Result<Exit, Failure> {
    Err(NOT_BUILT.into())
}

pub(crate) async fn spool(_: &Config, _: &cli::Spool, _: Printer) -> Result<Exit, Failure> {
    Err(NOT_BUILT.into())
}

pub(crate) async fn examine(_: &Config) -> Vec<control::Finding> {
    vec![control::Finding::new(Bad, "spool", "", NOT_BUILT)]
}

const NOT_BUILT: &str = "this program was built without the spool in PostgreSQL\n\nhint: take the package, or build it with `--features postgres`";
