//! The calls that do what a magic does, and show what it shows: build, create, wait.

use std::time::Duration;

use katlab::Request;
use katlab_lab::docker::build::Built;
use serde_json::{Value as Json, json};

use super::Needed as _;
use super::answers::experiment_json;
use crate::magics::images::build::Build;
use crate::magics::katib::{create::Create, wait::Wait};
use crate::magics::kubernetes::NamespaceArgs;
use crate::magics::{Context, MagicError};

/// Answers a call; nothing where it is none of these.
pub(super) async fn answer(request: &Request, ctx: &Context) -> Option<Result<Json, MagicError>> {
    Some(match request.call.as_str() {
        "build" => build(request, ctx).await,
        "create" => create(request, ctx).await,
        "wait" => wait(request, ctx).await,
        _ => return None,
    })
}

async fn build(request: &Request, ctx: &Context) -> Result<Json, MagicError> {
    let folder = request.needed("folder")?;
    let options = request
        .arguments
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !matches!(*name, "folder" | super::PLACE));
    let built = Build::of_cell(folder, options)?.build(ctx).await?;
    Ok(built_json(&built))
}

fn built_json(built: &Built) -> Json {
    json!({
        "id": built.id,
        "tags": built.tags,
        "size": built.size,
        "seconds": built.duration.as_secs_f64(),
    })
}

async fn create(request: &Request, ctx: &Context) -> Result<Json, MagicError> {
    let place = NamespaceArgs::default();
    let created = match request.argument("text") {
        Some(text) => {
            let ctx = Context {
                body: Some(text.to_owned()),
                ..ctx.clone()
            };
            Create::of_file("-", place).create(&ctx).await?
        }
        None => {
            let file = request.needed("file")?;
            Create::of_file(file, place).create(ctx).await?
        }
    };
    created
        .map(|summary| experiment_json(&summary))
        .ok_or_else(|| MagicError::new("nothing was created"))
}

async fn wait(request: &Request, ctx: &Context) -> Result<Json, MagicError> {
    let name = request.needed("experiment")?;
    let timeout = match request.argument("seconds") {
        None => Duration::MAX,
        Some(seconds) => seconds
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| MagicError::usage(format!("{seconds} is no number of seconds")))?,
    };
    let place = NamespaceArgs {
        namespace: request.argument("namespace").map(str::to_owned),
    };
    let summary = Wait::for_the_end(name, timeout, place).wait(ctx).await?;
    Ok(experiment_json(&summary))
}
