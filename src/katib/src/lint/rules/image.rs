//! KL0305: images that are not fixed.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0305",
    name: "image-tag",
    severity: Severity::Warning,
    what: "Whether every image has a tag other than latest, or a digest.",
    why: "Without a tag `latest` is meant: trials of one Experiment may run different images, \
          and each start asks the registry again.",
    mend: "Name the tag that was pushed.",
    example: "image: registry.example.dev/lab/hyperparam",
    instead: "image: registry.example.dev/lab/hyperparam:1.0",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for (path, container) in subject.containers() {
        let path = path.key("image");
        match container.get("image").and_then(Value::as_str) {
            None | Some("") => findings.push(
                subject
                    .at(&RULE, &path, "the container has no image")
                    .severity(Severity::Error)
                    .why("Kubernetes refuses a container without one.")
                    .mend("Add the image that was pushed."),
            ),
            Some(image) => match tag(image) {
                Tag::None => findings.push(subject.at_value(
                    &RULE,
                    &path,
                    format!("image {image} has no tag"),
                )),
                Tag::Latest => findings.push(subject.at_value(
                    &RULE,
                    &path,
                    format!("image {image} has the tag latest"),
                )),
                Tag::Fixed => {}
            },
        }
    }
}

enum Tag {
    None,
    Latest,
    Fixed,
}

fn tag(image: &str) -> Tag {
    // A placeholder may hold the tag.
    if image.contains('@') || image.contains("${") && image.ends_with('}') {
        return Tag::Fixed;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None => Tag::None,
        Some((_, "latest")) => Tag::Latest,
        Some(_) => Tag::Fixed,
    }
}
