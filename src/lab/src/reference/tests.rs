use super::*;
use proptest::prelude::*;

#[test]
fn references_are_read_as_the_docker_cli_reads_them() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (text, host, repository, tag, shown) in [
        (
            "hyperparam:1.0",
            "docker.io",
            "library/hyperparam",
            Some("1.0"),
            "hyperparam:1.0",
        ),
        (
            "katlab/base:bookworm",
            "docker.io",
            "katlab/base",
            Some("bookworm"),
            "katlab/base:bookworm",
        ),
        (
            "docker.io/library/python",
            "docker.io",
            "library/python",
            Some("latest"),
            "python",
        ),
        (
            "index.docker.io/library/python",
            "docker.io",
            "library/python",
            Some("latest"),
            "python",
        ),
        (
            "localhost/a",
            "localhost",
            "a",
            Some("latest"),
            "localhost/a",
        ),
        (
            "127.0.0.1:5000/a/b/c:x",
            "127.0.0.1:5000",
            "a/b/c",
            Some("x"),
            "127.0.0.1:5000/a/b/c:x",
        ),
        (
            "[::1]:5000/a",
            "[::1]:5000",
            "a",
            Some("latest"),
            "[::1]:5000/a",
        ),
        (
            "proj.kr-central-2.kcr.dev/kakao-registry/hyperparam:1.0",
            "proj.kr-central-2.kcr.dev",
            "kakao-registry/hyperparam",
            Some("1.0"),
            "proj.kr-central-2.kcr.dev/kakao-registry/hyperparam:1.0",
        ),
        ("MyHost/a", "MyHost", "a", Some("latest"), "MyHost/a"),
        (
            "a__b/c--d.e",
            "docker.io",
            "a__b/c--d.e",
            Some("latest"),
            "a__b/c--d.e",
        ),
    ] {
        let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(reference.host(), host, "{text}");
        assert_eq!(reference.repository(), repository, "{text}");
        assert_eq!(reference.tag_or_latest(), tag, "{text}");
        assert_eq!(reference.to_string(), shown, "{text}");
    }
    let pinned = Reference::parse(&format!("a/b@{digest}")).unwrap();
    assert_eq!(
        (pinned.tag_or_latest(), pinned.api_reference()),
        (None, digest.as_str())
    );
}

#[test]
fn a_wrong_reference_says_which_part_is_wrong_and_how_it_would_be_right() {
    type Check = fn(&Error) -> bool;
    let cases: [(&str, Check); 15] = [
        ("", |e| matches!(e, Error::Empty)),
        (
            "https://reg.example/a",
            |e| matches!(e, Error::Url { stripped, .. } if stripped == "reg.example/a"),
        ),
        (
            "Hyperparam:1.0",
            |e| matches!(e, Error::Uppercase { lower, .. } if lower == "hyperparam:1.0"),
        ),
        (
            "a/B:1",
            |e| matches!(e, Error::Uppercase { lower, .. } if lower == "a/b:1"),
        ),
        (
            "BAD:::tag",
            |e| matches!(e, Error::Uppercase { .. } if e.hint().is_some_and(|hint| !hint.contains("did you mean"))),
        ),
        ("a:", |e| matches!(e, Error::Tag { .. })),
        ("a:-x", |e| matches!(e, Error::Tag { .. })),
        ("a:b:c", |e| matches!(e, Error::Tag { .. })),
        ("a//b", |e| matches!(e, Error::Component { .. })),
        ("a b", |e| matches!(e, Error::Component { .. })),
        ("a._b", |e| matches!(e, Error::Component { .. })),
        ("-a", |e| matches!(e, Error::Component { .. })),
        ("reg:port/a", |e| matches!(e, Error::Host { .. })),
        ("a@sha256:12", |e| matches!(e, Error::Digest { .. })),
        ("한글:1", |e| matches!(e, Error::Component { .. })),
    ];
    for (text, check) in cases {
        let error = Reference::parse(text).expect_err(text);
        assert!(check(&error), "{text}: {error:?}");
        assert!(error.hint().is_some());
    }
    assert!(matches!(
        Reference::parse(&"f".repeat(64)),
        Err(Error::Id { .. })
    ));
    assert!(
        matches!(Reference::parse_repository("h.io/a:1"), Err(Error::NotARepository { repository, .. }) if repository == "h.io/a")
    );
    let hint = |text| {
        Reference::parse_repository(text)
            .unwrap_err()
            .hint()
            .unwrap()
    };
    assert!(hint("127.0.0.1:5000").contains(":registry repos 127.0.0.1:5000"));
    assert!(hint("hyperparam:1.0").contains("`hyperparam`"));
}

#[test]
fn loopback_hosts_are_recognised_in_every_spelling() {
    for host in [
        "localhost",
        "localhost:5000",
        "127.0.0.1",
        "127.8.9.1:5",
        "[::1]:5000",
        "reg.localhost:80",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "registry.example",
        "10.0.0.1:5000",
        "localhost.example.com",
        "[fe80::1]",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same(text in "([a-z0-9]{1,6}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?/)?[a-z0-9]{1,5}([_-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}(\\.[a-z0-9]{1,3})?){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8})?") {
        let once = Reference::parse(&text).unwrap();
        let again = Reference::parse(&once.to_string()).unwrap();
        prop_assert_eq!(once.to_string(), again.to_string());
        prop_assert_eq!(once.repository(), again.repository());
        prop_assert_eq!(once.host(), again.host());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = Reference::parse(&text);
    }
}
