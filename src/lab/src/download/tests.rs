use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

/// A server of one answer, in plain HTTP/1.1, over and over.
fn serve(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let _ = stream.write_all(answer);
        }
    });
    format!("http://{address}/folder/file%20name.txt")
}

async fn get(url: &str, output: &Path, force: bool) -> Result<Downloaded, Error> {
    let wanted = Download {
        url: url.to_owned(),
        output: output.to_owned(),
        force,
        sha256: None,
    };
    download(&wanted, &mut |_| {}, &CancellationToken::new()).await
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";

#[tokio::test]
async fn a_file_comes_whole_with_its_size_and_digest() {
    let home = tempfile::tempdir().unwrap();
    let url = serve(HELLO);
    let path = home.path().join("new/deep/x");
    let done = get(&url, &path, false).await.unwrap();
    assert_eq!((done.bytes, done.outcome), (5, Outcome::Created));
    assert_eq!(
        done.sha256,
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    assert_eq!(
        get(&url, &path, false).await.unwrap().outcome,
        Outcome::Unchanged
    );
    let named = get(&url, home.path(), false).await.unwrap();
    assert_eq!(named.path, home.path().join("file name.txt"));
}

#[tokio::test]
async fn a_different_file_is_kept_unless_forced() {
    let home = tempfile::tempdir().unwrap();
    let url = serve(HELLO);
    let path = home.path().join("x");
    std::fs::write(&path, "mine").unwrap();
    let error = get(&url, &path, false).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }) && error.hint().unwrap().contains("--force"));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    assert_eq!(
        get(&url, &path, true).await.unwrap().outcome,
        Outcome::Replaced
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"hello");
}

#[tokio::test]
async fn what_fails_leaves_no_file_behind() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x");
    let missing =
        serve(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert!(matches!(
        get(&missing, &path, false).await,
        Err(Error::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        })
    ));
    let short = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\nhello");
    assert!(matches!(
        get(&short, &path, false).await,
        Err(Error::Broken { received: 5, .. })
    ));
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = get(&format!("http://{free}/x"), &path, false)
        .await
        .unwrap_err();
    assert!(matches!(nobody, Error::Unreachable { .. }), "{nobody}");
    for url in ["ftp://h/x", "nonsense", "file:///etc/passwd"] {
        assert!(
            matches!(get(url, &path, false).await, Err(Error::Url { .. })),
            "{url}"
        );
    }
    let wanted = Download {
        url: serve(HELLO),
        output: path,
        force: false,
        sha256: Some("00".to_owned()),
    };
    let error = download(&wanted, &mut |_| {}, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_interrupt_ends_a_download_that_stands_still() {
    let home = tempfile::tempdir().unwrap();
    // Headers promise a body that never comes: the connection stays open.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let held = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello");
        stream
    });
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    let wanted = Download {
        url,
        output: home.path().join("x"),
        force: false,
        sha256: None,
    };
    let mut report = move |progress: Progress| {
        if progress.received > 0 {
            trigger.cancel();
        }
    };
    assert!(matches!(
        download(&wanted, &mut report, &cancel).await,
        Err(Error::Interrupted)
    ));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    drop(held.join().unwrap());
}

#[test]
fn a_url_cannot_lead_out_of_the_folder() {
    assert_eq!(
        suggested_name("https://h/a/Dockerfile?x=1").as_deref(),
        Some("Dockerfile")
    );
    for url in [
        "https://h/",
        "https://h/a/..%2f..%2fetc%2fpasswd",
        "https://h/%2e%2e",
    ] {
        assert_eq!(suggested_name(url), None, "{url}");
    }
}
