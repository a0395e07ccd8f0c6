//! `reclaim health`.

use reclaim_api::health::{Check, check};

use crate::args::Globals;
use crate::args::health::HealthArgs;
use crate::args::serve::DEFAULT_LISTEN;
use crate::exit::{CommandError, Exit};
use crate::output;

pub(crate) async fn run(globals: &Globals, args: &HealthArgs) -> Result<Exit, CommandError> {
    let address = globals.host().unwrap_or(DEFAULT_LISTEN);
    let of = if args.live { Check::Live } else { Check::Ready };
    let answer = check(address, of, args.timeout).await?;
    output::data(&format!("{answer}\n"))?;
    Ok(Exit::Done)
}
