//! What one may do at a registry, found out without changing anything.

use reqwest::{Method, StatusCode};

use super::client::{code_of, unexpected};
use super::error::Error;
use super::{Registry, Result};
use crate::reference::{HUB, Reference};

/// How a login went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// The registry asks nobody who they are.
    NotNeeded,
    /// The credentials are good.
    Accepted {
        /// Whose they are.
        user: String,
    },
    /// There are none, and some are wanted.
    Missing,
    /// They are not good.
    Refused {
        /// Whose they are.
        user: String,
        /// The registry's reason.
        why: String,
    },
}

/// Whether something may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Allowed,
    /// No.
    Denied {
        /// The registry's reason.
        why: String,
    },
    /// It would be allowed, or is: there is nothing there to try it on.
    Absent,
    /// It could not be found out.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What one may do with a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryCheck {
    /// The repository.
    pub name: String,
    /// Whether we may pull.
    pub pull: Access,
    /// Whether we may push.
    pub push: Access,
    /// How many tags it has, where it exists.
    pub tags: Option<usize>,
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The registry.
    pub host: String,
    /// Where requests go.
    pub base: String,
    /// How it wants to be told who asks: nothing, "Basic" or "Bearer".
    pub scheme: Option<&'static str>,
    /// How the login went.
    pub login: Login,
    /// The repository, where one was asked about.
    pub repository: Option<RepositoryCheck>,
    /// What to do about what is not as it should be, one sentence each.
    pub advice: Vec<String>,
}

impl Check {
    /// Whether everything that was asked about is as a lab needs it.
    pub fn is_good(&self) -> bool {
        let login = matches!(self.login, Login::NotNeeded | Login::Accepted { .. });
        let repository = self.repository.as_ref().is_none_or(|r| {
            r.push == Access::Allowed && matches!(r.pull, Access::Allowed | Access::Absent)
        });
        login && repository
    }
}

impl Registry {
    /// Finds out whether the login is good and what may be done with a repository. To try a push,
    /// an upload is begun and given up again, which leaves nothing behind.
    ///
    /// # Errors
    /// When the registry stops answering; what it refuses is part of the outcome.
    pub async fn check(&self, repository: Option<&str>) -> Result<Check> {
        let login = match self.login().await {
            Ok(login) => login,
            Err(Error::NoCredentials { .. }) => Login::Missing,
            Err(Error::Refused { user, why, .. }) => Login::Refused { user, why },
            Err(error) => return Err(error),
        };
        let repository = match (repository, &login) {
            (None, _) | (_, Login::Refused { .. }) => None,
            (Some(name), _) => Some(self.check_repository(name).await?),
        };
        let mut check = Check {
            host: self.host().to_owned(),
            base: self.base().to_owned(),
            scheme: self.scheme().map(|scheme| match scheme {
                super::Scheme::Basic => "Basic",
                super::Scheme::Bearer => "Bearer",
            }),
            login,
            repository,
            advice: Vec::new(),
        };
        check.advice = advice(&check);
        Ok(check)
    }

    async fn check_repository(&self, name: &str) -> Result<RepositoryCheck> {
        let first = self.probe(name).await?;
        // What people call a repository is at many providers a folder of repositories: an image
        // lies one level below it.
        if first.push == Access::Allowed || name.contains('/') || first.tags.is_some() {
            return Ok(first);
        }
        let below = self.probe(&format!("{name}/katlab-check")).await?;
        Ok(if below.push == Access::Allowed {
            RepositoryCheck {
                name: name.to_owned(),
                ..below
            }
        } else {
            first
        })
    }

    async fn probe(&self, name: &str) -> Result<RepositoryCheck> {
        let (pull, tags) = self.probe_pull(name).await?;
        let push = self.probe_push(name).await?;
        Ok(RepositoryCheck {
            name: name.to_owned(),
            pull,
            push,
            tags,
        })
    }

    async fn probe_pull(&self, name: &str) -> Result<(Access, Option<usize>)> {
        let scope = format!("repository:{name}:pull");
        match self
            .pages(format!("/v2/{name}/tags/list?n=1000"), &scope, "tags")
            .await
        {
            Ok(Ok(tags)) => Ok((Access::Allowed, Some(tags.len()))),
            Ok(Err(response)) => match response.status() {
                StatusCode::NOT_FOUND => Ok((Access::Absent, None)),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok((
                    Access::Denied {
                        why: super::client::reason(response).await,
                    },
                    None,
                )),
                _ => Ok((
                    Access::Unknown {
                        why: unexpected(self.host(), "the list of tags", response)
                            .await
                            .to_string(),
                    },
                    None,
                )),
            },
            Err(Error::Refused { why, .. }) => Ok((Access::Denied { why }, None)),
            Err(Error::NoCredentials { .. }) => Ok((
                Access::Denied {
                    why: "a login is wanted".to_owned(),
                },
                None,
            )),
            Err(error) => Err(error),
        }
    }

    async fn probe_push(&self, name: &str) -> Result<Access> {
        let scope = format!("repository:{name}:pull,push");
        let response = match self
            .send(
                Method::POST,
                &format!("/v2/{name}/blobs/uploads/"),
                &scope,
                None,
            )
            .await
        {
            Ok(response) => response,
            Err(Error::Refused { why, .. }) => return Ok(Access::Denied { why }),
            Err(Error::NoCredentials { .. }) => {
                return Ok(Access::Denied {
                    why: "a login is wanted".to_owned(),
                });
            }
            Err(error) => return Err(error),
        };
        match response.status() {
            StatusCode::ACCEPTED | StatusCode::CREATED => {
                let location = response
                    .headers()
                    .get(reqwest::header::LOCATION)
                    .and_then(|v| v.to_str().ok());
                if let Some(location) = location.filter(|location| self.is_own(location)) {
                    // Given up; a registry that does not know how lets it run out by itself.
                    let _ = self.send(Method::DELETE, location, &scope, None).await;
                }
                Ok(Access::Allowed)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Access::Denied {
                why: super::client::reason(response).await,
            }),
            StatusCode::METHOD_NOT_ALLOWED => Ok(Access::Denied {
                why: "the registry is read-only".to_owned(),
            }),
            StatusCode::NOT_FOUND => {
                let body = self.body(response).await?;
                let code = code_of(&body).unwrap_or_else(|| "not found".to_owned());
                Ok(Access::Denied {
                    why: format!("the repository must be created first ({code})"),
                })
            }
            status => Ok(Access::Unknown {
                why: format!("it answers {status} to the beginning of an upload"),
            }),
        }
    }

    /// Whether an address the registry gave is on the registry itself: the login goes with it.
    fn is_own(&self, location: &str) -> bool {
        !location.contains("://") || location.starts_with(&format!("{}/", self.base()))
    }
}

fn advice(check: &Check) -> Vec<String> {
    let mut advice = Vec::new();
    match &check.login {
        Login::Missing => advice.push(format!("Log in with `:registry login {}`.", check.host)),
        Login::Refused { .. } => advice.push(format!(
            "Log in again with `:registry login {}`; some registries want an access key or token instead of a password.",
            check.host
        )),
        Login::NotNeeded | Login::Accepted { .. } => {}
    }
    let Some(repository) = &check.repository else {
        return advice;
    };
    let shown = if check.host == HUB {
        repository.name.clone()
    } else {
        format!("{}/{}", check.host, repository.name)
    };
    if let Access::Denied { .. } = repository.push
        && !matches!(check.login, Login::Missing)
    {
        advice.push(format!(
            "Pushing to {shown} is not allowed. Where repositories are made in the provider's console, create `{}` there by hand (private, tags may be overwritten), and give this user the right to push.",
            Reference::parse(&repository.name).map(|r| r.name()).unwrap_or_else(|_| repository.name.clone())
        ));
    }
    match (&repository.pull, &repository.push) {
        (Access::Absent, Access::Allowed) => {
            advice.push(format!("{shown} is empty: it appears with the first push."));
        }
        (Access::Denied { .. }, Access::Allowed) => {
            advice.push(
                "Pulling is not allowed: pods could not start from what is pushed here.".to_owned(),
            );
        }
        _ => {}
    }
    advice
}
