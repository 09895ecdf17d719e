//! Who asks, and what the credential that proves it may be used for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::CredentialId;
use crate::{
    accounts::{Name, Profile, Role, UserId},
    clock::Timestamp,
    error::{Error, Result},
    realtime::Json,
};

/// What kind of credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Kind {
    Session,
    Personal,
    Stream,
}

impl Kind {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Session => "sbx_session_",
            Self::Personal => "sbx_token_",
            Self::Stream => "sbx_stream_",
        }
    }
}

/// What a personal access token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Read,
    Write,
    Notify,
    Admin,
}

impl Scope {
    pub(super) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Notify, Self::Admin];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Notify => "notify",
            Self::Admin => "admin",
        }
    }
}

/// Who asks, as proved by a credential.
#[derive(Debug, Clone)]
pub struct Identity {
    pub id: UserId,
    pub name: Name,
    pub role: Role,
    pub credential: CredentialId,
    pub kind: Kind,
    pub scopes: Vec<Scope>,
    /// The only topics that a stream token opens.
    pub topics: Option<Vec<String>>,
    pub expires_at: Option<Timestamp>,
}

impl Identity {
    /// The kind and the scopes of the credential, as a text that differs wherever they do.
    #[must_use]
    pub fn powers(&self) -> String {
        let scopes = Scope::ALL.iter().filter(|scope| self.scopes.contains(scope)).map(|scope| scope.name());
        scopes.fold(self.kind.prefix().to_owned(), |text, scope| text + " " + scope)
    }
}

/// Who asks: a user or somebody unknown.
#[derive(Debug, Clone)]
pub struct Caller {
    pub identity: Option<Identity>,
    /// Where the request comes from.
    pub address: IpAddr,
    /// The place in the log before the credential was looked up: what ends rights later stands behind it.
    pub as_of: u64,
    /// The caller's own open stream, named so that it can leave out what this request causes.
    pub connection: Option<Uuid>,
}

impl Caller {
    /// The user, or `401`'s reason.
    pub fn require_user(&self) -> Result<&Identity> {
        self.identity
            .as_ref()
            .ok_or(Error::Unauthenticated("this needs credentials: a bearer token or a session"))
    }

    /// The user, if the credential may be used so.
    pub fn require(&self, scope: Scope) -> Result<&Identity> {
        let identity = self.require_user()?;
        if identity.scopes.contains(&scope) {
            Ok(identity)
        } else {
            Err(Error::InsufficientScope(scope.name()))
        }
    }

    /// Leave to read: what is public is open to everyone where the installation says so.
    pub fn require_read(&self, public_read: bool) -> Result<()> {
        if self.identity.is_some() || !public_read {
            self.require(Scope::Read)?;
        }
        Ok(())
    }

    /// The user's id, unless unknown.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.identity.as_ref().map(|identity| identity.id)
    }

    /// Whether this is an administrator who uses a credential good for that.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|who| who.role == Role::Admin && who.scopes.contains(&Scope::Admin))
    }

    /// The caller as the actor of an event.
    pub fn actor(&self) -> Result<Option<Json>> {
        let profile = self.identity.as_ref().map(|who| Profile { id: who.id, name: who.name.clone() });
        profile.as_ref().map(Json::of).transpose()
    }
}
