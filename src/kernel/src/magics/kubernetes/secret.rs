//! `:secrets` and `:secret …`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use katlab_lab::cluster::valid_name;
use katlab_lab::credentials::Credential;
use katlab_lab::kubernetes::secrets::{self, Content, Login, Outcome};
use katlab_lab::settings::dotenv;
use secrecy::{ExposeSecret, SecretString};

use super::{NamespaceArgs, ScopeArgs, age, place, quoted, show_plan, target};
use crate::magics::images::store;
use crate::magics::{Context, Magic, MagicError, nearest};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};

/// kubectl's words for the two types that can be made here.
const DOCKER_REGISTRY: &str = "docker-registry";
const GENERIC: &str = "generic";

/// List Secrets: name, type, number of keys, age
///
/// Values are not even fetched.
#[derive(Debug, Parser)]
pub struct Secrets {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Make a Secret, or bring it up to date
///
/// For pulling images: `--from-login HOST` takes the login that `:registry login` kept, or give
/// `--docker-server`, `--docker-username` and `--docker-password-from`. For anything else: `--from-setting`,
/// `--from-env-file`, `--from-file`, `--from-literal`. Values are never shown. The type may stand before the
/// name, as kubectl wants it: `docker-registry` or `generic`.
#[derive(Parser)]
pub struct Create {
    /// The Secret's name
    #[arg(value_name = "[TYPE] NAME", required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// The registry whose login it holds; may be given several times
    #[arg(long, value_name = "HOST", help_heading = "For pulling images")]
    from_login: Vec<String>,
    /// The registry
    #[arg(
        long,
        value_name = "HOST",
        requires = "docker_username",
        help_heading = "For pulling images"
    )]
    docker_server: Option<String>,
    /// The user at the registry
    #[arg(
        long,
        value_name = "NAME",
        requires = "docker_server",
        help_heading = "For pulling images"
    )]
    docker_username: Option<String>,
    /// The setting or variable that holds the password; asked for when left out
    #[arg(
        long,
        value_name = "NAME",
        requires = "docker_server",
        conflicts_with = "docker_password",
        help_heading = "For pulling images"
    )]
    docker_password_from: Option<String>,
    /// The password itself. A cell is stored in the notebook: `--docker-password-from NAME` is better
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "docker_server",
        help_heading = "For pulling images"
    )]
    docker_password: Option<String>,
    /// An email address, which some old registries want
    #[arg(long, value_name = "ADDRESS", help_heading = "For pulling images")]
    docker_email: Option<String>,
    /// A key and the setting that holds its value (of the same name when left out)
    #[arg(long, value_name = "KEY[=SETTING]", help_heading = "For anything else")]
    from_setting: Vec<String>,
    /// A file of NAME=VALUE lines
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "For anything else")]
    from_env_file: Vec<PathBuf>,
    /// A file whose content is the value; its name is the key unless another is given
    #[arg(long, value_name = "[KEY=]FILE", help_heading = "For anything else")]
    from_file: Vec<String>,
    /// A key and its value. A cell is stored in the notebook: `--from-setting` is better
    #[arg(long, value_name = "KEY=VALUE", help_heading = "For anything else")]
    from_literal: Vec<String>,
    #[command(flatten)]
    place: NamespaceArgs,
}

/// Delete Secrets
#[derive(Debug, Parser)]
pub struct Delete {
    /// The Secrets
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Do it
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Secrets {
    const NAME: &'static str = "secrets";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx.or_interrupted(secrets::list(&cluster, &scope)).await?;
        let now = jiff::Timestamp::now();
        let mut columns = vec![
            Column::new("NAME"),
            Column::new("TYPE"),
            Column::number("KEYS"),
            Column::number("AGE"),
        ];
        if self.scope.all_namespaces {
            columns.insert(0, Column::new("NAMESPACE"));
        }
        let mut table = Table::new(columns).empty(format!(
            "there are no Secrets {}; `:secret create` makes one",
            place(&scope)
        ));
        for secret in found {
            let mut cells = vec![
                Cell::text(&secret.name),
                Cell::text(&secret.kind),
                Cell::count(secret.keys),
                age(secret.created, now),
            ];
            if self.scope.all_namespaces {
                cells.insert(0, Cell::text(&secret.namespace));
            }
            table.row(cells).name = secret.name;
        }
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("kubectl get secrets{}", self.scope.kubectl())]
    }
}

impl Magic for Create {
    const NAME: &'static str = "secret create";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (kind, name) = self.kind_and_name();
        let pulls = !self.from_login.is_empty() || self.docker_server.is_some();
        let generic = !(self.from_setting.is_empty()
            && self.from_env_file.is_empty()
            && self.from_file.is_empty()
            && self.from_literal.is_empty());
        if let Some(near) = valid_name(name) {
            return Err(MagicError::usage(format!(
                "a Secret cannot be called `{name}`: names hold small letters, digits, `-` and `.`"
            ))
            .hint(format!("did you mean `{near}`?")));
        }
        match kind {
            Some(DOCKER_REGISTRY) if generic => {
                return Err(MagicError::usage(
                    "a Secret of type docker-registry holds a registry's login, nothing else",
                )
                .hint(format!(
                    "`:secret create generic {name} …` holds other values"
                )));
            }
            Some(GENERIC) if pulls => {
                return Err(MagicError::usage(
                    "a Secret of type generic is not used for pulling images",
                )
                .hint(format!(
                    "`:secret create docker-registry {name} …` holds a registry's login"
                )));
            }
            None | Some(DOCKER_REGISTRY | GENERIC) => {}
            Some(kind) => {
                let error = MagicError::usage(format!(
                    "`{kind}` is no type of Secret that can be made here"
                ));
                return Err(match nearest::to(kind, [DOCKER_REGISTRY, GENERIC]).first() {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("there are docker-registry and generic; `:apply` takes a Secret of any type from a file"),
                });
            }
        }
        let content = match (pulls, generic) {
            (true, true) => {
                return Err(MagicError::usage(
                    "a Secret holds either a registry's login or other values, not both",
                )
                .hint("make two Secrets"));
            }
            (false, false) => {
                return Err(MagicError::usage(format!(
                    "nothing was said about what {name} is to hold"
                ))
                .hint(match kind {
                    Some(DOCKER_REGISTRY) => "--from-login HOST takes a login that was made with :registry login",
                    Some(GENERIC) => "--from-setting KEY takes the value of a setting",
                    _ if [DOCKER_REGISTRY, GENERIC].contains(&name) => {
                        "the Secret's name comes after its type"
                    }
                    _ => "for pulling images: --from-login HOST; for anything else: --from-setting KEY",
                }));
            }
            (true, false) => Content::Registry(self.logins(ctx).await?),
            (false, true) => Content::Generic(self.values(ctx).await?),
        };
        let cluster = self.place.cluster(ctx).await?;
        let outcome = ctx
            .or_interrupted(secrets::create(
                &cluster,
                &cluster.namespace,
                name,
                &content,
            ))
            .await?;
        let holds = match &content {
            Content::Registry(logins) => {
                let logins: Vec<String> = logins
                    .iter()
                    .map(|login| format!("{} at {}", login.username, login.server))
                    .collect();
                format!("the login of {}", logins.join(" and of "))
            }
            Content::Generic(values) => match values
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .as_slice()
            {
                [key] => format!("the key {key}"),
                keys => format!("{} keys: {}", keys.len(), keys.join(", ")),
            },
        };
        let word = match outcome {
            Outcome::Created => "created",
            Outcome::Updated => "updated",
            Outcome::Unchanged => "unchanged",
        };
        ctx.output.done(format!(
            "secret {name} {word} in {}: {holds}",
            target(&cluster)
        ));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let place = self.place.kubectl();
        let name = quoted(self.kind_and_name().1);
        if !self.from_login.is_empty() || self.docker_server.is_some() {
            let mut servers: Vec<&String> = self.from_login.iter().collect();
            servers.extend(&self.docker_server);
            let user = self.docker_username.as_deref().unwrap_or("$USERNAME");
            let email = self
                .docker_email
                .as_ref()
                .map(|mail| format!(" --docker-email {}", quoted(mail)))
                .unwrap_or_default();
            return servers
                .into_iter()
                .map(|server| {
                    format!(
                        "kubectl create secret docker-registry {name} --docker-server {} --docker-username {user} --docker-password \"$PASSWORD\"{email}{place}",
                        quoted(server)
                    )
                })
                .collect();
        }
        let mut line = format!("kubectl create secret generic {name}");
        for setting in &self.from_setting {
            let (key, setting) = setting.split_once('=').unwrap_or((setting, setting));
            line.push_str(&format!(" --from-literal {key}=\"${setting}\""));
        }
        for file in &self.from_env_file {
            line.push_str(&format!(
                " --from-env-file {}",
                quoted(&file.display().to_string())
            ));
        }
        for file in &self.from_file {
            line.push_str(&format!(" --from-file {}", quoted(file)));
        }
        for literal in &self.from_literal {
            let key = literal.split('=').next().unwrap_or_default();
            line.push_str(&format!(" --from-literal {key}=…"));
        }
        vec![line + &place]
    }
}

impl Create {
    /// The type, when it was said, and the name.
    fn kind_and_name(&self) -> (Option<&str>, &str) {
        match self.words.as_slice() {
            [kind, name] => (Some(kind), name),
            words => (None, words.first().map_or("", String::as_str)),
        }
    }

    async fn logins(&self, ctx: &Context) -> Result<Vec<Login>, MagicError> {
        let mut logins = Vec::new();
        if !self.from_login.is_empty() {
            let store = store(ctx)?;
            for host in &self.from_login {
                let found = ctx.or_interrupted(store.get(host)).await?;
                let (username, password) = match found.map(|found| found.credential) {
                    Some(Credential::Password { username, password }) => (username, password),
                    Some(Credential::IdentityToken { .. }) => {
                        return Err(MagicError::new(format!("the login kept for {host} is an identity token, which pods cannot use"))
                            .hint("give a user and password with --docker-server, --docker-username and --docker-password-from"));
                    }
                    None => {
                        return Err(MagicError::new(format!("there is no login for {host}"))
                            .hint(format!("log in first: :registry login {host}")));
                    }
                };
                logins.push(Login {
                    server: host.clone(),
                    username,
                    password,
                    email: self.docker_email.clone(),
                });
            }
        }
        if let (Some(server), Some(username)) = (&self.docker_server, &self.docker_username) {
            let password = match (&self.docker_password, &self.docker_password_from) {
                (Some(password), _) => {
                    ctx.session
                        .redactor()
                        .learn(&SecretString::from(password.as_str()));
                    if ctx.is_written(password) {
                        ctx.output.warn("a password that is written out in a cell is stored with the notebook; `--docker-password-from NAME` takes it from a setting, and without either you are asked");
                    }
                    SecretString::from(password.as_str())
                }
                (None, Some(name)) => value(ctx, name).await?,
                (None, None) => {
                    ctx.output
                        .ask_secret(&format!("Password of {username} at {server}: "))
                        .await?
                }
            };
            logins.push(Login {
                server: server.clone(),
                username: username.clone(),
                password,
                email: self.docker_email.clone(),
            });
        }
        for login in &logins {
            ctx.session.redactor().learn(&login.password);
            if login.password.expose_secret().is_empty() {
                return Err(MagicError::new(format!(
                    "the password for {} is empty",
                    login.server
                )));
            }
        }
        Ok(logins)
    }

    async fn values(&self, ctx: &Context) -> Result<BTreeMap<String, SecretString>, MagicError> {
        let mut values = BTreeMap::new();
        let mut add = |key: &str, value: SecretString| {
            ctx.session.redactor().learn(&value);
            match values.insert(key.to_owned(), value) {
                None => Ok(()),
                Some(_) => Err(MagicError::usage(format!("the key {key} is given twice"))),
            }
        };
        for path in &self.from_env_file {
            for (name, value) in dotenv::read(&ctx.session.resolve(path))? {
                add(&name, value)?;
            }
        }
        for setting in &self.from_setting {
            let (key, name) = setting.split_once('=').unwrap_or((setting, setting));
            add(key, value(ctx, name).await?)?;
        }
        for text in &self.from_file {
            let (key, path) = match text.split_once('=') {
                Some((key, path)) => (Some(key.to_owned()), path),
                None => (None, text.as_str()),
            };
            let path = ctx.session.resolve(path);
            let key = match key.or_else(|| Some(path.file_name()?.to_str()?.to_owned())) {
                Some(key) => key,
                None => {
                    return Err(MagicError::usage(format!(
                        "{} has no name to use as key",
                        path.display()
                    )));
                }
            };
            // Read as text: a Secret from a cell is a key or a token, not a binary.
            add(&key, SecretString::from(katlab_lab::document::read(&path)?))?;
        }
        if !self.from_literal.is_empty() {
            ctx.output.warn("a value written in a cell is stored with the notebook; `--from-setting NAME` takes it from a setting (`:env ask NAME`)");
        }
        for literal in &self.from_literal {
            match literal.split_once('=') {
                Some((key, value)) => add(key, SecretString::from(value))?,
                None => {
                    return Err(MagicError::usage(format!("`{literal}` has no value"))
                        .hint("write KEY=VALUE"));
                }
            }
        }
        Ok(values)
    }
}

async fn value(ctx: &Context, name: &str) -> Result<SecretString, MagicError> {
    match ctx.value(name).await? {
        Some(value) => Ok(SecretString::from(value)),
        None => Err(ctx.session.unknown_setting(name)),
    }
}

impl Magic for Delete {
    const NAME: &'static str = "secret delete";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        if !self.yes {
            let found = ctx
                .or_interrupted(secrets::named(&cluster, &cluster.namespace, &self.names))
                .await?;
            let mut plan = Table::new([
                Column::new("SECRET"),
                Column::new("TYPE"),
                Column::number("KEYS"),
            ])
            .title(format!("this would be deleted in {}", target(&cluster)));
            for secret in &found {
                plan.row([
                    Cell::text(&secret.name),
                    Cell::text(&secret.kind),
                    Cell::count(secret.keys),
                ]);
            }
            show_plan(ctx, plan);
            return Ok(());
        }
        for name in &self.names {
            ctx.or_interrupted(secrets::delete(&cluster, &cluster.namespace, name))
                .await?;
            ctx.output
                .done(format!("secret {name} deleted in {}", target(&cluster)));
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let names: Vec<String> = self.names.iter().map(|name| quoted(name)).collect();
        vec![format!(
            "kubectl delete secret {}{}",
            names.join(" "),
            self.place.kubectl()
        )]
    }
}

#[cfg(test)]
mod tests {
    use crate::magics::tests::{run, session};

    #[tokio::test]
    async fn what_cannot_be_made_is_said_before_anything_is_asked() {
        let (_dir, session) = session();
        for (line, message, hint) in [
            (
                "reg_cred --from-literal a=b",
                "`reg_cred`",
                "did you mean `reg-cred`?",
            ),
            (
                "docker-registry x --from-literal a=b",
                "docker-registry holds a registry's login",
                ":secret create generic x",
            ),
            (
                "generic x --docker-server r.io --docker-username me --docker-password hush-hush",
                "not used for pulling",
                ":secret create docker-registry x",
            ),
            ("generc x --from-literal a=b", "`generc`", "`generic`"),
            ("tls x --from-literal a=b", "`tls`", ":apply"),
            ("docker-registry x", "nothing was said", "--from-login"),
        ] {
            let line = format!(":secret create {line}");
            let (result, recorder) = run(&session, &line).await;
            let error = result.unwrap_err();
            assert!(error.message.contains(message), "{line}: {error}");
            let said = error.hint.unwrap_or_default();
            assert!(said.contains(hint), "{line}: {said}");
            assert!(!recorder.plain().contains("hush"), "{line}");
        }
    }

    #[tokio::test]
    async fn kubectls_spelling_is_explained_without_the_password() {
        let (_dir, session) = session();
        let line = ":secret create docker-registry regcred --docker-server r.io --docker-username me \
                    --docker-password hush-hush -n lab --explain";
        let (result, recorder) = run(&session, line).await;
        result.unwrap();
        let shown = recorder.plain();
        assert!(
            shown.contains("kubectl create secret docker-registry regcred --docker-server r.io")
        );
        assert!(!shown.contains("hush"), "{shown}");
    }
}
