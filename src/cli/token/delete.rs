//! `mainstay token delete`: tokens that shall be used no more.

use std::io::Write;

use bootstrap::cluster::delete_token;
use bootstrap::kubeadm::{BootstrapToken, TokenId};
use clap::Args;

use super::super::api::{self, ClusterOption};
use crate::exit::Stop;

/// Delete bootstrap tokens.
///
/// Of a whole token only the id is used, the part before the dot. Stops at the first that cannot
/// be deleted.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay token delete abcdef")]
pub(super) struct Delete {
    /// Ids (six characters) or whole tokens.
    #[arg(value_name = "ID|TOKEN", required = true)]
    tokens: Vec<String>,

    #[command(flatten)]
    cluster: ClusterOption,
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let ids = self.tokens.iter().map(|text| id(text));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        api::block_on(self.delete(&ids))
    }

    async fn delete(&self, ids: &[TokenId]) -> anyhow::Result<()> {
        let cluster = self.cluster.connect()?;
        for id in ids {
            delete_token(&cluster, id).await.map_err(|error| {
                let sentence = format!("failed to delete bootstrap token \"{id}\": {error}");
                Stop::new(api::exit(&error), sentence)
            })?;
            writeln!(std::io::stdout().lock(), "bootstrap token \"{id}\" deleted")?;
        }
        Ok(())
    }
}

/// The id of an id or a whole token; the error, kubeadm's words, does not show the text.
fn id(text: &str) -> Result<TokenId, Stop> {
    let whole = || {
        let token: Option<BootstrapToken> = text.parse().ok();
        token.map(|token| token.id().clone())
    };
    text.parse().ok().or_else(whole).ok_or_else(|| {
        Stop::usage(
            r#"given token didn't match pattern "\A([a-z0-9]{6})\z" or "\A([a-z0-9]{6})\.([a-z0-9]{16})\z""#,
        )
    })
}
