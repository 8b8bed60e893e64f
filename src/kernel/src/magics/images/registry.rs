//! `:registry …`: logging in, and questions to a registry.

use std::path::PathBuf;

use clap::Parser;
use katlab_lab::credentials::{Credential, Place};
use katlab_lab::reference::{self, HUB, Reference, is_loopback};
use katlab_lab::registry::{Login as LoggedIn, Options, Registry};
use secrecy::{ExposeSecret, SecretString};

use super::{EngineArgs, quoted, store, surroundings};
use crate::event::InputError;
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};
use crate::session::Session;

mod view;

use view::{checked, details, tag_table};

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TlsArgs {
    /// The certificate of an authority to trust for this registry, as a PEM file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Registry")]
    pub ca: Option<PathBuf>,
}

/// Log in to a registry, and keep the login for pushes, pulls and pull secrets
///
/// The password is asked for and not shown, or taken from a setting with `--password-from`. It is first
/// tried at the registry, then kept where `docker login` keeps it: in the store of a credential helper
/// when one is configured, else in `~/.docker/config.json`. For the registry that REGISTRY names, the sandbox's
/// own for instance, the settings REGISTRY_USERNAME and REGISTRY_PASSWORD are the login where none is given.
#[derive(Debug, Parser)]
pub struct Login {
    /// The registry, HOST or HOST:PORT; Docker Hub when left out
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// The user; asked for when left out
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The setting or variable that holds the password
    #[arg(long, value_name = "NAME", conflicts_with = "password")]
    password_from: Option<String>,
    /// The password itself. A cell is stored in the notebook: `--password-from NAME` is better
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Forget the login of a registry
#[derive(Debug, Parser)]
pub struct Logout {
    /// The registry, HOST or HOST:PORT; Docker Hub when left out
    #[arg(value_name = "HOST")]
    host: Option<String>,
}

/// Find out whether a registry answers, whether the login is good, and what may be done there
///
/// Nothing is changed: to see whether a push is allowed, an upload is begun and given up again. Where a
/// repository must be made by hand before the first push, that is said.
#[derive(Debug, Parser)]
pub struct Check {
    /// The registry or a repository of it
    #[arg(value_name = "HOST[/REPOSITORY]")]
    target: String,
    #[command(flatten)]
    tls: TlsArgs,
}

/// List the repositories of a registry
#[derive(Debug, Parser)]
pub struct Repos {
    /// The registry
    #[arg(value_name = "HOST")]
    host: String,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// List the tags of a repository with digest, size and age, newest first
#[derive(Debug, Parser)]
pub struct Tags {
    /// The repository
    #[arg(value_name = "HOST/REPOSITORY")]
    repository: String,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Show what is behind a name in a registry, without pulling it
#[derive(Debug, Parser)]
pub struct Inspect {
    /// The image
    #[arg(value_name = "HOST/NAME:TAG")]
    image: String,
    #[command(flatten)]
    tls: TlsArgs,
}

/// The setting with the password of the registry that `REGISTRY` names.
const PASSWORD: &str = "REGISTRY_PASSWORD";

impl Magic for Login {
    const NAME: &'static str = "registry login";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let host = host_of(self.host.as_deref())?;
        if let Some(password) = &self.password
            && ctx.is_written(password)
        {
            ctx.output.warn(
                "a password that is written out in a cell is stored with the notebook; `--password-from NAME` takes it from a setting, and without either you are asked",
            );
        }
        let known = known_login(ctx, &host)?;
        let username = match (self.username, &known) {
            (Some(username), _) => username,
            (None, Some((username, _))) => username.clone(),
            (None, None) => ctx
                .output
                .ask(&format!("User name at {host}: "))
                .await
                .map_err(|error| unasked(error, "give the user with --username, and the name of the setting that holds the password with --password-from"))?,
        };
        let username = username.trim().to_owned();
        if username.is_empty() {
            return Err(
                MagicError::usage("a login needs a user name").hint("give it with --username")
            );
        }
        let password = match (self.password, &self.password_from) {
            (Some(password), _) => SecretString::from(password),
            (None, Some(name)) => match ctx.value(name).await? {
                Some(value) => SecretString::from(value),
                None => return Err(ctx.session.unknown_setting(name)),
            },
            (None, None)
                if let Some((user, known)) = known
                    && user == username =>
            {
                ctx.output
                    .note(format!("with the password that {PASSWORD} holds"));
                known
            }
            (None, None) => ctx
                .output
                .ask_secret(&format!("Password of {username} at {host}: "))
                .await
                .map_err(|error| {
                    unasked(
                        error,
                        "give the name of the setting that holds the password with --password-from",
                    )
                })?,
        };
        if password.expose_secret().is_empty() {
            return Err(MagicError::new("the password is empty").hint(
                "keep it with `:env ask NAME` and use `--password-from NAME`, or run this again and type it",
            ));
        }
        ctx.session.redactor().learn(&password);
        let credential = Credential::password(username, password);
        let options = Options {
            credential: Some(credential.clone()),
            ..options(ctx, &self.tls, &host).await?
        };
        let outcome = ctx
            .or_interrupted(async {
                let registry = Registry::open(&host, options).await?;
                let login = registry.login().await?;
                Ok::<_, katlab_lab::registry::Error>((registry.is_plain(), login))
            })
            .await?;
        let (plain, login) = outcome;
        let user = match login {
            LoggedIn::Accepted { user } => user,
            _ => {
                ctx.output.done(format!(
                    "{host} answers and asks nobody for a login; nothing was kept"
                ));
                return Ok(());
            }
        };
        if plain && !is_loopback(&host) {
            ctx.output.warn(format!(
                "{host} speaks plain HTTP: the password went over the network unencrypted"
            ));
        }
        let place = store(ctx)?.store(&host, &credential).await?;
        ctx.output.done(format!("logged in to {host} as {user}"));
        match place {
            Place::Helper(helper) => ctx.output.note(format!(
                "the login is kept by the credential helper docker-credential-{helper}"
            )),
            Place::File(path) => ctx.output.note(format!(
                "the login is kept in {}, which only you can read but which is not encrypted",
                tilde(&path)
            )),
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let mut line = String::from("docker login");
        if let Some(username) = &self.username {
            line.push_str(&format!(" --username {}", quoted(username)));
        }
        if let Some(name) = &self.password_from {
            line = format!("printenv {} | {line} --password-stdin", quoted(name));
        }
        if let Some(host) = &self.host {
            line.push_str(&format!(" {}", quoted(host)));
        }
        vec![line]
    }

    fn candidates(argument: &str, session: &Session) -> Vec<String> {
        match argument {
            "password_from" => session
                .settings()
                .all()
                .map(|all| all.into_keys().collect())
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

impl Magic for Logout {
    const NAME: &'static str = "registry logout";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let host = host_of(self.host.as_deref())?;
        if store(ctx)?.erase(&host).await? {
            ctx.output.done(format!("logged out of {host}"));
        } else {
            ctx.output.note(format!("no login was kept for {host}"));
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        match &self.host {
            Some(host) => vec![format!("docker logout {}", quoted(host))],
            None => vec!["docker logout".to_owned()],
        }
    }
}

impl Magic for Check {
    const NAME: &'static str = "registry check";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (host, repository) = target(&self.target)?;
        let registry = connect(ctx, &self.tls, &host).await?;
        let check = ctx
            .or_interrupted(registry.check(repository.as_deref()))
            .await?;
        ctx.output.show(checked(&check).bundle());
        for advice in &check.advice {
            ctx.output.note(advice);
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        match target(&self.target) {
            Ok((host, Some(repository))) => vec![
                format!("curl -u USER https://{host}/v2/"),
                format!("curl -u USER https://{host}/v2/{repository}/tags/list"),
                format!("curl -u USER -X POST https://{host}/v2/{repository}/blobs/uploads/"),
            ],
            Ok((host, None)) => vec![format!("curl -u USER https://{host}/v2/")],
            Err(_) => Vec::new(),
        }
    }
}

impl Magic for Repos {
    const NAME: &'static str = "registry repos";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let host = host_of(Some(&self.host))?;
        let registry = connect(ctx, &self.tls, &host).await?;
        let names = ctx.or_interrupted(registry.repositories()).await?;
        let mut table = Table::new([Column::new("REPOSITORY")])
            .empty(format!("{host} has no repositories yet; `:push` makes one"));
        for name in names {
            table.row([Cell::text(format!("{host}/{name}"))]);
        }
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("curl -u USER https://{}/v2/_catalog", self.host)]
    }
}

impl Magic for Tags {
    const NAME: &'static str = "registry tags";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let repository = Reference::parse_repository(&self.repository)?;
        let registry = connect(ctx, &self.tls, repository.host()).await?;
        let tags = ctx
            .or_interrupted(registry.tags(&repository.repository()))
            .await?;
        ctx.list(
            tag_table(&repository, &tags, jiff::Timestamp::now()),
            &self.list,
        )
    }

    fn explain(&self) -> Vec<String> {
        match Reference::parse_repository(&self.repository) {
            Ok(repository) => {
                let (host, name) = (repository.host(), repository.repository());
                vec![
                    format!("curl -u USER https://{host}/v2/{name}/tags/list"),
                    format!("docker manifest inspect --verbose {host}/{name}:TAG   # for each tag"),
                ]
            }
            Err(_) => Vec::new(),
        }
    }
}

impl Magic for Inspect {
    const NAME: &'static str = "registry inspect";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let image = Reference::parse(&self.image)?;
        let registry = connect(ctx, &self.tls, image.host()).await?;
        let found = ctx.or_interrupted(registry.inspect(&image)).await?;
        ctx.output
            .show(details(&found, jiff::Timestamp::now()).bundle());
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        vec![format!(
            "docker buildx imagetools inspect {}",
            quoted(&self.image)
        )]
    }
}

/// The login that settings hold for the registry they name: the sandbox's own, or that of a lab's settings.
fn known_login(ctx: &Context, host: &str) -> Result<Option<(String, SecretString)>, MagicError> {
    let value = |name: &str| ctx.session.value(name);
    if value("REGISTRY")?.as_deref() != Some(host) {
        return Ok(None);
    }
    let (user, password) = (value("REGISTRY_USERNAME")?, value(PASSWORD)?);
    Ok(user.zip(password.map(SecretString::from)))
}

/// Where nobody can be asked, the flags that say the same.
fn unasked(error: InputError, hint: &str) -> MagicError {
    match error {
        InputError::NotAllowed => {
            MagicError::new("nobody can be asked here for the login").hint(hint)
        }
        error => error.into(),
    }
}

/// The host of a login. What people paste here is often a URL or a whole repository.
fn host_of(host: Option<&str>) -> Result<String, MagicError> {
    let Some(host) = host else {
        return Ok(HUB.to_owned());
    };
    if reference::valid_host(host) {
        return Ok(host.to_owned());
    }
    let bare = host.rsplit("://").next().unwrap_or(host);
    let bare = bare.split('/').next().unwrap_or(bare);
    let error = MagicError::usage(format!("`{host}` is not a registry host"));
    Err(if reference::valid_host(bare) && bare != host {
        error.hint(format!("did you mean `{bare}`?"))
    } else {
        error.hint("write HOST or HOST:PORT, for example registry.example.com")
    })
}

/// A host alone, or a host and a repository.
fn target(text: &str) -> Result<(String, Option<String>), MagicError> {
    let text = text.trim_end_matches('/');
    if !text.contains('/') {
        return Ok((host_of(Some(text))?, None));
    }
    // Whether it may be a push target is asked of the repository: a tag changes nothing.
    let repository = Reference::parse(text)?;
    Ok((repository.host().to_owned(), Some(repository.repository())))
}

async fn options(ctx: &Context, tls: &TlsArgs, host: &str) -> Result<Options, MagicError> {
    // The engine knows which registries may be spoken to without TLS; asked only where it matters,
    // for this works without an engine too.
    let plain_http = if is_loopback(host) || host == HUB {
        Vec::new()
    } else {
        insecure_registries(ctx).await
    };
    Ok(Options {
        ca: tls.ca.as_ref().map(|path| ctx.session.resolve(path)),
        plain_http,
        ..Options::default()
    })
}

async fn insecure_registries(ctx: &Context) -> Vec<String> {
    if surroundings(ctx).is_err() {
        return Vec::new();
    }
    match super::engine(ctx, &EngineArgs::default()).await {
        Ok(engine) => engine
            .facts()
            .await
            .map(|facts| facts.insecure_registries)
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

async fn connect(ctx: &Context, tls: &TlsArgs, host: &str) -> Result<Registry, MagicError> {
    let options = options(ctx, tls, host).await?;
    let store = store(ctx)?;
    ctx.or_interrupted(Registry::connect(host, &store, options))
        .await
}

/// A path as people write it, with `~` for their own home.
fn tilde(path: &std::path::Path) -> String {
    match std::env::home_dir().and_then(|home| path.strip_prefix(home).ok().map(ToOwned::to_owned))
    {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
