use super::*;
use std::os::unix::fs::symlink;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn archived(context: &Context) -> Vec<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    context.write_archive(&mut bytes).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(
                (entry.header().uid().unwrap(), entry.header().gid().unwrap()),
                (0, 0)
            );
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (
                entry
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .trim_end_matches('/')
                    .to_owned(),
                content,
            )
        })
        .collect()
}

#[test]
fn everything_is_sent_in_a_fixed_order_and_twice_the_same() {
    let root = folder(&[
        ("Dockerfile", "FROM scratch"),
        ("b/z", "1"),
        ("b/a", "2"),
        ("a", "3"),
    ]);
    let context = Context::scan(root.path(), None).unwrap();
    assert_eq!(context.names(), ["Dockerfile", "a", "b", "b/a", "b/z"]);
    assert_eq!((context.files, context.bytes), (4, 15));
    assert_eq!(
        archived(&context),
        archived(&Context::scan(root.path(), None).unwrap())
    );
}

#[test]
fn what_is_ignored_stays_but_the_dockerfile_and_the_ignore_file_go() {
    let root = folder(&[
        ("Dockerfile", "FROM scratch"),
        (".dockerignore", "*\n!src/keep/**\n"),
        ("src/keep/x", "1"),
        ("src/drop", "2"),
        ("other/y", "3"),
    ]);
    let context = Context::scan(root.path(), None).unwrap();
    assert_eq!(
        context.names(),
        [
            ".dockerignore",
            "Dockerfile",
            "src",
            "src/keep",
            "src/keep/x"
        ]
    );
    assert!(context.ignored >= 2);
}

#[test]
fn an_ignore_file_named_after_the_dockerfile_comes_first() {
    let root = folder(&[
        ("dev.Dockerfile", "FROM scratch"),
        ("dev.Dockerfile.dockerignore", "a\n"),
        (".dockerignore", "b\n"),
        ("a", "1"),
        ("b", "2"),
    ]);
    let context = Context::scan(root.path(), Some(Path::new("dev.Dockerfile"))).unwrap();
    let names = context.names();
    assert!(
        names.contains(&"b".to_owned()) && !names.contains(&"a".to_owned()),
        "{names:?}"
    );
    assert_eq!(context.dockerfile, "dev.Dockerfile");
}

#[test]
fn a_dockerfile_from_elsewhere_goes_along_but_not_into_the_image() {
    let root = folder(&[("a", "1")]);
    let elsewhere = folder(&[("D", "FROM scratch\nCOPY . /\n")]);
    let context = Context::scan(root.path(), Some(&elsewhere.path().join("D"))).unwrap();
    let sent = archived(&context);
    let ignore = sent
        .iter()
        .find(|(name, _)| name == ".dockerignore")
        .unwrap();
    let ignore = String::from_utf8(ignore.1.clone()).unwrap();
    assert!(ignore.contains(&context.dockerfile) && ignore.contains(".dockerignore"));
    assert!(
        sent.iter()
            .any(|(name, content)| *name == context.dockerfile && content.starts_with(b"FROM"))
    );
}

#[test]
fn a_link_is_sent_as_a_link_and_one_that_leads_out_is_named() {
    let root = folder(&[("Dockerfile", "FROM scratch"), ("d/a", "1")]);
    symlink("/etc/passwd", root.path().join("out")).unwrap();
    symlink("../../x", root.path().join("d/up")).unwrap();
    symlink("../Dockerfile", root.path().join("d/in")).unwrap();
    let context = Context::scan(root.path(), None).unwrap();
    let named: Vec<_> = context.concerns.iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named[1].contains("`out` links to /etc/passwd"));
    let sent = archived(&context);
    assert!(
        sent.iter()
            .any(|(name, content)| name == "out" && content.is_empty())
    );
}

#[test]
fn a_link_back_to_its_own_folder_does_not_run_in_circles() {
    let root = folder(&[("Dockerfile", "FROM scratch")]);
    symlink(".", root.path().join("loop")).unwrap();
    assert_eq!(
        Context::scan(root.path(), None).unwrap().names(),
        ["Dockerfile", "loop"]
    );
}

#[test]
fn likely_secrets_and_big_files_are_named_unless_they_are_left_out() {
    let files = [
        ("Dockerfile", "FROM scratch"),
        (".env", "A=1"),
        (".env.example", ""),
        ("keys/id_rsa", ""),
        ("keys/id_rsa.pub", ""),
        ("tls/server.pem", ""),
        (".docker/config.json", "{}"),
        ("config.json", "{}"),
    ];
    let root = folder(&files);
    fs::File::create(root.path().join("big.bin"))
        .unwrap()
        .set_len(BIG)
        .unwrap();
    let context = Context::scan(root.path(), None).unwrap();
    let named: Vec<_> = context
        .concerns
        .iter()
        .map(|c| match c {
            Concern::Secret { path } | Concern::Big { path, .. } => path.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        named,
        [
            ".docker/config.json",
            ".env",
            "big.bin",
            "keys/id_rsa",
            "tls/server.pem"
        ]
    );
    fs::write(
        root.path().join(".dockerignore"),
        "**/.env\n.docker\nkeys\ntls\n*.bin\n",
    )
    .unwrap();
    assert!(
        Context::scan(root.path(), None)
            .unwrap()
            .concerns
            .is_empty()
    );
}

#[test]
fn what_cannot_be_used_as_a_context_says_why() {
    let root = folder(&[("file", ""), ("sub/Containerfile", "")]);
    let message = |path: &Path, dockerfile: Option<&str>| {
        Context::scan(path, dockerfile.map(Path::new)).unwrap_err()
    };
    assert!(
        message(&root.path().join("gone"), None)
            .to_string()
            .contains("there is no such folder")
    );
    assert!(
        message(&root.path().join("file"), None)
            .to_string()
            .contains("not a folder")
    );
    let error = message(&root.path().join("sub"), None);
    assert!(error.hint().unwrap().contains("Containerfile"), "{error}");
    assert!(
        message(root.path(), Some("gone/D"))
            .to_string()
            .contains("gone/D")
    );
    fs::write(root.path().join("Dockerfile"), "FROM scratch").unwrap();
    fs::write(root.path().join(".dockerignore"), "a\n[\n").unwrap();
    assert!(message(root.path(), None).to_string().contains("line 2"));
}

#[tokio::test]
async fn an_archive_that_nobody_takes_does_not_keep_its_thread() {
    let root = folder(&[("Dockerfile", "FROM scratch")]);
    fs::File::create(root.path().join("big.bin"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let mut stream = Context::scan(root.path(), None).unwrap().into_stream();
    assert!(stream.recv().await.unwrap().is_ok());
    drop(stream);
    // The runtime's shutdown waits for blocking threads: the test would hang if one stayed.
}
