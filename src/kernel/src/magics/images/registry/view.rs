//! How a registry's answers look.

use katlab_lab::reference::Reference;
use katlab_lab::registry::{Access, Check as Checked, Image, Login as LoggedIn, Tag};

use crate::magics::images::{quoted, short};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// The outcome of a check.
pub(super) fn checked(check: &Checked) -> Details {
    let status = if check.is_good() {
        Status::Ok
    } else {
        Status::Warn
    };
    let name = match &check.repository {
        Some(repository) => format!("{}/{}", check.host, repository.name),
        None => check.host.clone(),
    };
    let mut details = Details::new(Cell::text(name).with_status(status));
    let wire = if check.base.starts_with("http://") {
        "yes, over plain HTTP"
    } else {
        "yes, over TLS"
    };
    details.row("Answers", Cell::text(wire).with_status(Status::Ok));
    let login = match &check.login {
        LoggedIn::NotNeeded => Cell::text("not needed").with_status(Status::Ok),
        LoggedIn::Accepted { user } => {
            Cell::text(format!("good, as {user}")).with_status(Status::Ok)
        }
        LoggedIn::Missing => Cell::text("none is kept").with_status(Status::Warn),
        LoggedIn::Refused { user, why } => {
            Cell::text(format!("{user} is refused: {why}")).with_status(Status::Failed)
        }
    };
    details.row("Login", login);
    if let Some(repository) = &check.repository {
        details.row("May pull", access(&repository.pull, "nothing there yet"));
        details.row("May push", access(&repository.push, "unknown"));
        if let Some(tags) = repository.tags {
            details.row("Tags", Cell::count(tags as u64));
        }
    }
    details
}

fn access(access: &Access, absent: &str) -> Cell {
    match access {
        Access::Allowed => Cell::text("yes").with_status(Status::Ok),
        Access::Denied { why } => Cell::text(format!("no: {why}")).with_status(Status::Failed),
        Access::Absent => Cell::text(absent).with_status(Status::Neutral),
        Access::Unknown { why } => Cell::text(why).with_status(Status::Warn),
    }
}

/// The tags of a repository.
pub(super) fn tag_table(repository: &Reference, tags: &[Tag], now: jiff::Timestamp) -> Table {
    let mut table = Table::new([
        Column::new("TAG"),
        Column::new("DIGEST"),
        Column::number("SIZE").hover("compressed, as it is pulled"),
        Column::number("CREATED").hover("how long ago the image was built"),
        Column::new("PLATFORMS").wide(),
    ])
    .title(repository.name())
    .empty(format!("{} has no tags", repository.name()));
    for tag in tags {
        let digest = match (&tag.digest, &tag.problem) {
            (Some(digest), _) => {
                Cell::of(digest.clone(), format!("sha256:{}", short(digest))).hover(digest.clone())
            }
            (None, Some(problem)) => Cell::text(problem).with_status(Status::Warn),
            (None, None) => Cell::none(),
        };
        table.row([
            Cell::text(&tag.name),
            digest,
            tag.size.map(Cell::size).unwrap_or_default(),
            tag.created
                .map(|created| Cell::age(created, now))
                .unwrap_or_default(),
            Cell::text(tag.platforms.join(", ")),
        ]);
    }
    table
}

/// What is behind a name.
pub(super) fn details(image: &Image, now: jiff::Timestamp) -> Details {
    let mut details = Details::new(Cell::text(&image.reference));
    details
        .row("Digest", Cell::text(&image.digest))
        .row("Kind", Cell::text(&image.media_type))
        .row("Size", Cell::size(image.size));
    if let Some(created) = image.created {
        details.row("Created", Cell::age(created, now));
    }
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    if !platforms.is_empty() {
        details.row("Platforms", Cell::text(platforms.join(", ")));
    }
    details.section("What it runs");
    let words = |words: &[String]| {
        words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ")
    };
    if !image.entrypoint.is_empty() {
        details.row("Program", Cell::text(words(&image.entrypoint)));
    }
    if !image.command.is_empty() {
        details.row("Command", Cell::text(words(&image.command)));
    }
    if let Some(workdir) = &image.workdir {
        details.row("Directory", Cell::text(workdir));
    }
    if let Some(user) = &image.user {
        details.row("User", Cell::text(user));
    }
    if !image.env.is_empty() {
        details.row("Variables", Cell::text(image.env.join(", ")));
    }
    if !image.ports.is_empty() {
        details.row("Ports", Cell::text(image.ports.join(", ")));
    }
    if !image.labels.is_empty() {
        details.section("Labels");
        for (name, value) in &image.labels {
            details.row(name, Cell::text(value));
        }
    }
    if !image.layers.is_empty() {
        details.section("Layers");
        for layer in &image.layers {
            details.row(
                format!("sha256:{}", short(&layer.digest)),
                Cell::size(layer.size),
            );
        }
    }
    details
}
