//! The calls that read: settings, experiments, trials.

use katlab::Request;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::magics::{Context, MagicError};

/// Answers a call.
pub(super) async fn answer(request: &Request, cell: &Context) -> Result<Value, MagicError> {
    match request.call.as_str() {
        "env" => setting(request.argument("name").unwrap_or_default(), cell),
        other => Err(MagicError::new(format!("the kernel does not know the call `{other}`"))
            .hint("the kernel and the crate `katlab` may be of different versions; restart the kernel")),
    }
}

fn setting(name: &str, cell: &Context) -> Result<Value, MagicError> {
    let setting = cell
        .session
        .settings()
        .get(name)?
        .ok_or_else(|| cell.session.unknown_setting(name))?;
    if setting.secret {
        return Err(MagicError::new(format!(
            "{name} is a secret, and secrets are not handed to cells"
        ))
        .hint("use it in a magic as $NAME"));
    }
    Ok(Value::from(setting.value.expose_secret().to_owned()))
}
